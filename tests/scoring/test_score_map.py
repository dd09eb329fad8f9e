from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

import reference
from wsol.maps.stored_maps import StoredMaps
from wsol.scoring.boxes.largest import largest
from wsol.scoring.protocol import GRAD_CAM2017, REFERENCE, TIGHT, ZHOU2016, Protocol
from wsol.scoring.score_map import to_score_maps


@pytest.mark.parametrize("protocol", [TIGHT, REFERENCE])
def test_from_zero_to_one_at_the_size_asked_for(protocol):
    maps = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0)) * 100
    score_maps = to_score_maps(maps, (20, 30), protocol)
    assert score_maps.shape == (3, *(protocol.grid or (20, 30)))
    assert (score_maps.min(axis=(1, 2)) == 0).all()
    assert (score_maps.max(axis=(1, 2)) == 1).all()


@pytest.mark.parametrize("cells", [(1, 1), (1, 5), (2, 3), (7, 7), (14, 14), (28, 28), (224, 224), (300, 260)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_reference_map_is_opencvs_to_the_last_bit(cells, dtype):
    maps = np.random.default_rng(0).normal(size=(5, *cells)).astype(dtype)
    expected = [reference.score_map(one) for one in maps]
    np.testing.assert_array_equal(to_score_maps(maps, (10, 10), REFERENCE), expected)


@pytest.mark.parametrize("size", [(20, 30), (3, 2)])
def test_bilinear_is_torchs(size):
    maps = torch.rand(4, 7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    resized = torch.nn.functional.interpolate(maps[:, None], size, mode="bilinear")[:, 0]
    expected = (resized / resized.amax(dim=(1, 2), keepdim=True)).numpy()
    np.testing.assert_allclose(to_score_maps(maps, size, ZHOU2016), expected, atol=1e-12)


def test_at_its_own_size_only_the_normalization_is_left():
    maps = torch.tensor([[[-1.0, 1.0], [3.0, 0.0]]])
    assert to_score_maps(maps, (2, 2)).tolist() == [[[0, 0.5], [1, 0.25]]]
    assert to_score_maps(maps, (2, 2), ZHOU2016).tolist() == [[[0, 1 / 3], [1, 0]]]


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e5])
def test_a_constant_map_becomes_zeros(value):
    assert not to_score_maps(torch.full((1, 7, 7), value), (224, 224)).any()
    assert not to_score_maps(torch.full((1, 7, 7), value), (224, 224), REFERENCE).any()


def test_divided_by_its_maximum_a_constant_map_is_one_and_a_negative_map_is_zeros():
    assert (to_score_maps(torch.full((1, 3, 3), 2.0), (6, 6), GRAD_CAM2017) == 1).all()
    assert not to_score_maps(-torch.ones(1, 3, 3), (6, 6), GRAD_CAM2017).any()
    assert not to_score_maps(torch.zeros(1, 3, 3), (6, 6), GRAD_CAM2017).any()


def having(**fields):
    return replace(TIGHT, name="mine", **fields)


def scores(values, protocol, size=None):
    """Of one map of a single row, as a list."""
    maps = np.float64([[values]])
    return to_score_maps(maps, size or maps.shape[1:], protocol)[0].tolist()[0]


RAMP = [0.0, 4.0, -2.0, 1.0, 2.0]  # sorted: -2, 0, 1, 2, 4


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"normalization": "min_max"}, [1 / 3, 1, 0, 1 / 2, 2 / 3]),
        ({"normalization": "max"}, [0, 1, 0, 1 / 4, 1 / 2]),
        ({"normalization": "percentile", "percentile": 75}, [1 / 2, 1, 0, 3 / 4, 1]),  # from -2 to 2
        ({"normalization": "percentile", "percentile": 90}, [2 / 5.2, 1, 0, 3 / 5.2, 4 / 5.2]),  # to 2 + 0.6 (4 - 2)
        ({"normalization": "percentile", "percentile": 20}, [1, 1, 0, 1, 1]),  # to -2 + 0.8 (0 + 2)
        ({"normalization": "percentile", "percentile": 0}, [0] * 5),
        ({"normalization": "ivr", "percentile": 25}, [0, 1, 0, 1 / 4, 1 / 2]),
        ({"normalization": "ivr", "percentile": 50}, [0, 1, 0, 0, 1 / 3]),
        ({"normalization": "ivr", "percentile": 20}, [0.4 / 4.4, 1, 0, 1.4 / 4.4, 2.4 / 4.4]),
        ({"normalization": "ivr", "percentile": 100}, [0] * 5),
        ({"rectify": "relu", "normalization": "min_max"}, [0, 1, 0, 1 / 4, 1 / 2]),
        ({"rectify": "relu", "normalization": "max"}, [0, 1, 0, 1 / 4, 1 / 2]),
        ({"rectify": "relu", "normalization": "percentile", "percentile": 75}, [0, 1, 0, 1 / 2, 1]),
        ({"rectify": "relu", "normalization": "ivr", "percentile": 50}, [0, 1, 0, 0, 1 / 3]),
    ],
)
def test_each_normalization_by_hand(fields, expected):
    np.testing.assert_allclose(scores(RAMP, having(**fields)), expected, rtol=1e-14)
    np.testing.assert_allclose(scores(RAMP, having(**fields, order="normalize_first")), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("fields", "expected"),  # of -1 and 1 on four pixels: -1, -0.5, 0.5, 1
    [
        ({"normalization": "min_max"}, [0, 0.25, 0.75, 1]),
        ({"normalization": "max"}, [0, 0, 0.5, 1]),
        ({"normalization": "max", "rectify": "relu"}, [0, 0.25, 0.75, 1]),  # cut first, or it would be the line above
        ({"normalization": "max", "order": "normalize_first"}, [0, 0.25, 0.75, 1]),
        ({"normalization": "percentile", "percentile": 50}, [0, 0.5, 1, 1]),
        ({"normalization": "percentile", "percentile": 200 / 3}, [0, 1 / 3, 1, 1]),
        (
            {"normalization": "percentile", "percentile": 75, "order": "normalize_first"},
            [0, 0.25, 0.75, 1],
        ),  # 0 and 4 / 3, cut to 1
        ({"normalization": "ivr", "percentile": 50}, [0, 0, 0.5, 1]),
        ({"normalization": "ivr", "percentile": 50, "order": "normalize_first"}, [0, 0.25, 0.75, 1]),
    ],
)
def test_what_comes_first_matters(fields, expected):
    found = scores([-1.0, 1.0], having(**fields, interpolation="bilinear"), (1, 4))
    np.testing.assert_allclose(found, expected, atol=1e-15)


