import copy
import pickle
from pathlib import Path

import pytest
import timm
import torch
import torchvision.models
from torch import nn

from layers import LIBRARIES, network_row, rows_in
from map_methods import make
from wsol.maps.forward_pass import forward_pass
from wsol.maps.methods.attention_rollout import AttentionRollout
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.hires_cam import HiResCAM
from wsol.maps.methods.layer_cam import LayerCAM
from wsol.maps.self_attention import self_attention
from wsol.networks.backbone import Backbone
from wsol.networks.backbones.timm import timm_network
from wsol.networks.backbones.torchvision import _trunk, torchvision_network
from wsol.networks.classifier import Classifier
from wsol.networks.inference import evaluation_mode
from wsol.networks.library_networks import layout_of, remove_unused, try_features
from wsol.networks.pooling.class_token import ClassToken
from wsol.networks.pooling.gap import GAP

# timm resamples the tables of windows with indexing that torch warns of.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:timm.layers.interpolate")

DOC = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
REGISTERS = "vit_small_patch14_reg4_dinov2"  # a class token and four registers
QUICK = {"shufflenet_v2_x0_5", "mobilenetv3_small_050"}


def images(size, count=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def normalized(backbone, pixels):
    return (pixels / 255 - backbone.mean) / backbone.std


def whole(name):
    extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(name, weights=None, **extra).eval()


def mean(features):
    return features.mean(dim=(2, 3))


def head_of(network, name):
    """What torchvision does after the features, written out for each family."""
    if name in ("alexnet", "vgg11"):
        return lambda features: network.classifier(network.avgpool(features).flatten(1))
    if name.startswith("mobilenet") or name.startswith("mnasnet") or name.startswith("densenet"):
        return lambda features: network.classifier(mean(features))
    if name.startswith("efficientnet"):
        return lambda features: network.classifier(mean(features))
    if name.startswith("squeezenet"):
        return lambda features: network.classifier(features).flatten(1)
    if name.startswith("convnext"):
        return lambda features: network.classifier(features.mean(dim=(2, 3), keepdim=True))
    if name.startswith("maxvit"):
        return network.classifier
    if name.startswith("swin"):
        return lambda features: network.head(mean(features))
    return lambda features: network.fc(mean(features))


FAMILIES = [
    ("squeezenet1_1", 64),
    ("shufflenet_v2_x0_5", 64),
    ("mobilenet_v3_small", 64),
    *(
        pytest.param(name, size, marks=pytest.mark.slow)
        for name, size in {
            "alexnet": 96,
            "vgg11": 64,
            "resnet18": 64,
            "resnext50_32x4d": 64,
            "densenet121": 64,
            "googlenet": 64,
            "inception_v3": 112,
            "mobilenet_v2": 64,
            "mnasnet0_5": 64,
            "efficientnet_b0": 64,
            "regnet_y_400mf": 64,
            "convnext_tiny": 64,
            "swin_t": 64,
            "maxvit_t": 224,
        }.items()
    ),
]


class TestTorchvision:
    @pytest.mark.parametrize(("name", "size"), FAMILIES)
    def test_head_of_the_features_is_the_whole_network(self, name, size):
        torch.manual_seed(0)
        expected = whole(name)
        torch.manual_seed(0)
        backbone = torchvision_network(name, None, size).eval()
        # GoogLeNet and Inception translate what other networks' weights want, once they have weights.
        if hasattr(expected, "transform_input"):
            assert backbone.mean.flatten().tolist() == [0.5] * 3
        with torch.no_grad():
            features = backbone(images(size))
            logits = expected(normalized(backbone, images(size)))
            torch.testing.assert_close(head_of(expected, name)(features), logits)
        assert features.shape[1] == backbone.out_channels
        names = set(dict(expected.named_parameters()))
        assert {name for name, _ in backbone.named_parameters()} <= names  # layers are called what they were called

    def test_transform_input_is_undone_by_the_mean_and_std(self):
        # Its layers get (pixels - 0.5) / 0.5, whatever torchvision puts in between.
        pixels = images(64) / 255
        trained = torchvision.models.googlenet(weights=None, init_weights=True, transform_input=True).eval()
        mean_of, std_of = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, None, :, None, None]
        torch.testing.assert_close(trained._transform_input((pixels - mean_of) / std_of), (pixels - 0.5) / 0.5)

    def test_patches_of_a_vit_are_its_tokens_row_by_row(self):
        torch.manual_seed(0)
        expected = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32).eval()
        backbone = Backbone(nn.Sequential(_trunk(expected, 32)), 16).eval()
        with torch.no_grad():
            x = expected._process_input(normalized(backbone, images(32)))
            tokens = expected.encoder(torch.cat([expected.class_token.expand(2, -1, -1), x], dim=1))
            torch.testing.assert_close(backbone(images(32)).flatten(2).transpose(1, 2), tokens[:, 1:])

    @pytest.mark.parametrize(("stride", "cells"), [(32, 2), (16, 4), (8, 8)])
    def test_output_stride(self, stride, cells):
        backbone = torchvision_network("resnet18", None, 64, stride).eval()
        with torch.no_grad():
            assert backbone(images(64)).shape == (2, 512, cells, cells)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("resnet5", None), r"torchvision has no network 'resnet5'; close names: resnet50"),
            (("fcn_resnet50", None), r"torchvision has no network 'fcn_resnet50'"),
            (("mnasnet0_5", "imagnet"), r"weights of mnasnet0_5 must be imagenet or null, got 'imagnet'"),
            (("mnasnet0_5", None, 64, 16), r"output_stride of mnasnet0_5 must be null, got 16"),
            (("resnet18", None, 64, 4), r"output_stride of resnet18 must be null, 32, 16 or 8, got 4"),
            (("mnasnet0_5", None, 32), r"mnasnet0_5 ends without a spatial grid .* shape \(1, 1280, 1, 1\)"),
            (("alexnet", None, 32), r"alexnet does not take images of 32 x 32 px: .*too small"),
            (("vit_b_16", None, 100), r"vit_b_16 cannot be made for images of 100 x 100 px: .*divisible by patch size"),
        ],
    )
    def test_what_cannot_be_had_is_named(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            torchvision_network(*arguments)


class TestTimm:
    @pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_nfnet", "mobilenetv3_small_050"])
    def test_features_are_those_before_the_head(self, name):
        torch.manual_seed(0)
        expected = timm.create_model(name, pretrained=False).eval()
        torch.manual_seed(0)
        backbone = timm_network(name, None, 64).eval()
        with torch.no_grad():
            features = backbone(images(64))
            torch.testing.assert_close(features, expected.forward_features(normalized(backbone, images(64))))
            logits = expected.forward_head(features)
            torch.testing.assert_close(logits, expected(normalized(backbone, images(64))))
        assert features.shape[1] == backbone.out_channels

    @pytest.mark.parametrize(
        "name",
        ["test_resnet", "test_convnext", "mobilenetv3_small_050", "test_vit2", "test_vit3"],
    )
    def test_every_parameter_gets_a_gradient(self, name):
        backbone = timm_network(name, None, 160)
        classifier = Classifier(backbone, GAP(), 5).train()
        classifier(images(160)).square().sum().backward()
        unused = [name for name, parameter in classifier.named_parameters() if parameter.grad is None]
        assert not unused

    @pytest.mark.parametrize(
        "name",
        [
            "test_vit",
            "test_vit2",
            *(
                pytest.param(name, marks=pytest.mark.slow)
                for name in ("convit_tiny", "tnt_s_patch16_224", "cait_xxs24_224")
            ),
        ],
    )
    def test_a_token_stands_where_its_patch_stands(self, name):
        torch.manual_seed(0)
        backbone = timm_network(name, None).eval()
        size = backbone.get_submodule("image_size").size[0]
        before = images(size, 1) / 255
        after = before.clone()
        after[..., 16:32, 64:80] = 1 - after[..., 16:32, 64:80]
        with torch.no_grad():
            change = (backbone(after) - backbone(before)).abs().sum(dim=1)[0]
        assert divmod(change.argmax().item(), change.shape[1]) == (1, 4)

    @pytest.mark.parametrize(
        ("name", "size", "prefix"),
        [
            ("test_vit", 64, 1),
            ("test_vit2", 64, 1),  # a register, and no class token
            pytest.param("deit_tiny_distilled_patch16_224", 64, 2, marks=pytest.mark.slow),
            pytest.param(REGISTERS, 56, 5, marks=pytest.mark.slow),
        ],
    )
    def test_prefix_tokens_are_left_out(self, name, size, prefix):
        backbone = timm_network(name, None, size).eval()
        with torch.no_grad():
            tokens = backbone.get_submodule("network").forward_features(normalized(backbone, images(size)))
            torch.testing.assert_close(backbone(images(size)).flatten(2).transpose(1, 2), tokens[:, prefix:])

    def test_dinov2_takes_another_image_size(self):
        backbone = timm_network("vit_small_patch14_dinov2", None, 56).eval()
        with torch.no_grad():
            assert backbone(images(56)).shape == (2, 384, 4, 4)

    @pytest.mark.slow
    def test_a_swin_ends_as_channels_first(self):
        backbone = timm_network("swin_tiny_patch4_window7_224", None, 64).eval()
        with torch.no_grad():
            features = backbone(images(64))
            expected = backbone.get_submodule("network").forward_features(normalized(backbone, images(64)))
        torch.testing.assert_close(features, expected.permute(0, 3, 1, 2))

    @pytest.mark.parametrize(("stride", "cells"), [(None, 2), (16, 4), (8, 8)])
    def test_output_stride(self, stride, cells):
        backbone = timm_network("test_resnet", None, 64, stride).eval()
        with torch.no_grad():
            assert backbone(images(64)).shape[-2:] == (cells, cells)

    def test_copies_and_pickles_run_their_own_weights(self):
        backbone = timm_network("test_vit", None).eval()
        expected = backbone(images(160))
        for other in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
            with torch.no_grad():
                next(other.get_submodule("network.patch_embed").parameters()).zero_()
            assert not torch.equal(other(images(160)), expected)
        assert torch.equal(backbone(images(160)), expected)

    @pytest.mark.slow
    def test_what_levit_keeps_in_eval_mode_follows_its_weights(self):
        torch.manual_seed(0)
        first, second = timm_network("levit_128s", None), timm_network("levit_128s", None)
        with torch.no_grad():
            for parameter in second.parameters():
                parameter.uniform_(-0.1, 0.1)
        first.load_state_dict(second.state_dict())
        with torch.no_grad():
            assert torch.equal(first.eval()(images(224)), second.eval()(images(224)))

    def test_attention_rollout_reads_the_patches_that_the_head_reads(self):
        classifier = Classifier(timm_network("test_vit", None), GAP(), 3)
        assert self_attention(classifier).read == slice(1, None)

    def test_another_size_at_run_time_is_refused(self):
        with pytest.raises(ValueError, match="takes images of 160 x 160 px, got 64 x 64"):
            timm_network("test_vit", None, 160)(images(64))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("resnet5", None), r"timm has no network 'resnet5'; close names: resnet50"),
            (("test_vit.fb_in1k", None), r"timm has no network 'test_vit.fb_in1k'; close names: test_vit.r160_in1k"),
            (("test_vit", "imagnet"), r"weights of test_vit must be imagenet or null, got 'imagnet'"),
            (("test_vit", None, 100), r"image_size of test_vit must be a multiple of 16, got 100"),
            (("pit_ti_224", None, 64), r"pit_ti_224 takes images of 224 x 224 px alone, got image_size=64"),
            (("test_vit", None, 160, 8), r"test_vit of timm cannot have output_stride=8 .*take null"),
            (("test_resnet", None, 64, 12), r"test_resnet of timm cannot have output_stride=12 .*take null"),
            (("pit_ti_224", None), r"pit_ti_224 ends without a spatial grid of features: .* shape \(1, 1, 256\)"),
            (
                ("efficientvim_m1", None, 64),
                r"efficientvim_m1 ends without a spatial grid of features: one image gives list",
            ),
            (("test_resnet", None, 32), r"test_resnet ends without a spatial grid .* larger images"),
            (("test_resnet", None, 64, None, "class_and_patches"), r"test_resnet has no class token; take .*patches"),
            (("test_vit2", None, 160, None, "class_and_patches"), r"test_vit2 has no class token"),
            (("test_vit", None, 160, None, "class"), r"tokens of test_vit must be patches or class_and_patches"),
        ],
    )
    def test_what_cannot_be_had_is_named(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            timm_network(*arguments)

    def test_weights_that_do_not_exist_are_named(self, monkeypatch):
        monkeypatch.setattr(timm, "list_models", lambda *filters, pretrained=False: [] if filters else ["test_vit"])
        with pytest.raises(ValueError, match=r"timm has no weights of test_vit; take backbone.weights=null"):
            timm_network("test_vit")


class TestClassTokenHead:
    def classifier(self, name="test_vit", size=160):
        torch.manual_seed(0)
        backbone = timm_network(name, None, size, tokens="class_and_patches")
        return Classifier(backbone, ClassToken(), 5).eval()

    @pytest.mark.parametrize(("name", "size"), [("test_vit", 64), pytest.param(REGISTERS, 56, marks=pytest.mark.slow)])
    def test_it_is_timms_own_head(self, name, size):
        torch.manual_seed(0)
        expected = timm.create_model(name, pretrained=False, num_classes=5, global_pool="token").eval()
        expected.set_input_size((size, size))
        classifier = self.classifier(name, size)
        trunk = classifier.backbone.get_submodule("network")
        expected.load_state_dict({**trunk.state_dict(), **classifier.fc.state_dict(prefix="head.")})
        pixels = normalized(classifier.backbone, images(size))
        with torch.no_grad():
            pooled = classifier.pooling(classifier.backbone(images(size)))
            tokens = expected.forward_features(pixels)
            torch.testing.assert_close(pooled, expected.forward_head(tokens, pre_logits=True))
            torch.testing.assert_close(classifier(images(size)), expected(pixels))

    def test_channels_are_patches_then_class_token(self):
        classifier = self.classifier()
        patches = timm_network("test_vit", None, 160).eval()
        patches.load_state_dict(classifier.backbone.state_dict())
        with torch.no_grad():
            features = classifier.backbone(images(160))
            assert torch.equal(features[:, :64], patches(images(160)))
        assert features.shape == (2, 128, 10, 10) == (2, classifier.backbone.out_channels, 10, 10)
        assert classifier.fc.in_features == 64

    def test_cam_refuses_it(self):
        message = (
            r"CAM needs one fc weight per channel, got 64 for the 128 channels .* Take maps=\[attention_rollout\], or "
        )
        with pytest.raises(ValueError, match=message):
            make(CAM(), self.classifier(), images(160), torch.tensor([0, 1]))

    def test_attention_rollout_reads_it(self):
        maps = make(AttentionRollout(), self.classifier(), images(160), torch.tensor([0, 1]))
        assert (maps.amax(dim=(1, 2)) > maps.amin(dim=(1, 2))).all()

    @pytest.mark.parametrize("method", [GradCAM(), HiResCAM(), LayerCAM()], ids=lambda one: type(one).__name__)
    def test_gradients_refuse_the_layer_whose_patches_it_does_not_read(self, method):
        classifier = self.classifier()
        forward = forward_pass(classifier, images(160), ["backbone"])
        (gradient,) = torch.autograd.grad(forward.logits.sum(), forward.outputs["backbone"])
        assert not gradient[:, :64].any()
        assert gradient[:, 64:].any()
        message = r"No gradient reaches the patches at 'backbone': ClassToken .* Take maps=\[attention_rollout\], or "
        with pytest.raises(ValueError, match=message):
            make(method, classifier, images(160), torch.tensor([0, 1]))

    def test_grad_cam_reads_an_earlier_layer(self):
        classifier = self.classifier()
        blocks = classifier.backbone.get_submodule("network.blocks")
        layer = f"backbone.network.blocks.{len(blocks) - 1}.norm1"
        method = GradCAM(layer, layout="tokens", prefix_tokens=1)
        maps = make(method, classifier, images(160), torch.tensor([0, 1]))
        assert maps.shape == (2, 10, 10)
        assert maps.isfinite().all()
        assert (maps.amax(dim=(1, 2)) > maps.amin(dim=(1, 2))).all()
        behind = GradCAM("backbone.network.norm", layout="tokens", prefix_tokens=1)
        with pytest.raises(ValueError, match="No gradient reaches the patch tokens"):
            make(behind, classifier, images(160), torch.tensor([0, 1]))


class TestSteps:
    @pytest.mark.parametrize(
        ("shape", "prefix", "expected"),
        [
            ((1, 6, 2, 3), 0, "channels_first"),
            ((1, 2, 3, 6), 0, "channels_last"),
            ((1, 9, 6), 0, "tokens"),
            ((1, 9, 6), 5, "tokens"),
            ((1, 9, 6), 1, None),
            ((1, 2, 6), 1, None),  # one cell
            ((1, 6, 1, 3), 0, None),
            ((1, 6), 0, None),
        ],
    )
    def test_layouts_on_paper(self, shape, prefix, expected):
        if expected:
            assert layout_of(torch.zeros(shape), 6, "it", prefix) == expected
        else:
            with pytest.raises(ValueError, match="it ends without a spatial grid of features"):
                layout_of(torch.zeros(shape), 6, "it", prefix)

    def test_what_the_features_do_not_read_is_removed_or_frozen(self):
        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                self.stem, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)
                self.stage = nn.ModuleDict({"kept": nn.Conv2d(4, 4, 1), "dropped": nn.Conv2d(4, 4, 1)})
                self.scale, self.mask_token = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

            def forward(self, x):
                return self.stage["kept"](self.stem(x)) * self.scale

        network = Network()
        remove_unused(network, try_features(network, "it", 4))
        assert [name for name, one in network.named_parameters() if one.requires_grad] == [
            "scale",
            "stem.weight",
            "stem.bias",
            "stage.kept.weight",
            "stage.kept.bias",
        ]
        assert isinstance(network.head, nn.Identity)
        assert isinstance(network.stage["dropped"], nn.Identity)
        assert not network.mask_token.requires_grad
        assert network.training


