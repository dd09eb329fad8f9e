from dataclasses import replace

import numpy as np
import pytest

from seed_records import iou_record, random_record, record_of
from wsol.comparison.diagnosis import ERROR_TYPES, area_ratios, by_group, check_seeds, error_shares
from wsol.scoring.scores.box_area_ratio import box_area_ratio
from wsol.scoring.scores.gt_known_loc import gt_known_loc

TRUE = (0, 0, 10, 10)
HALF, TWICE, NONE, FAR = (0, 0, 5, 10), (0, 0, 20, 10), (0, 0, 0, 0), (30, 30, 40, 40)


def two_seeds():
    """Hits of the four images: 1 1 0 0, then 1 0 0 1."""
    return [
        record_of([HALF, TWICE, NONE, FAR], [TRUE] * 4, rank=[0, 1, 0, 0]),
        record_of([TRUE, FAR, NONE, HALF], [TRUE] * 4, rank=[0, 0, 0, 2]),
    ]


class TestGroups:
    def test_on_paper(self):
        frame = by_group(two_seeds(), np.array(["b", "a", "a", "b"]))
        assert frame.columns.tolist() == ["group", "images", "gt_known_loc", "std"]
        assert frame["group"].tolist() == ["a", "b"]
        assert frame["images"].tolist() == [2, 2]
        assert frame["gt_known_loc"].tolist() == [(0.5 + 0) / 2, (0.5 + 1) / 2]
        assert frame["std"].tolist() == pytest.approx([np.sqrt(0.125)] * 2)  # of 1/2 and 0, of 1/2 and 1

    def test_one_seed_has_no_spread(self):
        frame = by_group(two_seeds()[:1], np.array(["b", "a", "a", "b"]))
        assert frame["std"].isna().all()
        assert frame["gt_known_loc"].tolist() == [0.5, 0.5]

    def test_all_groups_weighted_by_their_images_make_the_score(self):
        records = [random_record(seed) for seed in (1, 2, 3)]
        groups = np.random.default_rng(0).integers(0, 7, 200)
        frame = by_group(records, groups)
        mean = (frame["images"] * frame["gt_known_loc"]).sum() / 200
        assert mean == pytest.approx(np.mean([gt_known_loc(record) for record in records]))
        assert frame["images"].sum() == 200

    def test_another_iou_threshold(self):
        record = iou_record([[0.3], [0.6], [0.8]])
        groups = np.array(["x", "x", "x"])
        assert by_group([record], groups, 0.7)["gt_known_loc"].tolist() == [pytest.approx(1 / 3)]
        assert by_group([record], groups, 0.3)["gt_known_loc"].tolist() == [1]

    def test_order(self):
        groups = np.array(["small", "large", "large", "small"])
        frame = by_group(two_seeds(), groups, order=("small", "medium", "large"))
        assert frame["group"].tolist() == ["small", "large"]  # without the one that has no image
        assert frame["gt_known_loc"].tolist() == [0.75, 0.25]
        with pytest.raises(ValueError, match=r"lacks the groups \['large'\]"):
            by_group(two_seeds(), groups, order=("small",))

    def test_numbers_are_sorted_as_numbers(self):
        assert by_group(two_seeds(), np.array([10, 9, 100, 9]))["group"].tolist() == [9, 10, 100]

    def test_one_group_for_each_image(self):
        with pytest.raises(ValueError, match=r"4 images need as many groups, got an array of \(3,\)"):
            by_group(two_seeds(), np.array(["a", "b", "c"]))


class TestErrors:
    def test_on_paper(self):
        frame = error_shares(two_seeds())
        assert frame.columns.tolist() == ["error", "share", "std"]
        assert frame["error"].tolist() == list(ERROR_TYPES)
        # right, wrong class, too small, too large, wrong place, no box: 1 1 0 0 1 1 and 1 1 0 0 1 1
        assert frame["share"].tolist() == [0.25, 0.25, 0, 0, 0.25, 0.25]
        assert frame["std"].tolist() == [0] * 6

    def test_spread_on_paper(self):
        right, none = record_of([TRUE] * 2, [TRUE] * 2), record_of([TRUE, NONE], [TRUE] * 2)
        frame = error_shares([right, none]).set_index("error")
        assert frame.loc["right"].tolist() == pytest.approx([0.75, np.sqrt(0.125)])
        assert frame.loc["no box"].tolist() == pytest.approx([0.25, np.sqrt(0.125)])

    def test_shares_sum_to_one(self):
        frame = error_shares([random_record(seed) for seed in (1, 2, 3)])
        assert frame["share"].sum() == pytest.approx(1)
        assert (frame["share"] > 0).all()

    def test_one_seed_has_no_spread(self):
        assert error_shares(two_seeds()[:1])["std"].isna().all()

    def test_boxes_of_another_threshold_are_refused(self):
        first = record_of([TRUE], [TRUE], thresholds=(0.1, 0.2), point=1)
        with pytest.raises(ValueError, match="at the threshold chosen on val alone"):
            error_shares([first, first.at(0.1)])


class TestAreas:
    def test_on_paper(self):
        # One half, twice, none, once; then once, once, none, one half.
        assert area_ratios(two_seeds()).tolist() == [-1, 1, 0, 0, 0, -1]

    def test_is_the_logarithm_of_the_score(self):
        record = random_record(4)
        assert 2 ** area_ratios([record]).mean() == pytest.approx(box_area_ratio(record))

    def test_no_box_at_all(self):
        assert area_ratios([record_of([NONE], [TRUE])]).tolist() == []


class TestSeeds:
    @pytest.mark.parametrize("tell", [error_shares, area_ratios, lambda records: by_group(records, np.zeros(4))])
    def test_other_images_are_refused(self, tell):
        first, second = two_seeds()
        with pytest.raises(ValueError, match="Record 1 has other images"):
            tell([first, replace(second, image_ids=np.array(["00000", "00001", "00002", "x"]))])

    def test_another_order_is_refused(self):
        first, second = two_seeds()
        with pytest.raises(ValueError, match="another order"):
            check_seeds([first, replace(second, image_ids=second.image_ids[::-1])])

    def test_fewer_images_are_refused(self):
        with pytest.raises(ValueError, match="Record 2 has other images"):
            check_seeds([*two_seeds(), record_of([TRUE], [TRUE])])

    def test_nothing_is_refused(self):
        with pytest.raises(ValueError, match="at least one record"):
            error_shares([])
