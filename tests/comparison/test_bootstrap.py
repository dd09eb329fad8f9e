import numpy as np
import pytest

from wsol.comparison import bootstrap
from wsol.comparison.bootstrap import ImageResamples
from wsol.scoring.outcomes import Outcomes, best_over_thresholds, mean_of, mean_of_known, share_of


def every_kind_of_outcomes(images):
    rng = np.random.default_rng(3)
    values = rng.random(images)
    iou = rng.random((images, 7)).astype(np.float32)
    known = np.where(rng.random(images) < 0.3, np.nan, values)
    return {
        "share": share_of(values < 0.6),
        "mean": mean_of(values),
        "mean of known": mean_of_known(known),
        "best of one": best_over_thresholds(iou, [0.5]),
        "best of three": best_over_thresholds(iou, [0.3, 0.5, 0.7]),
        "at three": best_over_thresholds(iou, [0.3, 0.5, 0.7]).at([1, 4, 6]),
    }


def by_brute_force(outcomes, counts):
    """Each resample laid out image by image, and scored as any sample is."""
    values = np.asarray(outcomes.values)
    return [type(outcomes)(np.repeat(values, times, axis=0), outcomes.combine).value() for times in counts]


def test_every_resample_has_as_many_images():
    resamples = ImageResamples(30, 50)
    assert resamples.counts.shape == (50, 30)
    np.testing.assert_array_equal(resamples.counts.sum(axis=1), 30)
    assert resamples.counts.max() > 1
    assert resamples.counts.min() == 0


def test_the_same_arguments_give_the_same_resamples():
    np.testing.assert_array_equal(ImageResamples(30, 20).counts, ImageResamples(30, 20).counts)
    assert (ImageResamples(30, 20, seed=1).counts != ImageResamples(30, 20).counts).any()


def test_fewer_resamples_are_the_first_ones():
    np.testing.assert_array_equal(ImageResamples(30, 5).counts, ImageResamples(30, 20).counts[:5])


def test_an_image_is_drawn_once_on_average():
    counts = ImageResamples(100, 4000).counts
    # Binomial of N draws: mean 1 and variance 1 - 1/N.
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=5 * np.sqrt(0.99 / 4000))
    assert counts.var() == pytest.approx(0.99, abs=0.02)


@pytest.mark.parametrize("kind", every_kind_of_outcomes(2))
def test_a_score_of_a_resample_is_that_of_its_images(kind):
    resamples = ImageResamples(40, 25)
    outcomes = every_kind_of_outcomes(40)[kind]
    replicates = resamples.replicates(outcomes)
    assert replicates.shape == (25,)
    assert replicates.dtype == np.float64
    np.testing.assert_allclose(replicates, by_brute_force(outcomes, resamples.counts), rtol=1e-14)
    assert len(set(replicates.tolist())) > 5


def test_a_threshold_is_chosen_anew_on_every_resample():
    # Two thresholds, each right for one of two images: half of them at best, but all where one is drawn twice.
    outcomes = best_over_thresholds(np.array([[0.9, 0.0], [0.0, 0.9]]), [0.5])
    resamples = ImageResamples(2, 50)
    expected = np.where((resamples.counts == 1).all(axis=1), 0.5, 1.0)
    np.testing.assert_array_equal(resamples.replicates(outcomes), expected)
    assert set(expected) == {0.5, 1.0}


def test_a_resample_without_a_known_value_has_no_score():
    resamples = ImageResamples(3, 60)
    replicates = resamples.replicates(mean_of_known(np.array([0.25, np.nan, np.nan])))
    np.testing.assert_array_equal(np.isnan(replicates), resamples.counts[:, 0] == 0)
    np.testing.assert_array_equal(replicates[resamples.counts[:, 0] > 0], 0.25)


def test_in_blocks_it_is_the_same(monkeypatch):
    outcomes = every_kind_of_outcomes(40)["best of three"]
    at_once = ImageResamples(40, 25).replicates(outcomes)
    monkeypatch.setattr(bootstrap, "_BYTES", 4 * 40 * 4)  # four resamples at a time, and one at the end
    np.testing.assert_array_equal(ImageResamples(40, 25).replicates(outcomes), at_once)
    monkeypatch.setattr(bootstrap, "_BYTES", 1)
    np.testing.assert_array_equal(ImageResamples(40, 25).replicates(outcomes), at_once)


def test_several_scores_at_once_are_each_what_it_is_alone():
    resamples, several = ImageResamples(40, 25), list(every_kind_of_outcomes(40).values())
    several.insert(1, mean_of(np.full(40, np.nan)))  # unknown itself, and nothing to the others
    result = resamples.replicates_of(several)
    for outcomes, replicates in zip(several, result, strict=True):
        np.testing.assert_allclose(replicates, resamples.replicates(outcomes), rtol=1e-14)
    assert np.isnan(result[1]).all()
    assert resamples.replicates_of([]) == []


def test_one_of_several_of_other_images_is_refused():
    resamples = ImageResamples(3, 10)
    with pytest.raises(ValueError, match=r"have 2 images, but the resamples have 3"):
        resamples.replicates_of([share_of(np.ones(3, bool)), share_of(np.ones(2, bool))])


def test_shares_are_exact():
    hits = np.random.default_rng(0).random(5000) < 0.3
    resamples = ImageResamples(5000, 20)
    expected = resamples.counts.astype(np.int64) @ hits / 5000
    np.testing.assert_array_equal(resamples.replicates(share_of(hits)), expected)


def test_sums_beyond_what_float32_holds_are_exact():
    pixels = np.random.default_rng(0).integers(0, 224**2, 2000)  # sums of about 5e7, where float32 ends at 1.7e7
    resamples = ImageResamples(2000, 20)
    expected = resamples.counts.astype(np.int64) @ pixels / 2000
    np.testing.assert_array_equal(resamples.replicates(Outcomes(pixels[:, None])), expected)


def test_one_image_is_itself_every_time():
    resamples = ImageResamples(1, 5)
    np.testing.assert_array_equal(resamples.counts, 1)
    np.testing.assert_array_equal(resamples.replicates(share_of(np.array([True]))), 1)


def test_what_is_always_the_same_has_no_spread():
    np.testing.assert_array_equal(ImageResamples(30, 20).replicates(share_of(np.ones(30, bool))), 1)
    np.testing.assert_array_equal(ImageResamples(30, 20).replicates(share_of(np.zeros(30, bool))), 0)


@pytest.mark.parametrize("arguments", [(0, 10), (-1, 10), (10, 1), (10, 0)])
def test_too_few(arguments):
    with pytest.raises(ValueError, match=r"at least 1 image and 2 resamples"):
        ImageResamples(*arguments)


def test_outcomes_of_other_images_are_refused():
    resamples = ImageResamples(3, 10)
    with pytest.raises(ValueError, match=r"have 2 images, but the resamples have 3"):
        resamples.replicates(share_of(np.array([True, False])))
