"""Token order, and every map method on transformers."""

import numpy as np
import pytest
import timm
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from map_methods import EARLY, METHODS, make
from wsol.maps.class_gradient import DenseGradient
from wsol.maps.forward_pass import LAST, forward_pass
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.eigen_cam import EigenCAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.hires_cam import HiResCAM
from wsol.networks.backbones.swin import swin_tiny
from wsol.networks.backbones.vit import deit_small, deit_tiny, vit_small
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.networks.token_grid import to_grid
from wsol.networks.transformers import swin_backbone, vit_backbone

SIZES = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "num_heads": 3}  # 4 x 4 patches
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# Without what needs a layer of another network, or ReLUs.
AT_THE_LAST_LAYER = [one for one in METHODS if EARLY not in str(one[1]) and not one[0].startswith("guided")]
# timm resamples Swin's position biases for small windows.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:timm.layers.interpolate")


def tiny_vit(kind=VisionTransformer, **changed):
    torch.manual_seed(0)
    network = kind(**SIZES, depth=2, num_classes=5, **changed)
    for parameter in network.parameters():  # fresh positions and tokens are nearly zero
        nn.init.normal_(parameter, std=0.3)
    return network.eval()


def tiny_swin(**changed):
    torch.manual_seed(0)
    sizes = {"img_size": 16, "patch_size": 2, "window_size": 2, "embed_dim": 12, "depths": (2, 2), "num_heads": (2, 3)}
    return SwinTransformer(**sizes, num_classes=5, **changed).eval()  # 4 x 4 cells after two stages


def classifier_on(kind, pooling=GAP):
    backbone = vit_backbone(tiny_vit(), *HALF) if kind == "vit" else swin_backbone(tiny_swin(), *HALF)
    return Classifier(backbone, pooling(), 5).eval()


def unlike(cell, features, other):
    """The only cells that differ."""
    return (features != other).any(dim=1)[0].nonzero().tolist() == [list(cell)]


class TestTokenOrder:
    def test_patches_go_row_by_row_after_the_prefix(self):
        tokens = torch.tensor([9, 8, 0, 1, 2, 3]).float()[None, :, None] * torch.tensor([1.0, 10.0])
        grid = to_grid(tokens, "tokens", "layer", prefix_tokens=2)
        assert grid[0, 0].tolist() == [[0, 1], [2, 3]]
        assert grid[0, 1].tolist() == [[0, 10], [20, 30]]

    @pytest.mark.parametrize("cell", [(0, 3), (2, 1), (3, 0)])
    def test_a_changed_patch_changes_its_own_cell(self, cell):
        images = torch.rand(1, 3, 16, 16)
        changed = images.clone()
        changed[:, :, cell[0] * 4 : cell[0] * 4 + 4, cell[1] * 4 : cell[1] * 4 + 4] += 1
        backbone = vit_backbone(tiny_vit(), *HALF)
        backbone.blocks = nn.Identity()  # nothing mixes patches then
        with torch.no_grad():
            assert unlike(cell, backbone(images), backbone(changed))

    @pytest.mark.parametrize("cell", [(0, 3), (2, 1), (3, 0)])
    def test_a_changed_patch_of_swin_changes_its_own_cell(self, cell):
        images = torch.rand(1, 3, 16, 16)
        changed = images.clone()
        changed[:, :, cell[0] * 4, cell[1] * 4] += 1
        backbone = swin_backbone(tiny_swin(), *HALF)
        for stage in backbone.layers:
            stage.blocks = nn.Identity()
        with torch.no_grad():
            assert unlike(cell, backbone(images), backbone(changed))


