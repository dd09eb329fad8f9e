"""Attention rollout against a slow definition from the matrices that the blocks really use."""

import pytest
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import ParallelThingsBlock, VisionTransformer
from torch import nn

from map_methods import make
from networks import tiny_classifier
from wsol.identity import digest
from wsol.maps.forward_pass import forward_pass
from wsol.maps.methods.attention_rollout import AttentionRollout
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.networks.transformers import swin_backbone, vit_backbone

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PATCHES = 4 * 4


def tiny_vit(kind=VisionTransformer, depth=3, **changed):
    torch.manual_seed(0)
    network = kind(img_size=16, patch_size=4, embed_dim=24, num_heads=3, depth=depth, num_classes=5, **changed)
    for parameter in network.parameters():  # sharp attention, unlike in every head
        nn.init.normal_(parameter, std=0.3)
    return network.eval()


def ours(pooling=GAP, **changed):
    return Classifier(vit_backbone(tiny_vit(**changed), *HALF), pooling(), 5).eval()


def explicit(network, images):
    """The attention matrices, as the unfused code applies them."""
    found, handles, layers = [], [], [one for one in network.modules() if hasattr(one, "fused_attn")]
    for layer in layers:
        layer.fused_attn = False
        handles.append(layer.attn_drop.register_forward_hook(lambda module, inputs, output: found.append(output)))
    with torch.no_grad():
        network(images)
    for handle, layer in zip(handles, layers, strict=True):
        handle.remove()
        layer.fused_attn = True
    return found


def slow(network, images, rows, prefix, fusion="mean"):
    """Abnar and Zuidema's definition, one image at a time, whole matrices."""
    maps = []
    for image in images:
        rollout = None
        for matrix in explicit(network, image[None]):
            heads = matrix[0].numpy()
            one = torch.from_numpy({"mean": heads.mean, "max": heads.max, "min": heads.min}[fusion](axis=0))
            one = 0.5 * one + 0.5 * torch.eye(len(one), dtype=one.dtype)
            one = one / one.sum(dim=1, keepdim=True)
            rollout = one if rollout is None else one @ rollout
        maps.append(rollout[rows].mean(dim=0)[prefix:].reshape(4, 4))
    return torch.stack(maps)


@pytest.fixture
def floats(images):
    return images.double() / 255


class TestAnswers:
    """All queries zero: every token attends to all 17 alike, and two blocks give 3/4 J/17 + 1/4 I."""

    def uniform(self, **changed):
        network = tiny_vit(depth=2, **changed)
        for block in network.blocks:
            nn.init.zeros_(block.attn.qkv.weight)
        return network

    def test_from_the_class_token(self, images, class_ids):
        maps = make(AttentionRollout(), self.uniform(), images / 255, class_ids)
        torch.testing.assert_close(maps, torch.full((4, 4, 4), 0.75 / 17))

    def test_from_pooled_patches(self, images, class_ids):
        network = Classifier(vit_backbone(self.uniform(), *HALF), GAP(), 5)
        expected = torch.full((4, 4, 4), 0.75 / 17 + 0.25 / PATCHES)
        torch.testing.assert_close(make(AttentionRollout(), network, images, class_ids), expected)

    def test_one_block_that_looks_at_one_patch(self, images, class_ids):
        network = tiny_vit(depth=1)
        attention = network.blocks[0].attn
        network.blocks[0].norm1 = nn.Identity()
        for parameter in (attention.qkv.weight, attention.qkv.bias, network.patch_embed.proj.weight):
            nn.init.zeros_(parameter)
        for parameter in (network.patch_embed.proj.bias, network.pos_embed, network.cls_token):
            nn.init.zeros_(parameter)
        network.pos_embed.data[0, 1 + 6] = 1000  # row 1, column 2: the one key that is not zero
        attention.qkv.bias.data[:24] = 1
        attention.qkv.weight.data[24:48] = torch.eye(24)
        expected = torch.zeros(4, 4, 4)
        expected[:, 1, 2] = 0.5
        torch.testing.assert_close(make(AttentionRollout(), network, images / 255, class_ids), expected)


