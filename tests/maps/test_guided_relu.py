"""Guided ReLUs, however the network writes them."""

import copy
import importlib.metadata
import logging

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from networks import tiny_classifier
from wsol.maps.guided_relu import GuidedReLU, guided_gradients
from wsol.maps.input_gradient import input_gradients
from wsol.networks.backbones.efficientnet_lite0 import efficientnet_lite0
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP

RELUS = {
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU in place": nn.ReLU(inplace=True),
    "functional.relu": F.relu,
    "functional.relu in place": lambda x: F.relu(x, inplace=True),
    "functional.relu by position": lambda x: F.relu(x, True),
    "functional.relu by name": lambda x: F.relu(input=x),
    "functional.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": lambda x: x.relu(),
    "Tensor.relu_": lambda x: x.relu_(),
    "exported": lambda x: torch.ops.aten.relu.default(x),
    "exported in place": lambda x: torch.ops.aten.relu_.default(x),
}
RELUS6 = {
    "nn.ReLU6": nn.ReLU6(),
    "nn.ReLU6 in place": nn.ReLU6(inplace=True),
    "functional.relu6": F.relu6,
    "functional.relu6 in place": lambda x: F.relu6(x, inplace=True),
    "functional.hardtanh": lambda x: F.hardtanh(x, 0, 6),
    "functional.hardtanh by name": lambda x: F.hardtanh(x, min_val=0.0, max_val=6.0, inplace=True),
    "functional.hardtanh_": lambda x: F.hardtanh_(x, 0.0, 6.0),
    "nn.Hardtanh": nn.Hardtanh(0, 6),
}
VALUES = [-1.0, 0.0, 0.5, 3.0, 6.0, 7.0]
SEED = [1.0, 1.0, -1.0, 2.0, 3.0, 4.0]


def run(relu):
    """(output, what the input holds afterwards, its gradient for SEED)."""
    leaf = torch.tensor(VALUES, requires_grad=True)
    with GuidedReLU() as guided:
        x = leaf * 1
        output = relu(x)
    assert guided.met == 1
    (gradient,) = torch.autograd.grad(output, leaf, torch.tensor(SEED))
    return output.tolist(), x.tolist(), gradient.tolist()


class TestOneReLU:
    @pytest.mark.parametrize("name", RELUS)
    def test_relu(self, name):
        output, held, gradient = run(RELUS[name])
        assert output == [0, 0, 0.5, 3, 6, 7]
        assert held == (output if "in place" in name or "position" in name or name.endswith("_") else VALUES)
        assert gradient == [0, 0, 0, 2, 3, 4]

    @pytest.mark.parametrize("name", RELUS6)
    def test_relu6(self, name):
        output, held, gradient = run(RELUS6[name])
        assert output == [0, 0, 0.5, 3, 6, 6]
        assert held == (output if "in place" in name or "by name" in name or name.endswith("_") else VALUES)
        assert gradient == [0, 0, 0, 2, 0, 0]

    def test_in_place_on_a_part(self):
        leaf = torch.tensor(VALUES, requires_grad=True)
        with GuidedReLU():
            x = leaf * 1
            x[:3].relu_()
        (gradient,) = torch.autograd.grad(x, leaf, torch.tensor(SEED))
        assert x.tolist() == [0, 0, 0.5, 3, 6, 7]
        assert gradient == pytest.approx([0, 0, 0, 2, 3, 4])

    def test_what_comes_after_in_place_may_change_the_output(self):
        leaf = torch.tensor(VALUES, requires_grad=True)
        with GuidedReLU():
            output = (leaf * 1).relu_().add_(10)  # the ReLU of torch keeps its output, and its backward pass would fail
        (gradient,) = torch.autograd.grad(output, leaf, torch.tensor(SEED))
        assert gradient.tolist() == [0, 0, 0, 2, 3, 4]

    def test_a_hardtanh_that_does_not_start_at_zero_is_no_relu(self):
        leaf = torch.tensor([-0.5, 0.5], requires_grad=True)
        with GuidedReLU() as guided:
            output = F.hardtanh(leaf)
        (gradient,) = torch.autograd.grad(output, leaf, torch.tensor([-1.0, -1.0]))
        assert gradient.tolist() == [-1, -1]
        assert guided.met == 0

    def test_outside_the_context_relus_are_as_ever(self):
        with pytest.raises(KeyError), GuidedReLU():
            raise KeyError
        leaf = torch.tensor([1.0], requires_grad=True)
        assert torch.autograd.grad(leaf.relu(), leaf, torch.tensor([-1.0]))[0].item() == -1