def test_what_bicubic_overshoots_is_cut():
    step = np.float64([[3.0, 3.0, 5.0, 5.0]])
    overshot = cv2.resize((step - 3) / 2, (16, 1), interpolation=cv2.INTER_CUBIC)
    assert overshot.min() < 0
    assert overshot.max() > 1
    found = to_score_maps(step[None], (1, 16), having(order="normalize_first"))[0]
    np.testing.assert_array_equal(found, overshot.clip(0, 1))
    assert (found == 1).sum() > 1


def plain(values, protocol, size):
    """The same in numpy, step by step."""

    def resize(one):
        how = {"bicubic": cv2.INTER_CUBIC, "bilinear": cv2.INTER_LINEAR}[protocol.interpolation]
        return cv2.resize(one, size[::-1], interpolation=how)

    def normalize(one):
        if protocol.normalization == "min_max":
            return (one - one.min()) / (one - one.min()).max()
        if protocol.normalization == "max":
            return np.maximum(one, 0) / one.max()
        percentile = np.percentile(one, protocol.percentile)
        if protocol.normalization == "percentile":
            return np.minimum(one - one.min(), percentile - one.min()) / (percentile - one.min())
        return np.maximum(one - percentile, 0) / np.maximum(one - percentile, 0).max()

    if protocol.rectify == "relu":
        values = np.maximum(values, 0)
    if protocol.order == "resize_first":
        return normalize(resize(values))
    return resize(normalize(values)).clip(0, 1)


@pytest.mark.parametrize("order", ["resize_first", "normalize_first"])
@pytest.mark.parametrize("rectify", ["none", "relu"])
@pytest.mark.parametrize(
    ("normalization", "percentile"),
    [("min_max", None), ("max", None), ("percentile", 90), ("percentile", 62.5), ("ivr", 40), ("ivr", 61.7)],
)
@pytest.mark.parametrize("cells", [(7, 7), (14, 9), (20, 31)])
def test_random_maps_are_those_of_plain_numpy_to_the_last_bit(order, rectify, normalization, percentile, cells):
    protocol = having(normalization=normalization, percentile=percentile, rectify=rectify, order=order)
    maps = np.random.default_rng(0).normal(size=(5, *cells)) + 0.2
    before = maps.copy()
    found = to_score_maps(maps, (20, 31), protocol)
    np.testing.assert_array_equal(found, [plain(one, protocol, (20, 31)) for one in maps])
    np.testing.assert_array_equal(maps, before)
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found.max(axis=(1, 2)) == 1).all() or order == "normalize_first"
    linear = replace(protocol, interpolation="bilinear")  # OpenCV's weights are in float32
    expected = [plain(one, linear, (20, 31)) for one in maps]
    np.testing.assert_allclose(to_score_maps(maps, (20, 31), linear), expected, atol=1e-5)


@pytest.mark.parametrize("order", ["resize_first", "normalize_first"])
def test_the_ends_of_the_percentiles_are_the_other_normalizations(order):
    maps = np.random.default_rng(1).normal(size=(4, 6, 8))
    for fields, same in [
        ({"normalization": "percentile", "percentile": 100}, {"normalization": "min_max"}),
        ({"normalization": "ivr", "percentile": 0}, {"normalization": "min_max"}),
    ]:
        found = to_score_maps(maps, (30, 30), having(**fields, order=order))
        np.testing.assert_array_equal(found, to_score_maps(maps, (30, 30), having(**same, order=order)))


PERCENTILES = [("min_max", None), ("max", None), ("percentile", 90), ("ivr", 90)]