class TestTable:
    def lines(self):
        return [line for line in DOC.splitlines() if rows_in(line)]

    def test_it_names_each_network_once(self):
        assert len(self.lines()) >= 25
        assert len(set(rows_in(DOC))) == len(self.lines())
        assert {library for library, _ in rows_in(DOC)} == set(LIBRARIES)

    @pytest.mark.parametrize(
        ("library", "name"),
        [
            pytest.param(*row, marks=[] if row[1] in QUICK else [pytest.mark.slow], id="-".join(row))
            for row in rows_in(DOC)
        ],
    )
    def test_it_says_what_the_code_gives(self, library, name):
        (line,) = [line for line in self.lines() if rows_in(line) == [(library, name)]]
        assert line == network_row(library, name)


def test_attention_of_a_distilled_vit_is_read_at_its_patches():
    backbone = timm_network("deit_tiny_distilled_patch16_224", weights=None, image_size=32)
    attention = self_attention(Classifier(backbone, GAP(), num_classes=3))
    assert attention.prefix_tokens == 2
    assert attention.read == slice(2, None)


def test_weights_that_change_after_eval_mode_are_the_ones_that_count():
    """LeViT and its like keep biases made of their weights in eval mode."""
    torch.manual_seed(0)
    classifier = Classifier(timm_network("levit_128s", weights=None), GAP(), num_classes=3)
    classifier.train()
    pixels = images(224, count=1)
    with evaluation_mode(classifier), torch.no_grad():
        classifier(pixels)
    with torch.no_grad():
        for name, parameter in classifier.named_parameters():
            if "attention_biases" in name:
                parameter.normal_()
    with evaluation_mode(classifier), torch.no_grad():
        found = classifier(pixels)
    fresh = copy.deepcopy(classifier).train().eval()
    with torch.no_grad():
        torch.testing.assert_close(found, fresh(pixels))
