"""Two complementary branches: what is erased, what learns from it, and the map of both."""

import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

from config.build import build
from map_methods import make
from networks import tiny_classifier
from wsol.data.sample import Sample
from wsol.identity import describe, restore
from wsol.machine import Machine
from wsol.maps.forward_pass import LAST, forward_pass, has_closed_form
from wsol.maps.methods.acol_cam import ACoLCAM
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.hires_cam import HiResCAM
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.base_pooling import Pooling
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.networks.two_branches import TwoBranches, class_attention
from wsol.training.base_method import TrainingBatch
from wsol.training.methods.acol import ACoL
from wsol.training.train import TrainSettings, train

CPU = Machine(accelerator="cpu", progress=False)
METHOD = ACoL(width=8)
HEADS = [(GAP, "features"), (GMP, "features"), (GAP, "scores"), (GMP, "scores")]


def attached(pooling=GAP, site="features", method=METHOD, seed=0):
    torch.manual_seed(seed)
    return method.attach(Classifier(small_cnn(channels=(6, 10)), pooling(), 5, site)).eval()


def batch_of(images, class_ids):
    return TrainingBatch(images, class_ids, torch.Generator().manual_seed(0))


class MixesChannels(Pooling):
    def forward(self, features):
        return features.softmax(dim=1).mean(dim=(2, 3))


class TestAttention:
    def test_on_paper(self):
        features = torch.tensor([[[[1.0, 2.0], [3.0, 5.0]], [[0.0, 1.0], [0.0, 0.0]]]])
        # 1 x first − 2 x second: 1, 0, 3, 5.
        found = class_attention(features, torch.tensor([[1.0, -2.0]]))
        torch.testing.assert_close(found, torch.tensor([[[0.2, 0.0], [0.6, 1.0]]]))

    @pytest.mark.parametrize("size", [None, (9, 7)])
    def test_equal_cells_and_one_cell_are_zeros(self, size):
        assert not class_attention(torch.full((2, 3, 4, 4), 0.1), torch.ones(2, 3), size).any()
        assert not class_attention(torch.ones(1, 3, 1, 1), torch.ones(1, 3), size).any()

    def test_resized_before_it_is_normalized(self):
        features = torch.arange(6.0).view(1, 1, 2, 3)
        found = class_attention(features, torch.ones(1, 1), (4, 6))
        assert (found.min(), found.max()) == (0, 1)
        assert found.shape == (1, 4, 6)

    def test_has_no_graph_and_full_precision(self):
        features = torch.rand(2, 3, 4, 4, dtype=torch.bfloat16, requires_grad=True)
        found = class_attention(features, torch.ones(2, 3, requires_grad=True))
        assert found.dtype == torch.float32
        assert not found.requires_grad


class TestErasing:
    def test_on_paper(self):
        network = attached(method=ACoL(width=8, threshold=0.6))
        attention = torch.tensor([[[0.0, 0.6], [0.61, 1.0]]])
        features = torch.arange(1.0, 9.0).view(1, 2, 2, 2)
        assert network.erase(features, attention).tolist() == [[[[1, 2], [0, 0]], [[5, 6], [0, 0]]]]

    @pytest.mark.parametrize(("pooling", "site"), HEADS)
    def test_branch_b_reads_zeros_exactly_where_the_true_class_is_above_the_threshold(
        self, pooling, site, images, class_ids
    ):
        network = attached(pooling, site)
        read = []
        network.branch_b.backbone.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
        features = network.backbone(images) + 1  # no zeros of its own
        network.both(features, class_ids)
        # The slow definition, cell by cell.
        of_a, weights = network.branch_a(features), network.class_weights()
        for n, k in enumerate(class_ids.tolist()):
            class_map = sum(weights[k, c] * of_a[n, c] for c in range(8))
            normalized = (class_map - class_map.min()) / (class_map.max() - class_map.min())
            above = normalized > 0.6
            assert 0 < above.sum() < above.numel()
            assert torch.equal(read[0][n], torch.where(above, torch.zeros(()), features[n]))

    def test_no_gradient_of_b_reaches_a(self, images, class_ids):
        network = attached()
        features = network.backbone(images).detach().requires_grad_()
        network.both(features, class_ids)[1].sum().backward()
        branch_a = [*network.branch_a.parameters(), *network.fc.parameters()]
        assert all(parameter.grad is None for parameter in branch_a)
        assert all(parameter.grad is not None for parameter in network.branch_b.parameters())
        # Nor do erased cells learn.
        erased = network.erase(torch.ones_like(features), self.attention(network, features, class_ids)) == 0
        assert erased.any()
        assert not features.grad[erased].any()

    @staticmethod
    def attention(network, features, class_ids):
        return class_attention(network.branch_a(features), network.class_weights()[class_ids])

    def test_a_constant_map_erases_nothing(self):
        network = attached()
        features = torch.zeros(1, 10, 4, 4)
        assert torch.equal(
            network.erase(features + 1, self.attention(network, features, torch.tensor([0]))), features + 1
        )


