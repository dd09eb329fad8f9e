"""Other libraries' maps: where they agree with ours, and where they do not, by name and version."""

import copy
import gc
import sys
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from map_methods import make
from networks import Opaque, tiny_classifier
from wsol.identity import digest
from wsol.maps.forward_pass import LAST, forward_pass
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.eigen_cam import EigenCAM
from wsol.maps.methods.from_captum import FromCaptum
from wsol.maps.methods.from_grad_cam import FromGradCAM
from wsol.maps.methods.from_torchcam import FromTorchCAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.grad_cam_pp import GradCAMPlusPlus
from wsol.maps.methods.hires_cam import HiResCAM
from wsol.maps.methods.layer_cam import LayerCAM
from wsol.maps.methods.xgrad_cam import XGradCAM
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP

EARLY = "backbone.block1"
PEERS = {"grad-cam": FromGradCAM, "torchcam": FromTorchCAM, "captum": FromCaptum}
MODULES = {"grad-cam": "pytorch_grad_cam", "torchcam": "torchcam.methods", "captum": "captum.attr"}


def installed(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def needs(package, release=None):
    """Skip where the package is missing, or is not the release that a test describes."""
    found = installed(package)
    return pytest.mark.skipif(found is None or release not in (None, found), reason=f"{package} is {found}")


def known(package):
    return needs(package, {"grad-cam": "1.5.7", "torchcam": "0.5.0", "captum": "0.9.0"}[package])


def min_max(maps):
    maps = torch.as_tensor(maps).double()
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, 1)


def difference(one, other):
    return (torch.as_tensor(one) - torch.as_tensor(other)).abs().max().item()


def floats(images):
    return images.double() / 255


def networks_of(name):
    if name == "resnet18":
        torch.manual_seed(0)
        images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        return resnet18(weights=None).eval(), "layer3", images
    pooling, layer = name.split()
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return tiny_classifier({"gap": GAP, "gmp": GMP}[pooling]()), {"last": LAST, "early": EARLY}[layer], images


@pytest.fixture(scope="module", params=["resnet18", "gap last", "gmp last", "gap early", "gmp early"])
def case(request):
    """A pass in float32 for the peers, one in float64 for ours, the layer and the class ids."""
    network, layer, images = networks_of(request.param)
    double = forward_pass(copy.deepcopy(network).double(), images.double(), [layer])
    return forward_pass(network, images), double, layer, torch.tensor([0, 3, 1, 4])


class TestAgreement:
    """Their float32 against ours in float64; differences of a rounding error are allowed, and nothing more."""

    @needs("grad-cam")
    @pytest.mark.parametrize(
        ("name", "ours"), [("GradCAM", GradCAM), ("XGradCAM", XGradCAM), ("HiResCAM", HiResCAM), ("LayerCAM", LayerCAM)]
    )
    def test_grad_cam_up_to_its_relu_and_range(self, case, name, ours):
        forward, double, layer, class_ids = case
        theirs = FromGradCAM(name, layer)(forward, class_ids)
        expected = (ours([layer]) if ours is LayerCAM else ours(layer))(double, class_ids).relu()
        assert expected.max() > 0
        assert difference(theirs, min_max(expected)) < 1e-5

    @needs("torchcam")
    @pytest.mark.parametrize(("name", "ours"), [("GradCAM", GradCAM), ("XGradCAM", XGradCAM), ("LayerCAM", LayerCAM)])
    def test_torchcam(self, case, name, ours):
        forward, double, layer, class_ids = case
        theirs = FromTorchCAM(name, layer)(forward, class_ids)
        expected = (ours([layer]) if ours is LayerCAM else ours(layer))(double, class_ids)
        assert difference(theirs, expected) < 1e-5 * expected.max()

    @needs("torchcam")
    @pytest.mark.parametrize("pooling", [GAP, GMP])
    def test_cam_of_torchcam_has_no_relu_either(self, pooling, images, class_ids):
        classifier = tiny_classifier(pooling())
        expected = make(CAM(), classifier, images, class_ids)
        assert expected.min() < 0
        torch.testing.assert_close(make(FromTorchCAM("CAM"), classifier, images, class_ids), expected)

    @needs("captum")
    @pytest.mark.parametrize(
        ("name", "options", "ours"),
        [
            ("LayerGradCam", {"relu_attributions": True}, GradCAM),
            ("LayerGradientXActivation", {}, HiResCAM),
        ],
    )
    def test_captum(self, case, name, options, ours):
        forward, double, layer, class_ids = case
        theirs = FromCaptum(name, layer, options)(forward, class_ids)
        expected = ours(layer)(double, class_ids)
        assert difference(theirs, expected) < 1e-5 * expected.abs().max()