class TestTheTrunkIsTimms:
    def test_of_a_vit(self):
        network, images = tiny_vit(pre_norm=True), torch.rand(2, 3, 16, 16)
        with torch.no_grad():
            expected = network.forward_features((images - 0.5) / 0.5)[:, 1:].transpose(1, 2).reshape(2, 24, 4, 4)
            assert torch.equal(vit_backbone(network, *HALF)(images), expected)

    def test_of_a_swin(self):
        network, images = tiny_swin(), torch.rand(2, 3, 16, 16)
        with torch.no_grad():
            expected = network.forward_features((images - 0.5) / 0.5).permute(0, 3, 1, 2)
            assert torch.equal(swin_backbone(network, *HALF)(images), expected)

    @pytest.mark.parametrize(
        "network",
        [
            tiny_vit(VisionTransformerDistilled),
            tiny_vit(reg_tokens=2),
            tiny_vit(no_embed_class=True),
            tiny_vit(class_token=False, global_pool="avg"),
            tiny_vit(pos_embed="none"),
        ],
    )
    def test_other_tokens_are_refused(self, network):
        with pytest.raises(ValueError, match="takes a ViT with a class token and one learned position"):
            vit_backbone(network, *HALF)


class TestBackbones:
    @pytest.mark.parametrize(
        ("build", "channels", "stride", "layer", "mean"),
        [
            (deit_tiny, 192, 16, "blocks.11.norm1", [0.485, 0.456, 0.406]),
            (deit_small, 384, 16, "blocks.11.norm1", [0.485, 0.456, 0.406]),
            (vit_small, 384, 16, "blocks.11.attn.qkv", [0.5, 0.5, 0.5]),
            (swin_tiny, 768, 32, "layers.3.blocks.1.norm1", [0.485, 0.456, 0.406]),
        ],
    )
    def test_channels_stride_names_and_mean(self, build, channels, stride, layer, mean):
        backbone = build(None, image_size=64).eval()
        images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
        with torch.no_grad():
            features = backbone(images)
        assert features.shape == (2, channels, 64 // stride, 64 // stride)
        assert backbone.out_channels == channels
        torch.testing.assert_close(backbone.mean.flatten(), torch.tensor(mean))
        assert f"backbone.{layer}" in dict(Classifier(backbone, GAP(), 5).named_modules())
        with pytest.raises(ValueError, match=r"takes images of 64 x 64 px, got 32 x 64; set the backbone's image_size"):
            backbone(images[:, :, :32])

    def test_trained_weights_are_loaded_before_positions_are_resampled(self, monkeypatch):
        trained = timm.create_model("deit_tiny_patch16_224")
        real = timm.create_model
        monkeypatch.setattr("timm.create_model", lambda *a, pretrained, **k: trained if pretrained else real(*a, **k))
        whole, half = deit_tiny(), deit_tiny(image_size=112)
        assert torch.equal(whole.embed.pos_embed, trained.pos_embed)
        assert torch.equal(half.blocks[3].attn.qkv.weight, trained.blocks[3].attn.qkv.weight)
        assert half.embed.pos_embed.shape == (1, 1 + 49, 192)
        assert torch.equal(half.embed.pos_embed[:, 0], trained.pos_embed[:, 0])

    @pytest.mark.parametrize("build", [deit_tiny, swin_tiny])
    def test_wrong_settings_are_named(self, build):
        with pytest.raises(ValueError, match="must be imagenet or null, got 'imagnet'"):
            build("imagnet")
        with pytest.raises(ValueError, match=r"image_size of .* must be a multiple of (16|32), got 100"):
            build(None, image_size=100)


@pytest.mark.parametrize("kind", ["vit", "swin"])
class TestMaps:
    @pytest.mark.parametrize("method", AT_THE_LAST_LAYER, ids=lambda method: method[0])
    def test_every_method_works_at_the_last_layer(self, kind, method, images, class_ids):
        classifier = classifier_on(kind)
        together = make(method[1], classifier, images[:2], class_ids[:2])
        assert together.shape[0] == 2
        assert together.isfinite().all()
        assert together.any()
        alone = make(method[1], classifier, images[1:2], class_ids[1:2])
        torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)

    def test_cam_is_the_weighted_sum_of_features(self, kind, images, class_ids):
        classifier = classifier_on(kind)
        with torch.no_grad():
            weights = classifier.fc.weight[class_ids]
            expected = torch.einsum("nchw,nc->nhw", classifier.backbone(images), weights)
        torch.testing.assert_close(make(CAM(), classifier, images, class_ids), expected)

    @pytest.mark.parametrize("pooling", [GAP, GMP])
    def test_grad_cam_is_the_rectified_cam(self, kind, pooling, images, class_ids):
        classifier = classifier_on(kind, pooling).double()
        expected = make(CAM(), classifier, images.double() / 255, class_ids).relu() / 16
        assert expected.max() > 0
        found = make(GradCAM(), classifier, images.double() / 255, class_ids)
        torch.testing.assert_close(found, expected)

        class Opaque(nn.Module):  # no `Classifier`, so that autograd must do it
            def __init__(self):
                super().__init__()
                self.backbone, self.head = classifier.backbone, nn.Sequential(classifier.pooling, classifier.fc)

            def forward(self, images):
                return self.head(self.backbone(images))

        forward = forward_pass(Opaque(), images.double() / 255, [LAST])
        assert isinstance(forward.gradient(LAST, class_ids[:, None]), DenseGradient)
        torch.testing.assert_close(GradCAM()(forward, class_ids), expected)


