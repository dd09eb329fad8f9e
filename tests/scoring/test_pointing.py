import numpy as np
import pytest

from wsol.scoring.box_agreement import extent_of
from wsol.scoring.pointing import peak_and_energy

BOX = np.float32([[1, 1, 3, 3]])


def one_peak(y, x, size=(6, 8)):
    score_map = np.zeros(size)
    score_map[y, x] = 1
    return score_map


@pytest.mark.parametrize(
    ("peak", "distance"),
    [((1, 2), 0), ((0, 1), 0.5), ((3, 1), 0.5), ((1, 7), 4.5), ((5, 7), np.hypot(2.5, 4.5))],
)
def test_distance_is_from_the_peaks_centre_to_the_nearest_edge(peak, distance):
    assert peak_and_energy(one_peak(*peak), BOX)[0] == pytest.approx(distance)


def test_of_two_boxes_the_nearer_counts_and_of_two_peaks_the_first():
    score_map = np.maximum(one_peak(5, 7), one_peak(0, 0))
    assert peak_and_energy(score_map, np.float32([[5, 5, 8, 6], [2, 0, 3, 3]]))[0] == pytest.approx(1.5)


def test_energy_is_the_share_inside_the_union():
    score_map = np.zeros((6, 8))
    score_map[1:3, 1:5] = 0.5
    assert peak_and_energy(score_map, BOX)[1] == pytest.approx(0.5)
    twice = np.float32([[1, 1, 3, 3], [2, 1, 4, 3]])
    assert peak_and_energy(score_map, twice)[1] == pytest.approx(0.75)
    assert peak_and_energy(score_map, np.float32([[-5, -5, 90, 90]]))[1] == pytest.approx(1)


def test_a_pixel_is_inside_where_its_centre_is():
    score_map = np.ones((1, 4))
    assert peak_and_energy(score_map, np.float32([[0.5, 0, 2.4, 1]]))[1] == pytest.approx(2 / 4)


def test_a_map_of_zeros_has_no_energy():
    assert peak_and_energy(np.zeros((3, 3)), BOX)[1] == 0


def test_energy_agrees_with_the_slow_definition():
    generator = np.random.default_rng(0)
    for _ in range(20):
        score_map = generator.random((17, 23))
        x0, y0 = generator.uniform(0, 15, 2)
        box = np.float32([[x0, y0, x0 + 6, y0 + 5]])
        y, x = np.mgrid[:17, :23] + 0.5
        inside = (x >= box[0, 0]) & (x < box[0, 2]) & (y >= box[0, 1]) & (y < box[0, 3])
        assert peak_and_energy(score_map, box)[1] == pytest.approx(score_map[inside].sum() / score_map.sum())


def test_extent_on_paper():
    predicted = np.float32([[0, 0, 4, 4], [2, 0, 4, 4], [0, 0, 0, 0], [8, 8, 9, 9]])
    extent = extent_of(predicted, np.float32([[0, 0, 4, 2]] * 4))
    assert extent.area_ratio.tolist() == [2, 1, 0, 1 / 8]
    assert extent.coverage.tolist() == [1, 0.5, 0, 0]
    assert extent.leakage.tolist() == [0.5, 0.5, 0, 1]