@known("grad-cam")
class TestGradCam157:
    """grad-cam 1.5.7."""

    def run(self, method, network, layer, images, class_ids, **arguments):
        """As its documentation says, by hand."""
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        cam = method(network, [network.get_submodule(layer)], **arguments)
        return cam(images, [ClassifierOutputTarget(class_id) for class_id in class_ids.tolist()])

    def test_grad_cam_1_5_7_adds_an_epsilon_larger_than_the_squared_gradient(self, class_ids):
        """Maps of 28 x 28 cells under GAP, in float64: Eq. 19 has no epsilon beside 2 g² + g³ ΣA."""
        classifier = tiny_classifier(GAP()).double()
        images = torch.rand(4, 3, 56, 56, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        forward = forward_pass(classifier, images, [LAST])
        activation = forward.activation(LAST)
        assert activation.shape[2:] == (28, 28)
        gradient = (classifier.fc.weight[class_ids] / 28**2)[:, :, None, None].expand_as(activation).detach()
        assert gradient.square().max() < 1e-6

        def equation_19(epsilon):
            square, total = gradient**2, activation.sum(dim=(2, 3), keepdim=True)
            alpha = square / (2 * square + gradient**3 * total + epsilon)
            return ((alpha * gradient.relu()).sum(dim=(2, 3), keepdim=True) * activation).sum(dim=1).relu()

        theirs = FromGradCAM("GradCAMPlusPlus")(forward, class_ids)
        ours = GradCAMPlusPlus()(forward, class_ids)
        torch.testing.assert_close(ours, equation_19(0), rtol=1e-10, atol=0)
        assert difference(theirs, min_max(equation_19(1e-6))) < 1e-5
        assert difference(theirs, min_max(ours)) > 0.1

    def test_grad_cam_1_5_7_centres_the_activations_of_eigen_cam(self, images, class_ids):
        forward = forward_pass(tiny_classifier(GAP()).double(), floats(images), [LAST])
        cells = forward.activation(LAST).flatten(2).transpose(1, 2)
        centred = cells - cells.mean(dim=1, keepdim=True)
        _, _, v = torch.linalg.svd(centred, full_matrices=False)
        projected = (centred @ v[:, :1].transpose(1, 2))[..., 0].unflatten(1, (8, 8))
        theirs = FromGradCAM("EigenCAM")(forward, class_ids)
        ours = EigenCAM()(forward, class_ids)
        for n in range(4):  # the sign is whatever the decomposition gives, and what is negative is cut off
            signs = [difference(theirs[n], min_max((sign * projected[n : n + 1]).relu())[0]) for sign in (1, -1)]
            assert min(signs) < 1e-5
            assert difference(theirs[n], min_max(ours[n : n + 1].relu())[0]) > 0.3

    def test_grad_cam_1_5_7_rectifies_hires_cam(self, images, class_ids):
        forward = forward_pass(tiny_classifier(GAP()), images, [LAST])
        ours = HiResCAM()(forward, class_ids)
        theirs = FromGradCAM("HiResCAM")(forward, class_ids)
        negative = ours < 0
        assert negative.any(dim=(1, 2)).all()
        assert (theirs[negative] == 0).all()

    def test_grad_cam_1_5_7_fuses_layers_by_their_mean(self, images, class_ids):
        cv2 = pytest.importorskip("cv2")
        forward = forward_pass(tiny_classifier(GAP()), images, [EARLY, LAST])
        maps = [FromGradCAM("LayerCAM", layer)(forward, class_ids).numpy() for layer in (EARLY, LAST)]
        maps = np.stack([[cv2.resize(one, (16, 16)) for one in of_layer] for of_layer in maps])
        theirs = FromGradCAM("LayerCAM", (EARLY, LAST))(forward, class_ids)
        assert difference(theirs, min_max(maps.mean(axis=0))) < 1e-4
        assert difference(theirs, min_max(maps.max(axis=0))) > 0.3

    def test_grad_cam_1_5_7_leaves_eval_mode_and_overwrites_the_gradients(self, images, class_ids):
        import pytorch_grad_cam

        classifier = tiny_classifier(GAP()).train()
        for parameter in classifier.parameters():
            parameter.grad = torch.full_like(parameter, 7.0)
        self.run(pytorch_grad_cam.GradCAM, classifier, LAST, floats(images).float(), class_ids)
        assert not any(module.training for module in classifier.modules())
        assert not any((parameter.grad == 7).any() for parameter in classifier.parameters())

    def test_grad_cam_1_5_7_swallows_a_wrong_class_in_a_with_block(self, images, capsys):
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        classifier, maps = tiny_classifier(GAP()), None
        with pytorch_grad_cam.GradCAM(classifier, [classifier.backbone]) as cam:
            maps = cam(floats(images).float(), [ClassifierOutputTarget(99)] * 4)
        assert maps is None
        assert "IndexError" in capsys.readouterr().out
        with pytest.raises(IndexError):
            make(FromGradCAM(), classifier, images, torch.full((4,), 99))

    def test_grad_cam_1_5_7_makes_empty_maps_of_images_without_a_target(self, images, class_ids):
        import pytorch_grad_cam

        maps = self.run(pytorch_grad_cam.GradCAM, tiny_classifier(GAP()), LAST, floats(images).float(), class_ids[:1])
        assert maps.shape == (4, 16, 16)
        assert maps[0].max() > 0.99
        assert (maps[1:] == 0).all()

    def test_grad_cam_1_5_7_leaves_the_ablation_layer_in_the_network_after_an_error(self, images, class_ids):
        import pytorch_grad_cam

        classifier = tiny_classifier(FailsAfter(3))
        with pytest.raises(RuntimeError, match="enough"):
            self.run(pytorch_grad_cam.AblationCAM, classifier, LAST, floats(images).float(), class_ids)
        assert isinstance(classifier.backbone, pytorch_grad_cam.AblationLayer)

    def test_grad_cam_1_5_7_pairs_gradients_with_activations_after_an_in_place_relu(self, images, class_ids):
        """On a CPU, where `activation.cpu()` copies nothing."""
        import pytorch_grad_cam

        network = in_place_network()
        forward = forward_pass(network, floats(images), ["0", "2"])
        gradient = forward.gradient("0", class_ids[:, None]).mean()[:, 0]
        before, after = forward.activation("0"), forward.activation("0").relu()
        maps = [torch.einsum("nc,nchw->nhw", gradient, one).relu() for one in (before, after)]
        method = pytorch_grad_cam.GradCAM
        cam = self.run(method, copy.deepcopy(network), "0", floats(images), class_ids)
        expected = [min_max(one) for one in maps]
        assert difference(cam, expected[1]) < 1e-5
        assert difference(cam, expected[0]) > 0.3
        torch.testing.assert_close(GradCAM("0")(forward, class_ids), maps[0])
        assert difference(FromGradCAM("GradCAM", "0")(forward, class_ids), expected[0]) < 1e-5


@known("torchcam")
class TestTorchcam050:
    """torchcam 0.5.0."""

    @pytest.mark.parametrize("pooling", [GAP, GMP])
    @pytest.mark.parametrize("layer", [LAST, EARLY])
    def test_torchcam_0_5_0_never_divides_grad_cam_pp_by_its_denominator(self, pooling, layer, images, class_ids):
        """It divides a copy, so that α is g² and a channel's weight Σ ReLU(g)³."""
        network = Opaque(tiny_classifier(pooling()).double())
        forward = forward_pass(network, floats(images), [layer])
        (gradient,) = forward.gradient(layer, class_ids[:, None]).classes
        cubes = gradient.relu().pow(3).sum(dim=(2, 3), keepdim=True)
        theirs = FromTorchCAM("GradCAMpp", layer)(forward, class_ids)
        ours = GradCAMPlusPlus(layer)(forward, class_ids)
        torch.testing.assert_close(theirs, (cubes * forward.activation(layer)).sum(dim=1).relu(), rtol=1e-9, atol=0)
        assert difference(min_max(theirs), min_max(ours)) > 0.2

    def test_torchcam_0_5_0_weighs_the_last_noisy_activations_by_the_last_noisy_gradient(self, images, class_ids):
        """And its denominator has Σ g³ A where Eq. 19 of Grad-CAM++ has g³ ΣA."""
        network, pixels = Opaque(tiny_classifier(GMP()).double()), floats(images)
        clean = forward_pass(network, pixels, [EARLY])
        method = FromTorchCAM("SmoothGradCAMpp", EARLY, {"num_samples": 3, "std": 0.3}, seed=5)
        theirs = method(clean, class_ids)

        normal, passes = torch.distributions.Normal(0, 0.3), []
        with torch.random.fork_rng():
            torch.manual_seed(5)
            for _ in range(3):
                passes.append(forward_pass(network, pixels + normal.sample(pixels.shape), [EARLY]))
        gradients = torch.stack([one.gradient(EARLY, class_ids[:, None]).classes[0] for one in passes])
        square, cube, activation = gradients.pow(2).mean(0), gradients.pow(3).mean(0), clean.activation(EARLY)

        def of(inner, gradient, activation):
            alpha = square / (2 * square + inner + 1e-8)
            return ((alpha * gradient.relu()).sum(dim=(2, 3), keepdim=True) * activation).sum(dim=1).relu()

        inner = (cube * activation).sum(dim=(2, 3), keepdim=True)
        last = passes[-1].activation(EARLY)
        torch.testing.assert_close(theirs, of(inner, gradients[-1], last), rtol=1e-9, atol=1e-12)
        right = of(cube * activation.sum(dim=(2, 3), keepdim=True), gradients.mean(0), activation)
        assert difference(min_max(theirs), min_max(right)) > 0.1

    def test_torchcam_0_5_0_gives_the_map_after_an_in_place_relu(self, images, class_ids):
        from torchcam.methods import GradCAM as TheirGradCAM

        network, pixels = in_place_network(), floats(images)
        forward = forward_pass(network, pixels, ["0", "1"])
        with TheirGradCAM(copy.deepcopy(network), "0") as extractor:
            (theirs,) = extractor(class_ids.tolist(), extractor.model(pixels), normalized=False)
        torch.testing.assert_close(theirs, GradCAM("1")(forward, class_ids))
        ours = GradCAM("0")(forward, class_ids)
        assert difference(min_max(theirs), min_max(ours)) > 0.3
        torch.testing.assert_close(FromTorchCAM("GradCAM", "0")(forward, class_ids), ours)

    def test_torchcam_0_5_0_leaves_its_hooks_behind_when_it_is_forgotten(self):
        from torchcam.methods import GradCAM as TheirGradCAM

        classifier = tiny_classifier(GAP())
        extractor = TheirGradCAM(classifier, LAST)
        del extractor
        gc.collect()
        assert len(classifier.backbone._forward_hooks) == 2


@known("captum")
class TestCaptum090:
    """captum 0.9.0."""

    def test_captum_0_9_0_leaves_out_the_relu_of_grad_cam(self, images, class_ids):
        forward = forward_pass(tiny_classifier(GAP()), images, [LAST])
        theirs = FromCaptum("LayerGradCam")(forward, class_ids)
        assert theirs.min() < 0
        torch.testing.assert_close(theirs.relu(), GradCAM()(forward, class_ids))

    def test_captum_0_9_0_has_no_deep_lift_for_torchvision_resnets(self):
        network, _, images = networks_of("resnet18")
        with pytest.raises(RuntimeError, match="more than once") as error:
            make(FromCaptum("DeepLift"), network, images[:1], torch.tensor([0]))
        assert "Raised in 'DeepLift' of captum" in error.value.__notes__[0]

    def test_captum_0_9_0_reads_the_activation_before_an_in_place_relu(self, images, class_ids):
        from captum.attr import LayerGradCam

        network, pixels = in_place_network(), floats(images)
        forward = forward_pass(network, pixels, ["0"])
        theirs = LayerGradCam(network, network[0]).attribute(pixels, class_ids, relu_attributions=True)[:, 0]
        torch.testing.assert_close(theirs.detach(), GradCAM("0")(forward, class_ids))


class TestWhereTheyCanBeCalled:
    """Ours work in all of these, and so do the adapters; see the contract of every map method."""

    def call(self, package, classifier, images, class_ids):
        module = pytest.importorskip(MODULES[package])
        images = floats(images).float()
        if package == "grad-cam":
            return TestGradCam157().run(module.GradCAM, classifier, LAST, images, class_ids)
        if package == "torchcam":
            with module.GradCAM(classifier, LAST) as extractor:
                return extractor(class_ids.tolist(), classifier(images))
        return module.LayerGradCam(classifier, classifier.backbone).attribute(images, class_ids)

    @pytest.mark.parametrize("package", [pytest.param(one, marks=known(one)) for one in ("grad-cam", "torchcam")])
    def test_not_inside_no_grad(self, package, images, class_ids):
        with torch.no_grad(), pytest.raises(RuntimeError, match=r"does not require grad|is not connected"):
            self.call(package, tiny_classifier(GAP()), images, class_ids)

    @pytest.mark.parametrize("package", [pytest.param(one, marks=known(one)) for one in PEERS])
    def test_not_inside_inference_mode(self, package, images, class_ids):
        with torch.inference_mode(), pytest.raises(RuntimeError, match=r"does not require grad|is not connected"):
            self.call(package, tiny_classifier(GAP()), images, class_ids)

    @pytest.mark.parametrize("package", [pytest.param(one, marks=known(one)) for one in ("grad-cam", "torchcam")])
    def test_not_with_frozen_parameters(self, package, images, class_ids):
        classifier = tiny_classifier(GAP()).requires_grad_(False)
        with pytest.raises(RuntimeError, match=r"does not require grad|is not connected"):
            self.call(package, classifier, images, class_ids)

    @known("captum")
    def test_captum_also_inside_no_grad_and_with_frozen_parameters(self, images, class_ids):
        classifier = tiny_classifier(GAP()).requires_grad_(False)
        with torch.no_grad():
            theirs = self.call("captum", classifier, images, class_ids)[:, 0]
        torch.testing.assert_close(theirs.relu().detach(), make(GradCAM(), classifier, images, class_ids))


class FailsAfter(nn.Module):
    """A pooling that gives up after so many calls."""

    def __init__(self, calls):
        super().__init__()
        self.left = calls

    def forward(self, features):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("enough")
        return features.mean(dim=(2, 3))


def in_place_network():
    torch.manual_seed(0)
    convolutions = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3, padding=1)
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).double().eval()