@pytest.mark.parametrize("order", ["resize_first", "normalize_first"])
@pytest.mark.parametrize(("normalization", "percentile"), PERCENTILES)
def test_a_constant_map_has_no_foreground_unless_it_is_divided_by_its_positive_maximum(
    normalization, percentile, order
):
    for rectify in ("none", "relu"):
        protocol = having(normalization=normalization, percentile=percentile, order=order, rectify=rectify)
        for value in (0.0, -3.7):
            assert not to_score_maps(np.full((1, 7, 7), value), (224, 224), protocol).any()
        found = to_score_maps(np.full((1, 7, 7), 0.1), (224, 224), protocol)
        np.testing.assert_allclose(found, normalization == "max", atol=1e-6)


@pytest.mark.parametrize("order", ["resize_first", "normalize_first"])
def test_of_a_negative_map_only_differences_can_speak(order):
    negative = [-4.0, -3.0, -2.0, -1.0]
    by_percentile = {"normalization": "percentile", "percentile": 90, "order": order}
    np.testing.assert_allclose(scores(negative, having(**by_percentile)), [0, 1 / 2.7, 2 / 2.7, 1], rtol=1e-14)
    np.testing.assert_allclose(
        scores(negative, having(normalization="ivr", percentile=50, order=order)), [0, 0, 1 / 3, 1], rtol=1e-14
    )
    for normalization, percentile in PERCENTILES:
        protocol = having(normalization=normalization, percentile=percentile, rectify="relu", order=order)
        assert scores(negative, protocol) == [0, 0, 0, 0]


@pytest.mark.parametrize("others", [0.0, -1.0])
def test_a_single_positive_pixel(others):
    one = np.full((1, 5, 5), others)
    one[0, 1, 3] = 3
    lit = (one > 0).astype(float)
    # The pixel is 1 of 25: percentile 95, at rank 22.8 of 24, does not reach it; percentile 97, at 23.28, does.
    for fields in ({"normalization": "min_max"}, {"normalization": "max"}, {"normalization": "ivr", "percentile": 95}):
        np.testing.assert_array_equal(to_score_maps(one, (5, 5), having(**fields)), lit)
    for percentile, expected in [(95, 0 * lit), (97, lit), (100, lit)]:
        protocol = having(normalization="percentile", percentile=percentile)
        np.testing.assert_array_equal(to_score_maps(one, (5, 5), protocol), expected)


def test_a_percentile_of_next_to_nothing_does_not_overflow():
    found = scores([0.0, 1e-310, 1.0], having(normalization="percentile", percentile=50))
    assert found == [0, 1, 1]


def test_relu_before_min_max_changes_the_mask_and_before_max_it_does_not():
    values = np.array([[[-2.0, 0.0, 0.0, 1.0, 2.0]]])  # min-max: 0, 0.5, 0.5, 0.75, 1; of its ReLU: 0, 0, 0, 0.5, 1

    def box(protocol):
        return largest(to_score_maps(values, (1, 5), protocol)[0], [0.4], protocol).at(0).tolist()

    assert box(having()) == [[1, 0, 5, 1]]
    assert box(having(rectify="relu")) == [[3, 0, 5, 1]]
    assert box(having(normalization="max")) == box(having(normalization="max", rectify="relu")) == [[3, 0, 5, 1]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "protocol",
    [
        TIGHT,
        ZHOU2016,
        having(rectify="relu"),
        having(order="normalize_first"),
        having(normalization="percentile", percentile=90),
        having(normalization="ivr", percentile=40, rectify="relu", order="normalize_first"),
    ],
    ids=["min_max", "max", "relu", "normalize_first", "percentile", "ivr"],
)
def test_a_broken_map_is_named(bad, protocol):
    maps = torch.zeros(2, 3, 3)
    maps[1, 0, 0] = bad
    with pytest.raises(ValueError, match="'second'"):
        to_score_maps(maps, (6, 6), protocol, image_ids=["first", "second"])


@pytest.mark.parametrize(
    "field",
    ["interpolation", "normalization", "quantization", "regions", "iou", "map_class", "rectify", "order"],
)
def test_a_protocol_with_a_typo_is_refused(field):
    settings = {**vars(TIGHT), "name": "mine", field: "nearset"}
    with pytest.raises(ValueError, match=f"Protocol 'mine': {field} must be one of"):
        Protocol(**settings)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_storage_keeps_the_shape_of_a_map_at_any_scale(scale, tmp_path):
    maps = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) * scale
    StoredMaps.of(["a", "b"], maps).save(tmp_path / "maps.npz")
    loaded = StoredMaps.load(tmp_path / "maps.npz")
    assert loaded.values.dtype == np.float16
    assert loaded.image_ids.tolist() == ["a", "b"]
    torch.testing.assert_close(loaded.activation_maps(), maps, rtol=1e-3, atol=1e-3 * scale)
    assert not list(tmp_path.glob(".*"))


def test_storage_hides_no_nan():
    stored = StoredMaps.of(["a"], torch.tensor([[[float("nan"), 1.0]]]))
    with pytest.raises(ValueError, match="NaN"):
        to_score_maps(stored.activation_maps(), (2, 2))
