"""Which scores have intervals that are cut to [0, 1]."""

import numpy as np
import pytest

from seed_records import record_of
from wsol.comparison.paired_scores import is_bounded
from wsol.scoring.record import PixelRecord
from wsol.scoring.scores.box_area_ratio import box_area_ratio
from wsol.scoring.scores.coverage import coverage
from wsol.scoring.scores.px_ap import px_ap

# Both boxes larger than the true one, by a factor below e: the logarithms of their ratios lie in [0, 1].
RECORD = record_of([[0, 0, 12, 10], [0, 0, 20, 10]], [[0, 0, 10, 10], [0, 0, 10, 10]])


def test_a_ratio_of_areas_is_not_though_its_logarithms_lie_there():
    assert box_area_ratio(RECORD) == pytest.approx(np.sqrt(1.2 * 2))
    assert not is_bounded(box_area_ratio.outcomes(RECORD))


def test_a_share_is():
    assert is_bounded(coverage.outcomes(RECORD))


def test_px_ap_is_though_it_is_made_of_counts():
    record = PixelRecord(
        np.array(["a"]),
        np.zeros(1, np.int64),
        np.zeros(1, np.int64),
        np.full((1, 2, 3), 9, np.int32),
        np.array([0, 0.5]),
    )
    assert is_bounded(px_ap.outcomes(record))
