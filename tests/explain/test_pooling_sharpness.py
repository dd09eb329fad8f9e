import numpy as np
import pytest
import torch
from torch import nn

from networks import Opaque, tiny_classifier
from wsol.data.readers.synthetic import synthetic
from wsol.explain.pooling_sharpness import (
    count_cells,
    effective_share,
    has_shares,
    participation_ratio,
    sample_images,
)
from wsol.networks.backbone import Backbone
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.attention import Attention
from wsol.networks.pooling.class_token import ClassToken
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.networks.pooling.gwrp import GWRP
from wsol.networks.pooling.linear_softmax import LinearSoftmax
from wsol.networks.pooling.lse import LSE
from wsol.networks.pooling.mixed import Mixed
from wsol.networks.pooling.tap import TAP
from wsol.networks.pooling.top_k import TopK
from wsol.networks.pooling.wildcat import WILDCAT

ONE_WINNER = [[4.0, 3.0], [2.0, 1.0]]
TWO_WINNERS = [[4.0, 4.0], [2.0, 0.0]]
DEAD = [[0.0, 0.0], [0.0, 0.0]]
NEGATIVE = [[-4.0, -3.0], [-2.0, -1.0]]


def read_off(pooling, pool_site="features", classes=5):
    """A classifier whose features are its images, so that tests can draw them."""
    torch.manual_seed(0)
    backbone = Backbone(nn.Sequential(nn.Identity()), 3, mean=(0.0,) * 3, std=(1.0,) * 3)
    return Classifier(backbone, pooling, classes, pool_site).eval()


def features(*images):
    return torch.tensor(images, dtype=torch.float32)


class TestParticipationRatio:
    @pytest.mark.parametrize(
        ("shares", "expected"),
        [
            ([1, 1, 1, 1], 1),
            ([0.25, 0.25, 0.25, 0.25], 1),
            ([0, 3, 0, 0], 1 / 4),
            ([0.5, 0.5, 0, 0], 2 / 4),
            ([3, 1], 16 / 20),
            ([3, -1], 16 / 20),
            ([-1e-30, 1e-30], 1),
            ([5], 1),
        ],
    )
    def test_on_paper(self, shares, expected):
        assert participation_ratio(torch.tensor(shares, dtype=torch.float32)).item() == pytest.approx(expected)

    def test_nothing_has_no_share(self):
        assert participation_ratio(torch.zeros(2, 4)).isnan().all()

    def test_against_the_plain_definition(self):
        shares = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for n in range(3):
            for c in range(5):
                values = [abs(value) for value in shares[n, c].tolist()]
                plain = sum(values) ** 2 / (7 * sum(value**2 for value in values))
                assert participation_ratio(shares)[n, c].item() == pytest.approx(plain)


