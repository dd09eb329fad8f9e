"""Every pooling against its definition, its limits, and what it says of itself."""

import importlib
import math
from pathlib import Path

import pytest
import torch

from wsol.networks.base_pooling import ChannelPooling
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gem import GeM
from wsol.networks.pooling.gmp import GMP
from wsol.networks.pooling.gwrp import GWRP
from wsol.networks.pooling.linear_softmax import LinearSoftmax
from wsol.networks.pooling.lse import LSE
from wsol.networks.pooling.mixed import Mixed
from wsol.networks.pooling.softmax import Softmax
from wsol.networks.pooling.tap import TAP
from wsol.networks.pooling.top_k import TopK
from wsol.networks.pooling.wildcat import WILDCAT

FEATURES = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[-1.0, -1.0], [-5.0, -1.0]]]])

# Of each channel's cells, a list of floats: the definition, one cell at a time.
DEFINITIONS = [
    (GAP(), lambda cells: sum(cells) / len(cells)),
    (GMP(), max),
    (LSE(3.0), lambda cells: math.log(sum(math.exp(3 * x) for x in cells) / len(cells)) / 3),
    (LSE(0.5, learned=True), lambda cells: math.log(sum(math.exp(x / 2) for x in cells) / len(cells)) * 2),
    (Softmax(1.0), lambda cells: sum(x * math.exp(x) for x in cells) / sum(math.exp(x) for x in cells)),
    (Softmax(4.0, True), lambda cells: sum(x * math.exp(4 * x) for x in cells) / sum(math.exp(4 * x) for x in cells)),
    (GeM(), lambda cells: (sum(max(x, 1e-6) ** 3 for x in cells) / len(cells)) ** (1 / 3)),
    (GeM(1.5, 0.2, learned=False), lambda cells: (sum(max(x, 0.2) ** 1.5 for x in cells) / len(cells)) ** (1 / 1.5)),
    (TopK(0.1), lambda cells: sum(sorted(cells)[-3:]) / 3),  # of 28 cells
    (TopK(5), lambda cells: sum(sorted(cells)[-5:]) / 5),
    (WILDCAT(), lambda cells: sum(sorted(cells)[-6:]) / 6 + 0.7 * sum(sorted(cells)[:6]) / 6),
    (WILDCAT(2, 3, 0.4, 2), lambda cells: sum(sorted(cells)[-2:]) / 2 + 0.4 * sum(sorted(cells)[:3]) / 3),
    (Mixed(), lambda cells: 0.5 * max(cells) + 0.5 * sum(cells) / len(cells)),
    (Mixed(0.2, learned=False), lambda cells: 0.2 * max(cells) + 0.8 * sum(cells) / len(cells)),
    (TAP(), lambda cells: mean_above(cells, 0.1)),
    (TAP(0.6), lambda cells: mean_above(cells, 0.6)),
    (GWRP(), lambda cells: ranked(cells, 0.9)),
    (GWRP(0.5), lambda cells: ranked(cells, 0.5)),
    (LinearSoftmax(), lambda cells: sum(x * x for x in cells if x > 0) / (sum(x for x in cells if x > 0) or 1)),
]
HEADS = [head for head, _ in DEFINITIONS]


def mean_above(cells, fraction):
    counted = [x for x in cells if x > fraction * max(cells)]
    return sum(counted) / len(counted) if counted else max(cells)


def ranked(cells, decay):
    weights = [decay**rank for rank in range(len(cells))]
    return sum(w * x for w, x in zip(weights, sorted(cells, reverse=True), strict=True)) / sum(weights)


def by_definition(definition, features):
    return torch.tensor([[definition(c.flatten().tolist()) for c in image] for image in features], dtype=torch.float64)


def named(value):
    return type(value).__name__ if isinstance(value, torch.nn.Module) else ""


def gradient_of(head, features):
    features = features.clone().requires_grad_()
    return torch.autograd.grad(head(features).sum(), features)[0]


