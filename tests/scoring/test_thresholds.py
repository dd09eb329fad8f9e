import numpy as np
import pytest
from skimage import filters

from wsol.scoring.score_map import to_score_maps
from wsol.scoring.thresholds import (
    LABEL_FREE,
    best_index,
    find_threshold,
    index_below,
    label_free_thresholds,
    threshold_grid,
)

GRID = threshold_grid(0.1)


@pytest.mark.parametrize("start", [-0.1, 1.0, float("nan")])
def test_a_start_outside_the_grid_is_named(start):
    with pytest.raises(ValueError, match=rf"start of the thresholds must lie in \[0, 1\), got {start}"):
        threshold_grid(0.1, start)


def test_a_threshold_is_found_whatever_its_last_digit():
    assert find_threshold(GRID, 0.3, "A score") == 3
    assert GRID[3] != 0.3  # 0.30000000000000004
    with pytest.raises(ValueError, match=r"A score reads τ = 0\.35, which is not among the 10 thresholds"):
        find_threshold(GRID, 0.35, "A score")


def test_the_index_below():
    assert index_below(GRID, np.array([0, 0.05, 0.1, 0.95])).tolist() == [0, 0, 1, 9]
    assert index_below(GRID[2:], np.array([0.1])).tolist() == [0]


def test_the_best_has_the_most_hits_then_the_highest_iou_then_comes_first():
    assert best_index(np.array([1, 3, 3, 3]), np.array([9, 1, 2, 2])) == 2
    assert best_index(np.array([0.5, 0.5]), np.array([1.0, 1.0])) == 0


def score_maps():
    """Smooth maps, maps with two groups of pixels, and maps that use a part of the range or few levels."""
    generator = np.random.default_rng(0)
    smooth = list(to_score_maps(generator.random((60, 7, 7)), (50, 41)))
    groups = np.concatenate([generator.normal(0.2, 0.1, (20, 500)), generator.normal(0.7, 0.1, (20, 200))], axis=1)
    parts = [0.3 + 0.5 * score_map for score_map in smooth[:20]]
    coarse = [np.round(3 * score_map) / 3 for score_map in smooth[:20]]
    return [*smooth, *groups.clip(0, 1).reshape(20, 20, 35), *parts, *coarse]


@pytest.mark.parametrize(("place", "name"), list(enumerate(["otsu", "isodata", "li", "triangle", "yen"])))
def test_label_free_thresholds_are_those_of_scikit_image(place, name):
    assert list(LABEL_FREE)[place].removeprefix("label_free_") == name or name == "otsu"
    skimage = getattr(filters, f"threshold_{name}")
    for score_map in score_maps():
        expected = skimage((255 * score_map).astype(np.uint8)) / 255
        assert label_free_thresholds(score_map)[place] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1])
def test_what_is_no_score_map_is_refused(bad):
    with pytest.raises(ValueError, match="without NaN"):
        label_free_thresholds(np.array([[0.0, bad]]))


def test_a_constant_map_has_its_own_level():
    assert label_free_thresholds(np.zeros((3, 3))).tolist() == [0] * 5
    assert label_free_thresholds(np.ones((3, 3))).tolist() == [0, 1, 1, 1, 1]
