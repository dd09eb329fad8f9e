import pytest

from wsol.scoring.protocol import GRAD_CAM2017, REFERENCE, TIGHT, ZHOU2016
from wsol.scoring.score import Score
from wsol.scoring.supervision import (
    LEDGER_COLUMNS,
    NOTHING,
    TEST_BOXES,
    TEST_LABELS,
    TRAIN_LABELS,
    VAL_BOXES,
    Supervision,
    ledger_lines,
    supervision_of,
)

POLICIES = {"oracle": TEST_BOXES, "held_out": VAL_BOXES, "label_free": NOTHING, 0.2: NOTHING}


def score(threshold, needs_class=False, reads_map=False):
    return Score(lambda record: 0.0, "largest", threshold, needs_class, reads_map)


class TestThreshold:
    @pytest.mark.parametrize(("policy", "chosen"), POLICIES.items())
    def test_every_policy_on_paper(self, policy, chosen):
        assert supervision_of(score(policy), TIGHT) == Supervision(
            training=TRAIN_LABELS,
            checkpoint=NOTHING,
            hyper_parameters=NOTHING,
            map_class=TEST_LABELS,
            normalization=NOTHING,
            threshold=chosen,
        )

    @pytest.mark.parametrize("policy", [0.0, 0.15, 0.5])
    def test_any_fixed_number(self, policy):
        assert supervision_of(score(policy), TIGHT).threshold == NOTHING

    def test_classification_reads_no_map(self):
        assert supervision_of(score(None), TIGHT) == Supervision(training=TRAIN_LABELS)

    def test_pointing_reads_the_map_of_the_true_class_without_a_threshold(self):
        supervision = supervision_of(score(None, reads_map=True), TIGHT)
        assert supervision == Supervision(training=TRAIN_LABELS, map_class=TEST_LABELS)

    @pytest.mark.parametrize("policy", POLICIES)
    def test_that_it_reads_the_map_is_said_already(self, policy):
        assert supervision_of(score(policy, reads_map=True), TIGHT) == supervision_of(score(policy), TIGHT)


class TestClass:
    @pytest.mark.parametrize("policy", POLICIES)
    def test_where_the_class_must_be_right_it_is_not_given(self, policy):
        supervision = supervision_of(score(policy, needs_class=True), TIGHT)
        assert supervision == Supervision(training=TRAIN_LABELS, threshold=POLICIES[policy])

    @pytest.mark.parametrize("protocol", [TIGHT, REFERENCE], ids=lambda protocol: protocol.name)
    def test_these_protocols_give_the_true_class(self, protocol):
        assert supervision_of(score("held_out"), protocol).map_class == TEST_LABELS

    @pytest.mark.parametrize("protocol", [ZHOU2016, GRAD_CAM2017], ids=lambda protocol: protocol.name)
    def test_these_protocols_predict_it(self, protocol):
        supervision = supervision_of(score(protocol.threshold, needs_class=True), protocol)
        assert supervision == Supervision(training=TRAIN_LABELS)
        assert supervision_of(score(protocol.threshold), protocol).map_class == TEST_LABELS  # GT-known


class TestBoxChoice:
    @pytest.mark.parametrize("policy", POLICIES)
    def test_the_test_boxes_choose_among_all_boxes_of_a_map(self, policy):
        every = Score(lambda record: 0.0, "every", policy)
        assert supervision_of(every, TIGHT).box_choice == TEST_BOXES
        assert supervision_of(every, TIGHT).oracle
        assert supervision_of(score(policy), TIGHT).box_choice == NOTHING

    def test_a_score_without_boxes_chooses_none(self):
        assert supervision_of(Score(lambda record: 0.0, "every", None), TIGHT).box_choice == NOTHING


class TestBaselines:
    @pytest.mark.parametrize(("policy", "chosen"), POLICIES.items())
    def test_nothing_is_trained_and_no_class_is_given(self, policy, chosen):
        assert supervision_of(score(policy), TIGHT, trained=False) == Supervision(threshold=chosen)

    def test_pointing(self):
        assert supervision_of(score(None, reads_map=True), TIGHT, trained=False) == Supervision()


class TestOracle:
    @pytest.mark.parametrize("policy", POLICIES)
    @pytest.mark.parametrize("trained", [True, False])
    def test_a_threshold_of_the_scored_boxes(self, policy, trained):
        assert supervision_of(score(policy), TIGHT, trained).oracle == (policy == "oracle")

    def test_a_tuner_that_saw_them(self):
        assert supervision_of(score(0.2), TIGHT, hyper_parameters=TEST_BOXES).oracle
        assert not supervision_of(score(0.2), TIGHT, hyper_parameters=VAL_BOXES).oracle

    @pytest.mark.parametrize("stage", ["training", "checkpoint", "hyper_parameters", "map_class", "normalization"])
    def test_any_stage(self, stage):
        assert Supervision(**{stage: TEST_BOXES}).oracle

    def test_labels_of_the_scored_images_are_no_boxes(self):
        assert not Supervision(map_class=TEST_LABELS).oracle


class TestLedger:
    def test_on_paper(self):
        ledger = {
            "max_box_acc": supervision_of(score("oracle"), TIGHT),
            "top1_loc": supervision_of(score("held_out", needs_class=True), TIGHT, hyper_parameters="val boxes"),
        }
        assert [dict(zip(LEDGER_COLUMNS, line, strict=True)) for line in ledger_lines(ledger)] == [
            {
                "score": "max_box_acc",
                "training": "train labels",
                "checkpoint": "none",
                "hyper parameters": "none",
                "map class": "test labels",
                "normalization": "none",
                "threshold": "test boxes",
                "box choice": "none",
                "oracle": "oracle",
            },
            {
                "score": "top1_loc",
                "training": "train labels",
                "checkpoint": "none",
                "hyper parameters": "val boxes",
                "map class": "none",
                "normalization": "none",
                "threshold": "val boxes",
                "box choice": "none",
                "oracle": "",
            },
        ]

    def test_no_score(self):
        assert ledger_lines({}) == []
