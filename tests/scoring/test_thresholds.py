import numpy as np
import pytest

from wsol.scoring.thresholds import best_index, find_threshold, index_below, threshold_grid

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
    assert [index_below(GRID, tau) for tau in (0, 0.05, 0.1, 0.95)] == [0, 0, 1, 9]
    assert index_below(GRID[2:], 0.1) == 0


def test_the_best_has_the_most_hits_then_the_highest_iou_then_comes_first():
    assert best_index(np.array([1, 3, 3, 3]), np.array([9, 1, 2, 2])) == 2
    assert best_index(np.array([0.5, 0.5]), np.array([1.0, 1.0])) == 0
