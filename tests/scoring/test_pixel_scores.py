import numpy as np
import pytest

from wsol.data.ground_truth import BACKGROUND, IGNORED, OBJECT
from wsol.scoring.pixel_scores import pixel_iou, px_ap, score_histograms

TAUS = np.array([0.0, 0.25, 0.5, 0.75])


def test_histograms_on_paper():
    scores = np.array([[0.0, 0.24, 0.25, 0.6], [0.75, 0.999, 1.0, 1.0]])
    mask = np.array([[BACKGROUND, OBJECT, OBJECT, IGNORED], [BACKGROUND, OBJECT, OBJECT, BACKGROUND]], np.uint8)
    assert score_histograms(scores, mask, TAUS).tolist() == [[1, 0, 0, 1, 1], [1, 1, 0, 1, 1]]


def test_scores_below_the_first_threshold_are_not_counted():
    counts = score_histograms(np.array([[0.1, 0.6]]), np.array([[OBJECT, OBJECT]], np.uint8), TAUS[1:])
    assert counts.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize("step", [0.1, 0.01, 0.001, 0.07])
def test_histograms_are_numpys(step):
    generator = np.random.default_rng(0)
    taus = np.arange(0, 1, step)
    edges = np.append(taus, [1.0, 2.0])
    for decimals in (1, 2, 3, 16):
        scores = np.round(generator.random((30, 41)), decimals)
        mask = generator.choice([BACKGROUND, OBJECT, IGNORED], scores.shape).astype(np.uint8)
        counts = score_histograms(scores, mask, taus)
        for row, value in ((0, BACKGROUND), (1, OBJECT)):
            np.testing.assert_array_equal(counts[row], np.histogram(scores[mask == value], edges)[0])


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="must have one size"):
        score_histograms(np.zeros((3, 4)), np.zeros((4, 3), np.uint8), TAUS)


def test_px_ap_on_paper():
    # At or above 1: 1 of 1 on the object; 0.75: 2 of 3; 0.5: 2 of 3; 0.25: 3 of 4; 0: 4 of 8.
    histograms = np.array([[4, 0, 0, 1, 0], [1, 1, 0, 1, 1]])[:, [0, 1, 2, 3, 4]]
    assert px_ap(histograms) == pytest.approx(1 / 4 * (1 + 2 / 3 + 3 / 4) + 1 / 4 * 4 / 9)


def test_a_perfect_map_scores_one_and_an_inverted_one_the_objects_share():
    assert px_ap(np.array([[6, 0, 0], [0, 0, 2]])) == 1
    assert px_ap(np.array([[0, 0, 6], [2, 0, 0]])) == 2 / 8


def test_without_any_object_there_is_no_px_ap():
    with pytest.raises(ValueError, match="No mask has a pixel on an object"):
        px_ap(np.array([[6, 0, 1], [0, 0, 0]]))


def test_pixel_iou_on_paper():
    histograms = np.array([[4, 0, 0, 1, 0], [1, 1, 0, 1, 1]])
    assert pixel_iou(histograms).tolist() == [4 / 9, 3 / 5, 2 / 5, 2 / 5]
    assert pixel_iou(np.zeros((1, 2, 3), int)).tolist() == [[0, 0]]
    stacked = np.stack([histograms, histograms[::-1]])
    np.testing.assert_array_equal(pixel_iou(stacked)[0], pixel_iou(histograms))