class TestLoss:
    def test_is_the_sum_of_both_cross_entropies(self, images, class_ids):
        network = attached()
        batch = replace(batch_of(images, class_ids), label_smoothing=0.1)
        loss, logits = METHOD.loss(network, batch)
        of_a, of_b = network.both(network.backbone(images), class_ids)
        expected = sum(nn.functional.cross_entropy(one, class_ids, label_smoothing=0.1) for one in (of_a, of_b))
        torch.testing.assert_close(loss, expected)
        assert torch.equal(logits, of_a)
        torch.testing.assert_close(network(images), of_a)

    @pytest.mark.parametrize(("pooling", "site"), HEADS)
    def test_falls_for_both_branches(self, pooling, site, images, class_ids):
        network = attached(pooling, site).train()
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-2)
        batch, losses = batch_of(images, class_ids), []
        for _ in range(15):
            loss, _ = METHOD.loss(network, batch)
            optimizer.zero_grad()
            loss.backward()
            assert all(parameter.grad is not None for parameter in network.parameters())
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.5 * losses[0]

    def test_a_classifier_that_was_not_attached_is_refused(self, images, class_ids):
        with pytest.raises(ValueError, match=r"method=acol trains two branches, and Classifier has one; call attach"):
            METHOD.loss(tiny_classifier(GAP()), batch_of(images, class_ids))


@pytest.mark.parametrize(("pooling", "site"), HEADS)
class TestMaps:
    def test_cam_at_branch_a_is_the_class_map_of_a(self, pooling, site, images, class_ids):
        network = attached(pooling, site)
        found = make(CAM(target_layer="branch_a"), network, images, class_ids)
        class_maps = network.class_maps(network.branch_a(network.backbone(images)))
        expected = class_maps[torch.arange(4), class_ids] - network.fc.bias[class_ids][:, None, None]
        torch.testing.assert_close(found, expected.detach())
        if pooling is GAP:
            logits = network(images)[torch.arange(4), class_ids] - network.fc.bias[class_ids]
            torch.testing.assert_close(found.mean(dim=(1, 2)), logits.detach())

    def test_the_fused_map_is_the_larger_of_both_normalized_maps(self, pooling, site, images, class_ids):
        network = attached(pooling, site)
        found = make(ACoLCAM(), network, images, class_ids)
        features = network.backbone(images)
        of_a = network.branch_a(features)
        for n, k in enumerate(class_ids.tolist()):
            map_a = self.normalized(of_a[n], network.fc.weight[k])
            of_b = network.branch_b.backbone(features[n : n + 1] * (map_a <= 0.6))[0]
            map_b = self.normalized(of_b, network.branch_b.fc.weight[k])
            assert (map_b > map_a).any()
            torch.testing.assert_close(found[n], torch.maximum(map_a, map_b).detach(), rtol=1e-4, atol=1e-5)
        assert not found.requires_grad

    @staticmethod
    def normalized(channels, weight):
        class_map = torch.tensordot(weight, channels, dims=1)
        return (class_map - class_map.min()) / (class_map.max() - class_map.min())

    def test_several_classes_equal_one_at_a_time_and_a_batch_its_images(self, pooling, site, images):
        network = attached(pooling, site)
        several = torch.tensor([[0, 1, 2], [3, 4, 0], [1, 2, 3], [4, 0, 1]])
        together = make(ACoLCAM(), network, images, several)
        one = torch.stack([make(ACoLCAM(), network, images, several[:, k]) for k in range(3)], dim=1)
        torch.testing.assert_close(together, one)
        alone = [make(ACoLCAM(), network, images[n : n + 1], several[n : n + 1]) for n in range(4)]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("method", [GradCAM(), HiResCAM()], ids=str)
    def test_gradients_at_the_shared_trunk_go_through_branch_a(self, method, pooling, site, images, class_ids):
        network = attached(pooling, site)
        assert not has_closed_form(network)
        features = network.backbone(images).detach().requires_grad_()
        logits = super(TwoBranches, network).head(network.branch_a(features))
        (gradient,) = torch.autograd.grad(logits[torch.arange(4), class_ids].sum(), features)
        gradient = gradient.mean(dim=(2, 3), keepdim=True) if isinstance(method, GradCAM) else gradient
        expected = (gradient * features).sum(dim=1)
        expected = expected.relu() if isinstance(method, GradCAM) else expected
        torch.testing.assert_close(make(method, network, images, class_ids), expected.detach())
        assert expected.abs().max() > 0