class TestPlainNetworks:
    """timm's own networks; images normalized outside."""

    IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(2))

    @pytest.mark.parametrize(
        ("network", "prefix_tokens"),
        [(tiny_vit(), 1), (tiny_vit(VisionTransformerDistilled), 2), (tiny_vit(no_embed_class=True, reg_tokens=3), 4)],
    )
    def test_grad_cam_before_the_last_attention_is_pytorch_grad_cams(self, network, prefix_tokens, class_ids):
        grad_cam = pytest.importorskip("pytorch_grad_cam")
        from pytorch_grad_cam.utils.image import scale_cam_image
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        def reshape(tokens):
            return tokens[:, prefix_tokens:].reshape(len(tokens), 4, 4, -1).permute(0, 3, 1, 2)

        with grad_cam.GradCAM(network, [network.blocks[1].norm1], reshape) as theirs:
            expected = theirs(self.IMAGES, [ClassifierOutputTarget(int(one)) for one in class_ids])
        found = make(GradCAM("blocks.1.norm1", "tokens", prefix_tokens), network, self.IMAGES, class_ids)
        assert found.shape == (4, 4, 4)
        assert (found > 0).any()
        scaled = scale_cam_image(scale_cam_image(found.numpy(), (16, 16)))  # as theirs: once a layer, once over layers
        np.testing.assert_allclose(scaled, expected, atol=1e-4)

    @pytest.mark.parametrize("layer", ["blocks.1", "norm"])
    @pytest.mark.parametrize(("network", "prefix_tokens"), [(tiny_vit(), 1), (tiny_vit(VisionTransformerDistilled), 2)])
    def test_patches_that_nothing_reads_are_named(self, network, prefix_tokens, layer, class_ids):
        method = GradCAM(layer, "tokens", prefix_tokens)
        with pytest.raises(ValueError, match=rf"patch tokens of target layer '{layer}'.*`norm1` of the last block"):
            make(method, network, self.IMAGES, class_ids)
        blind = make(EigenCAM(layer, "tokens", prefix_tokens), network, self.IMAGES, class_ids)
        assert blind.any()  # no gradient, no complaint

    def test_a_dead_head_gives_maps_of_zeros(self, class_ids):
        network = tiny_vit()
        network.head.weight.data.zero_()
        assert not make(GradCAM("blocks.1", "tokens", 1), network, self.IMAGES, class_ids).any()

    @pytest.mark.parametrize("method", [GradCAM, HiResCAM])
    def test_pooled_patches_have_a_gradient_after_the_last_block(self, method, class_ids):
        network = tiny_vit(global_pool="avg")
        assert make(method("blocks.1", "tokens", 1), network, self.IMAGES, class_ids).any()

    def test_cam_of_swin(self, class_ids):
        network = tiny_swin()
        with torch.no_grad():
            weights = network.head.fc.weight[class_ids]
            expected = torch.einsum("nhwc,nc->nhw", network.forward_features(self.IMAGES), weights)
        found = make(CAM("norm", "channels_last"), network, self.IMAGES, class_ids)
        torch.testing.assert_close(found, expected)
        grad_cam = make(GradCAM("norm", "channels_last"), network, self.IMAGES, class_ids)
        torch.testing.assert_close(grad_cam, expected.relu() / 16)