class TestSlowDefinition:
    @pytest.mark.parametrize("fusion", ["mean", "max", "min"])
    @pytest.mark.parametrize(
        ("network", "rows", "prefix"),
        [
            (tiny_vit(), slice(0, 1), 1),
            (tiny_vit(qk_norm=True), slice(0, 1), 1),
            (tiny_vit(VisionTransformerDistilled), slice(0, 2), 2),
            (tiny_vit(reg_tokens=2), slice(0, 1), 3),
            (tiny_vit(global_pool="avg"), slice(1, None), 1),
            (tiny_vit(global_pool="avg", class_token=False), slice(0, None), 0),
            (tiny_vit(global_pool="avg", pool_include_prefix=True), slice(0, None), 1),
            (nn.Sequential(nn.BatchNorm2d(3), tiny_vit()).eval(), slice(0, 1), 1),
        ],
        ids=["token", "qk_norm", "distilled", "registers", "avg", "no token", "avg of all", "wrapped"],
    )
    def test_plain_vits(self, network, rows, prefix, fusion, floats, class_ids):
        network = network.double()
        expected = slow(network, floats, rows, prefix, fusion)
        assert (expected.flatten(1).std(dim=1) > 1e-4).all()
        torch.testing.assert_close(make(AttentionRollout(fusion), network, floats, class_ids), expected)

    @pytest.mark.parametrize("pooling", [GAP, GMP])
    @pytest.mark.parametrize("fused", [True, False])
    def test_ours_fused_or_not(self, pooling, fused, floats, class_ids):
        network = ours(pooling).double()
        expected = slow(network, floats, slice(1, None), 1)
        for block in network.backbone.blocks:
            block.attn.fused_attn = fused
        torch.testing.assert_close(make(AttentionRollout(), network, floats, class_ids), expected)
        assert all(block.attn.fused_attn == fused for block in network.backbone.blocks)

    def test_half_precision_is_rolled_out_in_float32(self, images, class_ids):
        found = make(AttentionRollout(), tiny_vit().bfloat16(), images.bfloat16() / 255, class_ids)
        assert found.dtype == torch.float32
        expected = make(AttentionRollout(), tiny_vit(), images / 255, class_ids)
        torch.testing.assert_close(found, expected, rtol=0.2, atol=0.02)


class TestContract:
    def test_the_map_is_the_same_for_every_class(self, images, class_ids):
        forward = forward_pass(ours(), images)
        one = AttentionRollout()(forward, class_ids)
        several = AttentionRollout()(forward, torch.tensor([[0, 1, 2]] * 4))
        assert one.shape == (4, 4, 4)
        assert torch.equal(several, one[:, None].expand(-1, 3, -1, -1))

    def test_a_batch_equals_its_images_one_by_one(self, images, class_ids):
        network = ours()
        together = make(AttentionRollout(), network, images, class_ids)
        alone = [make(AttentionRollout(), network, images[i : i + 1], class_ids[i : i + 1]) for i in range(4)]
        torch.testing.assert_close(together, torch.cat(alone))

    def test_frozen_weights_and_no_grad_change_nothing(self, images, class_ids):
        network = ours()
        expected = make(AttentionRollout(), network, images, class_ids)
        assert not expected.requires_grad
        network.requires_grad_(False)
        with torch.no_grad():
            torch.testing.assert_close(make(AttentionRollout(), network, images, class_ids), expected)
        with torch.inference_mode():
            torch.testing.assert_close(make(AttentionRollout(), network, images, class_ids).clone(), expected)

    def test_everything_is_left_as_found(self, images, class_ids):
        network = ours().train()
        network.backbone.blocks[0].eval()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        modes = [module.training for module in network.modules()]
        make(AttentionRollout(), network, images, class_ids)
        self.check(network, modes, before)

    def test_also_after_an_error(self, images, class_ids):
        network = ours().train()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        modes = [module.training for module in network.modules()]
        forward = forward_pass(network, images)
        network.backbone.grid.layout = "channels_first"
        with pytest.raises(ValueError, match=r"must give \(N, C, h, w\)"):
            AttentionRollout()(forward, class_ids)
        self.check(network, modes, before)

    def check(self, network, modes, before):
        assert [module.training for module in network.modules()] == modes
        assert all(not module._forward_hooks and not module._forward_pre_hooks for module in network.modules())
        assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

    def test_settings_have_a_name(self):
        assert len({digest(AttentionRollout(fusion)) for fusion in ("mean", "max", "min")}) == 3


class TestRefusals:
    def refused(self, network, images, match):
        forward = forward_pass(network, images)
        with pytest.raises(ValueError, match=match):
            AttentionRollout()(forward, torch.tensor([0, 3, 1, 4]))

    def test_a_convolutional_network(self, images):
        self.refused(tiny_classifier(GAP()), images, "needs one ViT, and Classifier holds 0; use cam or grad_cam")

    def test_swin(self, images):
        swin = SwinTransformer(
            img_size=16, patch_size=2, window_size=2, embed_dim=12, depths=(2, 2), num_heads=(2, 3), num_classes=5
        )
        self.refused(swin, images / 255, "Swin attends within windows.*use cam or grad_cam")
        self.refused(Classifier(swin_backbone(swin, *HALF), GAP(), 5), images, "Swin attends within windows")

    def test_a_head_with_attention_of_its_own(self, images):
        self.refused(tiny_vit(global_pool="map"), images / 255, "global_pool='map'")

    def test_attention_that_is_not_timms_plain_one(self, images):
        class Masked(type(tiny_vit().blocks[0].attn)):
            def forward(self, *args, **kwargs):
                return super().forward(*args, **kwargs)

        self.refused(tiny_vit(attn_layer=Masked), images / 255, r"needs blocks with timm's Attention, got \['Masked'\]")
        parallel = tiny_vit(block_fn=ParallelThingsBlock)
        self.refused(parallel, images / 255, r"needs blocks with timm's Attention, got \['NoneType'\]")

    def test_another_fusion(self):
        with pytest.raises(ValueError, match=r"must be one of \['max', 'mean', 'min'\], got 'median'"):
            AttentionRollout("median")