def cells(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (GAP(), [3.0, -2.0]),
        (GMP(), [6.0, -1.0]),
        (TopK(2), [4.5, -1.0]),
        (TopK(0.5), [4.5, -1.0]),
        (TopK(1.0), [3.0, -2.0]),
        (WILDCAT(1, 2, 0.5), [6 + 0.5 * 1.5, -1 + 0.5 * -3]),
        (Mixed(0.25, learned=False), [3.75, -1.75]),
        (TAP(0.4), [4.5, -1.0]),  # above 2.4: 3 and 6; no cell of the other is positive
        (GWRP(0.5), [(6 + 3 / 2 + 2 / 4 + 1 / 8) / 1.875, (-1 - 1 / 2 - 1 / 4 - 5 / 8) / 1.875]),
        (LinearSoftmax(), [50 / 12, 0.0]),
        (LSE(math.log(2), learned=False), [math.log2((2 + 4 + 8 + 64) / 4), math.log2((3 / 2 + 1 / 32) / 4)]),
        (Softmax(math.log(2)), [(2 + 8 + 24 + 384) / 78, (-3 / 2 - 5 / 32) / (3 / 2 + 1 / 32)]),
        (GeM(2.0, learned=False), [math.sqrt(50 / 4), 1e-6]),
    ],
    ids=named,
)
def test_on_paper(pooling, expected):
    torch.testing.assert_close(pooling(FEATURES), torch.tensor([expected]), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize(("head", "definition"), DEFINITIONS, ids=named)
def test_the_slow_definition(head, definition, nonnegative):
    features = cells(3, 5, 4, 7)
    features = features.relu() if nonnegative else features  # with many equal cells
    features[0, 0] = features[0, 0, 0, 0]
    # The start of a learned scalar is kept in float32.
    torch.testing.assert_close(head(features), by_definition(definition, features), rtol=1e-6, atol=1e-9)


def test_every_channel_pooling_is_tested_here():
    folder = Path(__file__).parents[3] / "wsol" / "networks" / "pooling"
    options = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    classes = (vars(importlib.import_module(f"wsol.networks.pooling.{option}")).values() for option in options)
    own = {one for some in classes for one in some if isinstance(one, type) and issubclass(one, ChannelPooling)}
    # Not what they build on.
    options_alone = {one for one in own if one.__module__.startswith("wsol.networks.pooling.")}
    assert options_alone == {type(head) for head in HEADS}


@pytest.mark.parametrize("head", HEADS, ids=named)
class TestContract:
    @pytest.mark.parametrize("fill", ["random", "zero", "equal", "negative", "huge", "tiny"])
    def test_shape_and_finite_gradients(self, head, fill):
        for size in ((4, 7), (1, 1), (1, 9), (14, 14)):
            features = cells(2, 3, *size).float()
            features = {
                "random": features,
                "zero": torch.zeros_like(features),
                "equal": torch.full_like(features, 0.7),
                "negative": -features.abs() - 0.1,
                "huge": features * 1e6,
                "tiny": features * 1e-30,
            }[fill].requires_grad_()
            pooled = head(features)
            assert pooled.shape == (2, 3)
            assert pooled.dtype == torch.float32
            assert pooled.isfinite().all()
            for gradient in torch.autograd.grad(pooled.sum(), [features, *head.parameters()]):
                assert gradient.isfinite().all()

    def test_a_channel_hangs_on_itself_alone(self, head):
        assert isinstance(head, ChannelPooling)
        features = torch.randn(3, 5, 4, 7, requires_grad=True)
        (gradient,) = torch.autograd.grad(head(features)[:, 2].sum(), features)
        assert (gradient[:, 2] != 0).any()
        assert (gradient[:, [0, 1, 3, 4]] == 0).all()

    def test_one_cell_is_its_own_mean(self, head):
        features = cells(2, 3, 1, 1).abs() + 0.3
        expected = features[:, :, 0, 0] * (1 + head.alpha if isinstance(head, WILDCAT) else 1)
        torch.testing.assert_close(head(features), expected)

    def test_what_it_says_of_itself_is_true(self, head):
        # Signed, with positive and negative channels, and small ones, which an absolute eps would change.
        features = cells(4, 5, 4, 7)
        features[0] += 5
        features[1] -= 5
        features[2] *= 1e-6
        shift, scale = cells(4, 5, seed=1), 3.7
        shifted = head(features + shift[:, :, None, None])
        pooled = head(features)
        assert torch.allclose(shifted, pooled + shift, rtol=1e-9, atol=1e-12) == head.shift_equivariant
        assert torch.allclose(head(scale * features), scale * pooled, rtol=1e-9, atol=0) == head.homogeneous
        assert torch.allclose(pooled, features.mean(dim=(2, 3))) == head.is_mean

    def test_what_follows_for_its_gradients(self, head):
        features = cells(4, 5, 4, 7)
        gradient = gradient_of(head, features)
        ones = torch.ones(4, 5, dtype=torch.float64)
        if head.shift_equivariant:
            torch.testing.assert_close(gradient.sum(dim=(2, 3)), ones)
        if head.homogeneous:
            torch.testing.assert_close((gradient * features).sum(dim=(2, 3)), head(features))
        if isinstance(head, TAP):  # although a shift moves its threshold
            torch.testing.assert_close(gradient.sum(dim=(2, 3)), ones)
        if isinstance(head, WILDCAT):
            torch.testing.assert_close(gradient.sum(dim=(2, 3)), (1 + head.alpha) * ones)

    def test_gradcheck(self, head):
        features = (0.2 + cells(2, 3, 3, 4).abs()).requires_grad_()  # no ties, nothing at a threshold
        assert torch.autograd.gradcheck(head, (features,))
        if not isinstance(head, GeM | TAP | LinearSoftmax):
            assert torch.autograd.gradcheck(head, (cells(2, 3, 3, 4).requires_grad_(),))

    def test_equal_cells_share_the_gradient(self, head):
        features = cells(1, 1, 1, 5).abs().repeat(2, 3, 4, 1).transpose(2, 3)  # each value four times
        gradient = gradient_of(head, features)
        torch.testing.assert_close(gradient, gradient[..., :1].expand_as(gradient), rtol=1e-12, atol=0)

    def test_the_order_of_the_cells_is_nothing(self, head):
        features = cells(2, 3, 4, 5)
        order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(head(features.flatten(2)[:, :, order].view(2, 3, 4, 5)), head(features))

    def test_memory_layout_is_nothing(self, head):
        features = cells(2, 3, 4, 5).float()
        last = features.to(memory_format=torch.channels_last)
        torch.testing.assert_close(head(last), head(features))
        torch.testing.assert_close(gradient_of(head, last), gradient_of(head, features))

    def test_half_precision(self, head):
        features = cells(2, 3, 4, 5).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            pooled, gradient = head(features), gradient_of(head, features)
        assert pooled.dtype == gradient.dtype == torch.bfloat16
        torch.testing.assert_close(pooled.float(), head(features.float()), rtol=1e-2, atol=1e-6)
        torch.testing.assert_close(gradient.float(), gradient_of(head, features.float()), rtol=1e-2, atol=1e-2)

    def test_a_nan_is_not_hidden(self, head):
        features = cells(1, 2, 2, 2)
        features[0, 0, 0, 1] = math.nan
        assert head(features).isnan().tolist() == [[True, False]]


class TestLimits:
    POSITIVE = 0.2 + cells(3, 5, 4, 7).abs()
    SIGNED = cells(3, 5, 4, 7)

    @pytest.mark.parametrize("learned", [False, True])
    @pytest.mark.parametrize("head", [LSE, Softmax])
    def test_sharpness_leads_from_mean_to_maximum(self, head, learned):
        mean, peak = GAP()(self.SIGNED), GMP()(self.SIGNED)
        torch.testing.assert_close(head(1e-7, learned)(self.SIGNED), mean, rtol=0, atol=1e-6)
        torch.testing.assert_close(head(1e6, learned)(self.SIGNED), peak, rtol=0, atol=1e-5)
        values = torch.stack([head(r, learned)(self.SIGNED) for r in (0.01, 0.1, 1.0, 10.0, 100.0)])
        assert (values.diff(dim=0) > 0).all()

    def test_a_small_sharpness_keeps_its_digits_in_single_precision(self):
        features = self.SIGNED.float()
        torch.testing.assert_close(LSE(1e-4)(features), LSE(1e-4)(self.SIGNED).float(), rtol=0, atol=1e-6)

    def test_gem(self):
        torch.testing.assert_close(GeM(1.0)(self.POSITIVE), GAP()(self.POSITIVE))
        torch.testing.assert_close(GeM(1e5)(self.POSITIVE), GMP()(self.POSITIVE), rtol=1e-4, atol=0)
        geometric = self.POSITIVE.log().mean(dim=(2, 3)).exp()
        torch.testing.assert_close(GeM(1e-7)(self.POSITIVE), geometric, rtol=1e-6, atol=0)

    def test_gem_does_not_lose_small_cells_in_single_precision(self):
        features = torch.full((1, 1, 2, 2), 1e-5)
        torch.testing.assert_close(GeM(20.0)(features), torch.tensor([[1e-5]]), rtol=1e-5, atol=0)

    @pytest.mark.parametrize(
        ("head", "limit"),
        [
            (TopK(1), GMP()),
            (TopK(28), GAP()),
            (TopK(1000), GAP()),
            (TopK(1.0), GAP()),
            (TopK(0.001), GMP()),
            (GWRP(0.0), GMP()),
            (GWRP(1.0), GAP()),
            (Mixed(0.0, learned=False), GAP()),
            (Mixed(1.0, learned=False), GMP()),
            (WILDCAT(1, 1, alpha=0.0), GMP()),
        ],
        ids=named,
    )
    def test_mean_and_maximum(self, head, limit):
        torch.testing.assert_close(head(self.SIGNED), limit(self.SIGNED))
        torch.testing.assert_close(gradient_of(head, self.SIGNED), gradient_of(limit, self.SIGNED))
        ties = self.SIGNED.round()
        torch.testing.assert_close(gradient_of(head, ties), gradient_of(limit, ties))

    def test_tap(self):
        torch.testing.assert_close(TAP(0.0)(self.POSITIVE), GAP()(self.POSITIVE))
        torch.testing.assert_close(TAP(1 - 1e-12)(self.POSITIVE), GMP()(self.POSITIVE))
        torch.testing.assert_close(TAP(1 - 1e-12)(self.POSITIVE.float()), GMP()(self.POSITIVE.float()))

    def test_tap_does_not_count_the_zeros_around_an_object(self):
        features = torch.zeros(1, 1, 8, 8)
        features[0, 0, 2:4, 3:5] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        assert TAP()(features).item() == 2.5

    def test_linear_softmax_of_zeros_and_one_value_is_the_value(self):
        features = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
        features[0, 0, 0, :3] = 0.4
        assert LinearSoftmax()(features).item() == pytest.approx(0.4)
        gradient = gradient_of(LinearSoftmax(), features)[0, 0]  # (2 x - y) / Σ x
        torch.testing.assert_close(gradient[0, :3], torch.full((3,), 0.4 / 1.2, dtype=torch.float64))
        torch.testing.assert_close(gradient[1], torch.full((4,), -0.4 / 1.2, dtype=torch.float64))


class TestGradientOnPaper:
    def test_equal_maxima_share_it(self):
        torch.testing.assert_close(gradient_of(GMP(), FEATURES)[0, 1], torch.tensor([[1, 1], [0, 1]]) / 3)

    def test_ties_for_the_last_place_share_it(self):
        torch.testing.assert_close(gradient_of(TopK(2), FEATURES)[0, 1], torch.tensor([[1, 1], [0, 1]]) / 3)
        features = torch.tensor([[[[5.0, 2.0, 2.0, 1.0]]]])
        torch.testing.assert_close(gradient_of(TopK(2), features).flatten(), torch.tensor([0.5, 0.25, 0.25, 0]))

    def test_equal_ranks_share_it(self):
        features = torch.tensor([[[[5.0, 2.0, 2.0, 1.0]]]])
        expected = torch.tensor([8.0, 3.0, 3.0, 1.0]) / 15
        torch.testing.assert_close(gradient_of(GWRP(0.5), features).flatten(), expected)

    def test_a_negative_maximum_has_all_of_tap(self):
        torch.testing.assert_close(gradient_of(TAP(), FEATURES)[0, 1], torch.tensor([[1, 1], [0, 1]]) / 3)


LEARNED = [
    (LSE(2.0, learned=True), "log_sharpness", "sharpness"),
    (Softmax(2.0, learned=True), "log_sharpness", "sharpness"),
    (GeM(2.0), "log_power", "power"),
    (Mixed(0.3), "logit", "share"),
]


class TestLearned:
    @pytest.mark.parametrize(("head", "name", "value"), LEARNED)
    def test_one_scalar(self, head, name, value):
        assert [(key, p.shape) for key, p in head.named_parameters()] == [(name, ())]
        assert getattr(head, value).item() == pytest.approx(0.3 if value == "share" else 2.0)

    @pytest.mark.parametrize(("head", "name", "value"), LEARNED)
    def test_gradcheck(self, head, name, value):
        features = 0.2 + cells(2, 3, 3, 4).abs()
        start = getattr(head, name).detach().double().requires_grad_()

        def pooled(scalar):
            return torch.func.functional_call(head, {name: scalar}, (features,))

        assert torch.autograd.gradcheck(pooled, (start,))

    @pytest.mark.parametrize(("head", "name", "value"), LEARNED)
    def test_no_step_leaves_its_range(self, head, name, value):
        for step in (-20.0, 20.0):
            moved = torch.func.functional_call(head, {name: torch.tensor(step)}, (FEATURES.abs(),))
            assert moved.isfinite().all()
            assert (moved <= GMP()(FEATURES.abs()) + 1e-4).all()

    def test_fixed_ones_have_no_parameters(self):
        fixed = [LSE(), Softmax(), GeM(learned=False), Mixed(learned=False), TopK(), WILDCAT(), TAP(), GWRP()]
        assert all(not list(head.parameters()) and not list(head.buffers()) for head in fixed)

    @pytest.mark.parametrize("fresh", [lambda: LSE(5.0, True), lambda: Softmax(5.0, True), lambda: GeM(5.0), Mixed])
    def test_it_can_be_saved(self, fresh):
        head, other = fresh(), fresh()
        with torch.no_grad():
            next(head.parameters()).add_(0.5)
        assert not torch.equal(other(FEATURES), head(FEATURES))
        other.load_state_dict(head.state_dict())
        assert torch.equal(other(FEATURES), head(FEATURES))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: LSE(0), r"sharpness must be a finite number above 0, got 0. For the limits, take gap or gmp"),
        (lambda: LSE(math.nan), r"sharpness must be .* got nan"),
        (lambda: Softmax(-1.0), r"sharpness must be .* got -1\.0"),
        (lambda: Softmax(math.inf), r"sharpness must be .* got inf"),
        (lambda: GeM(0), r"power must be a finite number above 0, got 0"),
        (lambda: GeM(3, 0), r"eps must be a finite number above 0, got 0"),
        (lambda: TopK(0), r"k must be an int of cells from 1 or a float fraction in \(0, 1\], got 0"),
        (lambda: TopK(0.0), r"k must be .* got 0\.0"),
        (lambda: TopK(1.5), r"k must be .* got 1\.5"),
        (lambda: TopK(True), r"k must be .* got True"),
        (lambda: TopK(math.nan), r"k must be .* got nan"),
        (lambda: WILDCAT(highest=-1), r"k must be .* got -1"),
        (lambda: WILDCAT(lowest=0), r"k must be .* got 0"),
        (lambda: WILDCAT(alpha=-0.1), r"alpha must be a finite number from 0, got -0\.1"),
        (lambda: WILDCAT(maps_per_class=0), r"maps_per_class must be an int from 1, got 0"),
        (lambda: WILDCAT(maps_per_class=2.0), r"maps_per_class must be an int from 1, got 2\.0"),
        (lambda: Mixed(1.1, learned=False), r"share must lie in \[0, 1\], got 1\.1"),
        (lambda: Mixed(1.0), r"share must lie in \(0, 1\) where it is learned, got 1\.0"),
        (lambda: Mixed(math.nan), r"share must lie in .* got nan"),
        (lambda: TAP(1.0), r"threshold must be a fraction of the maximum in \[0, 1\), got 1\.0"),
        (lambda: TAP(-0.1), r"threshold must be .* got -0\.1"),
        (lambda: GWRP(1.01), r"decay must lie in \[0, 1\], from the maximum to the mean, got 1\.01"),
        (lambda: GWRP(math.nan), r"decay must lie in .* got nan"),
    ],
)
def test_wrong_settings_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()