@pytest.mark.parametrize(
    ("pooling", "channel", "expected"),
    [
        (GAP(), ONE_WINNER, 1),
        (GAP(), TWO_WINNERS, 1),
        (GMP(), ONE_WINNER, 1 / 4),
        (GMP(), TWO_WINNERS, 2 / 4),
        (GMP(), NEGATIVE, 1 / 4),  # it fires, if below zero
        (GMP(), [[7.0, 7.0], [7.0, 7.0]], 1),
        (TopK(1), ONE_WINNER, 1 / 4),
        (TopK(3), ONE_WINNER, 3 / 4),
        (TopK(4), ONE_WINNER, 1),
        (TAP(0.4), ONE_WINNER, 3 / 4),  # cells above 1.6
        (GWRP(0.0), ONE_WINNER, 1 / 4),
        (GWRP(0.5), ONE_WINNER, (1 + 0.5 + 0.25 + 0.125) ** 2 / (4 * (1 + 0.25 + 0.0625 + 0.015625))),
        (Mixed(0.5, learned=False), ONE_WINNER, 1 / (4 * (0.625**2 + 3 * 0.125**2))),
        # y = 30 / 10, so the gradients are (2 x - 3) / 10.
        (LinearSoftmax(), ONE_WINNER, (5 + 3 + 1 + 1) ** 2 / (4 * (25 + 9 + 1 + 1))),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_heads_on_paper(pooling, channel, expected):
    images = features([channel, channel, channel])
    assert effective_share(read_off(pooling), images) == pytest.approx(expected)


class TestWhatIsLeftOut:
    def test_dead_channels(self):
        # The maximum of equal zeros spreads its gradient over all cells, which would count as a mean.
        assert effective_share(read_off(GMP()), features([ONE_WINNER, DEAD, DEAD])) == pytest.approx(1 / 4)

    def test_images_without_a_channel_that_fires(self):
        images = features([DEAD, DEAD, DEAD], [ONE_WINNER, TWO_WINNERS, DEAD])
        assert effective_share(read_off(GMP()), images) == pytest.approx((1 / 4 + 2 / 4) / 2)

    def test_channels_without_a_gradient(self):
        images = features([NEGATIVE, ONE_WINNER, DEAD])
        assert effective_share(read_off(LinearSoftmax()), images) == pytest.approx(100 / (4 * 36))

    def test_nothing_is_left(self):
        with pytest.raises(ValueError, match="No channel of any image is read"):
            effective_share(read_off(GMP()), features([DEAD, DEAD, DEAD]))

    def test_no_image(self):
        with pytest.raises(ValueError, match="at least one image"):
            effective_share(read_off(GMP()), torch.empty(0, 3, 2, 2))


def test_every_image_counts_once_whatever_number_of_its_channels_fire():
    images = features([ONE_WINNER, DEAD, DEAD], [TWO_WINNERS, TWO_WINNERS, TWO_WINNERS])
    assert effective_share(read_off(GMP()), images) == pytest.approx((1 / 4 + 2 / 4) / 2)


def test_one_cell_is_all_cells():
    images = torch.rand(2, 3, 1, 1)
    assert effective_share(read_off(GAP()), images) == effective_share(read_off(GMP()), images) == 1


class TestScores:
    def test_wildcat_on_paper(self):
        # One of four cells up by 1, one down by 0.7.
        classifier = read_off(WILDCAT(highest=1, lowest=1, alpha=0.7, maps_per_class=1), "scores")
        images = features([ONE_WINNER, NEGATIVE, [[1.0, 5.0], [0.5, 2.0]]])
        assert effective_share(classifier, images) == pytest.approx(1.7**2 / (4 * 1.49), rel=1e-5)

    def test_the_class_score_maps_are_the_channels(self, images):
        torch.manual_seed(0)
        classifier = Classifier(small_cnn(channels=(6, 10)), LSE(20.0), 5, "scores").eval()
        with torch.no_grad():
            maps = classifier.class_maps(classifier.backbone(images)).flatten(2)
        expected = participation_ratio((20 * maps).softmax(dim=2)).mean().item()
        assert effective_share(classifier, images) == pytest.approx(expected, rel=1e-5)

    def test_the_mean_reads_all_cells_at_either_place(self, images):
        torch.manual_seed(0)
        classifier = Classifier(small_cnn(channels=(6, 10)), GAP(), 5, "scores").eval()
        assert effective_share(classifier, images) == pytest.approx(1)


def test_lse_is_the_softmax_of_its_cells(images):
    classifier = tiny_classifier(LSE(5.0))
    with torch.no_grad():
        cells = classifier.backbone(images).flatten(2)
    ratios = participation_ratio((5 * cells).softmax(dim=2))
    alive = (cells != 0).any(dim=2)
    expected = np.mean([ratios[n][alive[n]].mean().item() for n in range(len(images))])
    assert effective_share(classifier, images) == pytest.approx(expected, rel=1e-5)


def test_lse_leads_from_the_mean_to_the_maximum(images):
    shares = [effective_share(tiny_classifier(LSE(sharpness)), images) for sharpness in (1e-4, 1.0, 10.0, 100.0, 1e6)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(1, rel=1e-4)
    assert shares[-1] == pytest.approx(effective_share(tiny_classifier(GMP()), images), rel=1e-3)


def test_of_attention_the_weights_count(images):
    classifier = tiny_classifier(Attention(4))
    with torch.no_grad():
        classifier.pooling.score.weight.mul_(50)  # far from equal
        weights = classifier.pooling.attention(classifier.backbone(images)).flatten(1)
    assert effective_share(classifier, images) == pytest.approx(participation_ratio(weights).mean().item(), rel=1e-5)
    with torch.no_grad():
        classifier.pooling.score.weight.zero_()
    assert effective_share(classifier, images) == pytest.approx(1)


@pytest.mark.parametrize("pooling", [GMP(), LSE(5.0), Attention(4)], ids=["gmp", "lse", "attention"])
def test_batches_change_nothing_and_the_classifier_is_left_as_it_was(pooling, images):
    classifier = tiny_classifier(pooling).train()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    whole, ones = effective_share(classifier, images), effective_share(classifier, images, batch_size=1)
    assert whole == pytest.approx(ones, rel=1e-5)
    assert classifier.training
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert all(parameter.grad is None for parameter in classifier.parameters())


class Other(Classifier):
    pass


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (lambda: Classifier(small_cnn(channels=(6, 10)), ClassToken(), 5), "ClassToken"),
        (lambda: Classifier(small_cnn(channels=(6, 10)), nn.AdaptiveMaxPool2d(1), 5), "AdaptiveMaxPool2d"),
        (lambda: Other(small_cnn(channels=(6, 10)), GAP(), 5), "Other"),
        (lambda: Opaque(tiny_classifier(GAP())), "Opaque"),
    ],
    ids=["class token", "unknown pooling", "subclass", "foreign"],
)
def test_heads_without_shares_are_named(made, name, images):
    assert not has_shares(made())
    with pytest.raises(ValueError, match=f"{name} has no gradient share"):
        effective_share(made(), images)


def test_cells_are_counted(images):
    assert count_cells(tiny_classifier(GMP()), images) == 8 * 8
    assert count_cells(read_off(GMP()), torch.rand(1, 3, 2, 5)) == 10


def test_a_sample_is_seeded_ascending_and_without_repeats(tmp_path):
    val = synthetic(image_size=16, num_classes=4, train_images=4, val_images=20, test_images=4, cache_dir=tmp_path).val
    sample = sample_images(val, most=8)
    assert sample.tolist() == sample_images(val, most=8).tolist() == sorted(set(sample.tolist()))
    assert len(sample) == 8
    assert set(sample.tolist()) < set(range(20))
    assert sample.tolist() != sample_images(val, most=8, seed=1).tolist()
    assert sample_images(val).tolist() == list(range(20))