class Tokens(nn.Module):
    """A little transformer without attention: one prefix token and 8 x 8 patches of 6 channels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.block, self.head = nn.Conv2d(3, 6, 2, 2), nn.Linear(6, 6), nn.Linear(6, 5)

    def forward(self, images):
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = self.block(torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1)).relu()
        return self.head((tokens[:, 1:] ** 2).mean(dim=1) + tokens[:, 0])


class TestAdapters:
    @pytest.mark.parametrize(
        ("method", "size"),
        [
            pytest.param(FromGradCAM(*arguments), size, marks=needs("grad-cam"), id=f"grad-cam {arguments[0]}")
            for arguments, size in [
                (("FullGrad",), 16),
                (("KPCA_CAM", LAST, {"kernel": "rbf"}), 8),
                (("FEM", LAST, {"k": 1}), 8),
                (("ShapleyCAM", EARLY), 16),
                (("ScoreCAM", LAST, {"batch_size": 4}), 8),
                (("AblationCAM", LAST, {"batch_size": 4, "ratio_channels_to_ablate": 0.5}), 8),
                (("FinerCAM", LAST, {"base_method": "LayerCAM", "alpha": 0.6}), 8),
                (("RefineCAM", (EARLY, LAST)), 16),
                (("SESS", LAST, {"num_scales": 2}), 16),
                (("GradCAM", LAST, {"eigen_smooth": True, "aug_smooth": True}), 8),
            ]
        ]
        + [
            pytest.param(FromTorchCAM(*arguments), size, marks=needs("torchcam"), id=f"torchcam {arguments[0]}")
            for arguments, size in [
                (("ScoreCAM", LAST, {"batch_size": 4}), 8),
                (("SSCAM", LAST, {"num_samples": 2}), 8),
                (("ISCAM", LAST, {"num_samples": 2}), 8),
                (("FinerCAM", LAST, {"base_method": "LayerCAM", "comparison_idx": [2]}), 8),
                (("RefineCAM", (EARLY, LAST), {"base_method": "GradCAM"}), 16),
                (("LayerCAM", (EARLY, LAST)), 16),
            ]
        ]
        + [
            pytest.param(FromCaptum(*arguments), size, marks=needs("captum"), id=f"captum {arguments[0]}")
            for arguments, size in [
                (("Saliency",), 16),
                (("IntegratedGradients", LAST, {"n_steps": 4, "baselines": 0.5}), 16),
                (("Occlusion", LAST, {"sliding_window_shapes": [3, 8, 8], "strides": [3, 8, 8]}), 16),
                (("GradientShap", LAST, {"n_samples": 2}), 16),
                (("DeepLift",), 16),
                (("DeepLiftShap",), 16),
                (("GuidedBackprop",), 16),
                (("GuidedGradCam",), 16),
                (("NoiseTunnel", LAST, {"base_method": "Saliency", "nt_samples": 2, "stdevs": 0.1}), 16),
                (("Lime", LAST, {"n_samples": 2}), 16),
                (("LayerActivation",), 8),
                (("LayerConductance", EARLY, {"n_steps": 4}), 16),
                (("LayerDeepLift", EARLY), 16),
                (("InternalInfluence", LAST, {"n_steps": 4}), 8),
            ]
        ],
    )
    def test_methods_with_their_options(self, method, size, images, class_ids):
        if (method.library, method.method) == ("captum", "Lime"):
            pytest.importorskip("sklearn")
            images, class_ids = images[:1], class_ids[:1]
        before = torch.get_rng_state()
        classifier = tiny_classifier(GAP())
        maps = make(method, classifier, images, class_ids)
        assert maps.shape == (len(images), size, size)
        assert maps.isfinite().all()
        assert torch.equal(make(method, classifier, images, class_ids), maps)  # also where numbers are drawn
        assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize("package", [pytest.param(one, marks=needs(one)) for one in PEERS])
    def test_wrong_names_are_named(self, package, images, class_ids):
        classifier = tiny_classifier(GAP())
        wrong = {"grad-cam": "GradCam", "torchcam": "GradCam", "captum": "LayerGradCAM"}[package]
        right = {"grad-cam": "GradCAM", "torchcam": "GradCAM", "captum": "LayerGradCam"}[package]
        peer = PEERS[package]
        with pytest.raises(ValueError, match=rf"{package} has no map method '{wrong}' \(close: {right}"):
            make(peer(wrong), classifier, images, class_ids)
        with pytest.raises(ValueError, match=r"has no layer 'backbone.block3'; close names: backbone.block2"):
            make(peer(right, "backbone.block3"), classifier, images, class_ids)
        if package != "torchcam":  # whose classes hand anything on to their base
            with pytest.raises(ValueError, match=f"'{right}' of {package} takes no option 'steps', only"):
                make(peer(right, LAST, {"steps": 3}), classifier, images, class_ids)

    @needs("torchcam")
    def test_a_wrong_option_of_torchcam_is_its_own_error(self, images, class_ids):
        with pytest.raises(TypeError, match="steps") as error:
            make(FromTorchCAM(options={"steps": 3}), tiny_classifier(GAP()), images, class_ids)
        assert "Raised in 'GradCAM' of torchcam" in error.value.__notes__[0]

    @pytest.mark.parametrize("package", PEERS)
    def test_a_missing_package_is_named_with_its_remedy(self, package, images, class_ids, monkeypatch):
        monkeypatch.setitem(sys.modules, MODULES[package].split(".")[0], None)
        with pytest.raises(ImportError, match=rf"needs {package}, which is not installed: pip install 'wsol\[peers\]'"):
            make(PEERS[package](), tiny_classifier(GAP()), images, class_ids)

    @needs("captum")
    def test_captum_adds_up_channels_as_asked(self, images, class_ids):
        classifier = tiny_classifier(GAP())
        pixels = floats(images).float().requires_grad_()
        logits = classifier(pixels)
        (gradient,) = torch.autograd.grad(logits.gather(1, class_ids[:, None]).sum(), pixels)
        for channels, options, expected in [
            ("sum", {"abs": False}, gradient.sum(dim=1)),
            ("sum", {}, gradient.abs().sum(dim=1)),
            ("absolute_sum", {"abs": False}, gradient.abs().sum(dim=1)),
            ("absolute_max", {"abs": False}, gradient.abs().amax(dim=1)),
        ]:
            method = FromCaptum("Saliency", options=options, channels=channels)
            torch.testing.assert_close(make(method, classifier, images, class_ids), expected)
        with pytest.raises(ValueError, match="channels must be one of"):
            FromCaptum(channels="mean")
        with pytest.raises(ValueError, match="captum attributes to one layer"):
            make(FromCaptum(target_layer=(EARLY, LAST)), classifier, images, class_ids)

    def test_layers_that_give_tokens(self, images, class_ids):
        network = Tokens().eval()
        pixels = floats(images).float()
        layout = {"layout": "tokens", "prefix_tokens": 1}
        ours = {one: make(one("block", **layout), network, pixels, class_ids) for one in (GradCAM, HiResCAM)}
        assert ours[GradCAM].max() > 0
        if installed("grad-cam"):
            theirs = make(FromGradCAM("GradCAM", "block", **layout), network, pixels, class_ids)
            assert difference(theirs, min_max(ours[GradCAM])) < 1e-5
            assert make(FromGradCAM("AblationCAM", "block", **layout), network, pixels, class_ids).shape == (4, 8, 8)
        if installed("torchcam"):
            theirs = make(FromTorchCAM("GradCAM", "block", **layout), network, pixels, class_ids)
            torch.testing.assert_close(theirs, ours[GradCAM])
        if installed("captum"):
            theirs = make(FromCaptum("LayerGradientXActivation", "block", **layout), network, pixels, class_ids)
            torch.testing.assert_close(theirs, ours[HiResCAM])
        with pytest.raises(ValueError, match="LayerGradCam of captum takes a layer of layout 'channels_first'"):
            FromCaptum("LayerGradCam", "block", **layout)

    @needs("grad-cam")
    def test_the_network_is_left_as_found_after_an_error_too(self, images, class_ids):
        classifier = tiny_classifier(FailsAfter(4)).train()
        relu = next(module for module in classifier.modules() if isinstance(module, nn.ReLU))
        relu.inplace = True
        modules, state = dict(classifier.named_modules()), copy.deepcopy(classifier.state_dict())
        forward = forward_pass(classifier, images)
        with pytest.raises(RuntimeError, match="enough") as error:
            FromGradCAM("AblationCAM")(forward, class_ids)
        assert "Raised in 'AblationCAM' of grad-cam" in error.value.__notes__[0]
        assert dict(classifier.named_modules()) == modules
        assert all(module.training and not module._forward_hooks for module in modules.values())
        assert all(one.grad is None and one.requires_grad for one in classifier.parameters())
        assert relu.inplace
        assert all(torch.equal(value, state[name]) for name, value in classifier.state_dict().items())

    def test_options_are_plain_data_whatever_they_come_as(self):
        one = FromCaptum("Occlusion", options={"strides": [3, 8, 8], "sliding_window_shapes": [3, 8, 8]})
        same = FromCaptum("Occlusion", options={"sliding_window_shapes": (3, 8, 8), "strides": (3, 8, 8)})
        assert one == same
        assert hash(one) == hash(same)
        assert digest(one) == digest(same)
        assert digest(one) != digest(FromCaptum("Occlusion"))
        assert FromGradCAM(target_layer=[EARLY, LAST]).target_layer == (EARLY, LAST)