class Modules(nn.Module):
    """Two convolutions with ReLUs, and a linear head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6, 4)
        self.relus = self.make_relus()
        self.double()

    def make_relus(self):
        return nn.ModuleList([nn.ReLU(), nn.ReLU()])

    def relu(self, x, place):
        return self.relus[place](x)

    def forward(self, x):
        x = self.relu(self.first(x), 0)
        return self.fc(self.relu(self.second(x), 1).mean(dim=(2, 3)))


class SharedInPlace(Modules):
    def make_relus(self):
        return nn.ModuleList([nn.ReLU(inplace=True)] * 2)


class Functional(Modules):
    def make_relus(self):
        return None

    def relu(self, x, place):
        return F.relu(x) if place else torch.relu(x)


class Functional6(Modules):
    def make_relus(self):
        return nn.ModuleList([nn.ReLU6(), nn.ReLU6()])


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(5, 3, 8, 8, dtype=torch.float64, generator=generator), torch.tensor([0, 1, 2, 3, 1])[:, None]


def by_hand(network: Modules, images: Tensor, class_ids: Tensor) -> Tensor:
    """The backward pass of `Modules`, written out."""
    before_first = network.first(images)
    before_second = network.second(before_first.relu())
    cells = images.shape[2] * images.shape[3]
    signal = network.fc.weight[class_ids[:, 0]][:, :, None, None].expand_as(before_second) / cells
    signal = signal.clamp(min=0) * (before_second > 0)
    signal = F.conv_transpose2d(signal, network.second.weight, padding=1)
    signal = signal.clamp(min=0) * (before_first > 0)
    return F.conv_transpose2d(signal, network.first.weight, padding=1)[:, None].detach()


class TestNetworks:
    def test_on_paper(self):
        """x = (1, 2, 0) gives h = (3, 0, 2, -3). R of h is (1, 0, 0, 0): 5 meets h = 0, -2 is negative, 7 meets -3."""
        network = nn.Sequential(nn.Flatten(), nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 1))
        with torch.no_grad():
            network[1].weight.copy_(torch.tensor([[1, 1, 0], [2, -1, 1], [0, 1, -1], [-1, -1, 0]]))
            network[3].weight.copy_(torch.tensor([[1, 5, -2, 7]]))
        images, class_ids = torch.tensor([1.0, 2, 0]).view(1, 3, 1, 1), torch.zeros(1, 1, dtype=torch.int64)
        assert guided_gradients(network, images, class_ids).flatten().tolist() == [1, 1, 0]
        assert input_gradients(network, images, class_ids).flatten().tolist() == [1, -1, 2]

    @pytest.mark.parametrize("n", [1, 5])
    @pytest.mark.parametrize("network", [Modules, SharedInPlace, Functional])
    def test_three_ways_to_write_one_network(self, network, n, batch):
        images, class_ids = batch[0][:n], batch[1][:n]
        expected = by_hand(Modules(), images, class_ids)
        found = guided_gradients(network(), images, class_ids)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)
        assert (found - input_gradients(network(), images, class_ids)).abs().max() > 0.1 * expected.abs().max()

    def test_several_classes(self, batch):
        images, _ = batch
        several = guided_gradients(SharedInPlace(), images, torch.tensor([[0, 3]] * 5))
        for place, class_id in enumerate((0, 3)):
            expected = by_hand(Modules(), images, torch.full((5, 1), class_id))
            torch.testing.assert_close(several[:, place : place + 1], expected, rtol=1e-12, atol=1e-15)

    def test_efficientnet_lite0(self):
        torch.manual_seed(0)
        network = Classifier(efficientnet_lite0(weights=None), GAP(), 3).eval()
        images, class_ids = torch.rand(2, 3, 32, 32), torch.tensor([[0], [2]])
        by_hooks, relus = copy.deepcopy(network), 0
        for module in by_hooks.modules():
            if isinstance(module, nn.ReLU6):
                module.inplace, relus = False, relus + 1
                module.register_full_backward_hook(lambda module, inputs, outputs: (inputs[0].clamp(min=0),))
        expected = input_gradients(by_hooks, images, class_ids)
        assert relus > 30
        assert expected.abs().max() > 0
        plain = input_gradients(network, images, class_ids)
        found = guided_gradients(network, images, class_ids)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item())
        assert (found / found.abs().max() - plain / plain.abs().max()).abs().max() > 0.1

    def test_a_network_without_relus_is_refused(self, batch):
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
        with pytest.raises(ValueError, match=r"Sequential ran none \(GELU was met\).*Use gradient, smooth_grad"):
            guided_gradients(network, *batch)
        with pytest.raises(ValueError, match=r"ran none \(nothing alike was met\)"):
            guided_gradients(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)).double(), *batch)

    def test_a_network_with_other_activations_too_is_named_once(self, batch, caplog):
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        caplog.set_level(logging.WARNING, logger="wsol.maps.guided_relu")
        for _ in range(2):
            guided_gradients(network.double(), *batch)
        assert [record.getMessage() for record in caplog.records] == [
            "Guided backpropagation of Sequential: its ReLUs are guided; SiLU keep their gradient."
        ]

    @pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
    def test_scripted_modules_are_refused(self, batch):
        network = nn.Sequential(torch.jit.trace(Modules(), batch[0]))
        with pytest.raises(ValueError, match="does not see the ReLUs of scripted modules"):
            guided_gradients(network, *batch)

    def test_everything_is_left_as_found_after_an_error(self, batch):
        class Fails(Modules):
            def relu(self, x, place):
                if place:
                    raise RuntimeError("halfway")
                return super().relu(x, place)

        network = Fails().train()
        with pytest.raises(RuntimeError, match="halfway"):
            guided_gradients(network, *batch)
        assert network.training
        assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
        leaf = torch.tensor([1.0], requires_grad=True)
        assert torch.autograd.grad(leaf.relu(), leaf, torch.tensor([-1.0]))[0].item() == -1


CAPTUM_SPEAKS = pytest.mark.filterwarnings("ignore:Setting backward hooks", "ignore:Input Tensor 0 did not")


def installed(name: str, version: str) -> None:
    """Skip a test that says what one version of a library does, where another one is installed."""
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found = "nothing"
    if found != version:
        pytest.skip(f"written down for {name} {version}, installed is {found}")


def relative(difference: Tensor, of: Tensor) -> float:
    return (difference.abs().max() / of.abs().max()).item()


@CAPTUM_SPEAKS
class TestCaptum:
    @pytest.fixture(autouse=True)
    def captum(self):
        return pytest.importorskip("captum.attr")

    @pytest.mark.parametrize("network", [Modules, SharedInPlace])
    def test_agrees_where_relus_are_modules(self, captum, network, batch):
        images, class_ids = batch
        theirs = captum.GuidedBackprop(network()).attribute(images, class_ids[:, 0])
        ours = guided_gradients(network(), images, class_ids)[:, 0]
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)

    def test_agrees_on_residual_blocks(self, captum, batch):
        torch.manual_seed(0)
        blocks = [nn.Conv2d(3, 6, 3), BasicBlock(6, 6), BasicBlock(6, 6), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        network = nn.Sequential(*blocks).double().eval()
        theirs = captum.GuidedBackprop(network).attribute(batch[0], batch[1][:, 0])
        ours = guided_gradients(network, *batch)[:, 0]
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)

    @pytest.mark.parametrize("network", [Functional, Functional6])
    def test_0_9_0_gives_the_plain_gradient_of_functions_and_relu6(self, captum, network, batch, recwarn):
        """Without a word: the two warnings that it always gives speak of hooks and of requires_grad."""
        installed("captum", "0.9.0")
        images, class_ids = batch
        theirs = captum.GuidedBackprop(network()).attribute(images, class_ids[:, 0])
        assert all("functional" not in str(warning.message) for warning in recwarn)
        torch.testing.assert_close(theirs, input_gradients(network(), images, class_ids)[:, 0])
        ours = guided_gradients(network(), images, class_ids)[:, 0]
        assert relative(ours - theirs, of=ours) > 0.1


class TestGradCam:
    """The package grad-cam takes one image (N = 1); what it gives is (H, W, 3)."""

    @pytest.fixture(autouse=True)
    def model(self):
        installed("grad-cam", "1.5.7")
        return pytest.importorskip("pytorch_grad_cam").GuidedBackpropReLUModel

    def test_agrees_on_one_image_where_relus_are_modules(self, model, batch):
        images, class_ids = batch[0][:1], batch[1][:1]
        theirs = torch.from_numpy(model(Modules().eval())(images.clone(), 0)).permute(2, 0, 1)
        torch.testing.assert_close(guided_gradients(Modules(), images, class_ids)[0, 0], theirs, rtol=1e-12, atol=1e-15)

    @pytest.mark.parametrize("network", [Functional, Functional6])
    def test_1_5_7_gives_the_plain_gradient_of_functions_and_relu6(self, model, network, batch):
        images, class_ids = batch[0][:1], batch[1][:1]
        theirs = torch.from_numpy(model(network().eval())(images.clone(), 0)).permute(2, 0, 1)
        torch.testing.assert_close(theirs, input_gradients(network(), images, class_ids)[0, 0])
        ours = guided_gradients(network(), images, class_ids)[0, 0]
        assert relative(ours - theirs, of=ours) > 0.1

    def test_1_5_7_drops_all_images_but_the_first(self, model, batch):
        network = Modules().eval()
        assert model(network)(batch[0].clone(), 0).shape == (8, 8, 3)
        with pytest.raises(IndexError, match="out of bounds"):  # the best class, sought among the scores of all images
            model(network)(batch[0].clone())

    def test_1_5_7_leaves_the_network_changed(self, model, batch):
        """Its ReLUs become one, no longer in place, and the parameters keep a gradient that nobody asked for."""
        network = Modules().eval()
        network.relus = nn.ModuleList([nn.ReLU(inplace=True), nn.ReLU(inplace=True)])
        model(network)(batch[0].clone(), 0)
        assert network.relus[0] is network.relus[1]
        assert not network.relus[0].inplace
        assert network.fc.weight.grad is not None
        network = Modules().eval()
        guided_gradients(network, *batch)
        assert network.relus[0] is not network.relus[1]
        assert network.fc.weight.grad is None


def test_our_own_classifier_in_place(images, class_ids):
    """Its modules run in place, its images are uint8, and the gradient is that of a pixel in [0, 1]."""
    network = tiny_classifier(GAP())
    found = guided_gradients(network, images, class_ids[:, None])
    assert found.shape == (4, 1, 3, 16, 16)
    torch.testing.assert_close(found, guided_gradients(network, images / 255, class_ids[:, None]))
    assert relative(found - input_gradients(network, images, class_ids[:, None]), of=found) > 0.1