def test_what_acol_cannot_do_is_named(images, class_ids):
    with pytest.raises(ValueError, match=r"method=acol needs a pooling of each channel by itself, .* MixesChannels"):
        METHOD.attach(tiny_classifier(MixesChannels()))
    with pytest.raises(ValueError, match=r"must differ from the 10 channels of the backbone, .* try 5 or 20"):
        ACoL(width=10).attach(tiny_classifier(GAP()))
    with pytest.raises(ValueError, match=r"acol_cam needs the two branches that method=acol trains, and Classifier"):
        make(ACoLCAM(), tiny_classifier(GAP()), images, class_ids)
    with pytest.raises(ValueError, match=r"one fc weight per channel, got 8 for the 10 channels of 'backbone'"):
        make(CAM(), attached(), images, class_ids)
    with pytest.raises(ValueError, match=r"'branch_b' was not run"):
        forward_pass(attached(), images, ["branch_b"])


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_a_threshold_out_of_range_is_named(threshold):
    with pytest.raises(ValueError, match=r"threshold of method=acol must lie in \[0, 1\)"):
        ACoL(threshold=threshold)


@pytest.mark.parametrize("width", [0, 1.5])
def test_a_width_that_is_none_is_named(width):
    with pytest.raises(ValueError, match=r"width of method=acol must be an int from 1"):
        ACoL(width=width)


def test_weights_come_back_through_attach(images):
    trained, rebuilt = attached(GMP, "scores", seed=1), attached(GMP, "scores", seed=2)
    assert not torch.equal(trained(images), rebuilt(images))
    rebuilt.load_state_dict(trained.state_dict())
    assert torch.equal(trained(images), rebuilt(images))
    heads = {name.split(".")[0] for name in trained.state_dict()}
    assert heads == {"backbone", "branch_a", "branch_b", "fc"}


def test_it_has_a_name_and_can_be_sent_to_other_processes():
    assert restore(describe(METHOD), ["method"]) == METHOD == pickle.loads(pickle.dumps(METHOD))
    assert describe(METHOD) == {"of": "method/acol", "width": 8, "threshold": 0.6}
    assert restore(describe(ACoLCAM()), ["maps"]) == ACoLCAM()
    assert ACoLCAM().target_layers == (LAST,)


def test_the_files_name_it():
    from omegaconf import OmegaConf

    conf = f"{__file__}/../../../../conf"
    assert build(OmegaConf.load(f"{conf}/method/acol.yaml")) == ACoL()
    assert build(OmegaConf.load(f"{conf}/maps/acol_cam.yaml"))["acol_cam"] == ACoLCAM()


def test_an_epoch(images, class_ids):
    network = attached()
    samples = [
        Sample(image.permute(1, 2, 0).numpy(), int(k), str(k)) for image, k in zip(images, class_ids, strict=True)
    ]
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    settings = TrainSettings(epochs=1, batch_size=2, lr=1e-3, head_lr=1e-2)
    history = train(
        network,
        samples,
        settings,
        seed=0,
        image_size=16,
        method=METHOD,
        machine=CPU,
    )
    assert len(history) == 1
    moved = {name.split(".")[0] for name, one in network.named_parameters() if not torch.equal(one, before[name])}
    assert moved == {"backbone", "branch_a", "branch_b", "fc"}
