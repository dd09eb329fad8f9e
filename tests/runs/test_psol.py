import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from networks import tiny_classifier
from wsol.data.ground_truth import GroundTruth, same_size
from wsol.data.image_set import prepared_as
from wsol.data.readers.synthetic import synthetic
from wsol.machine import Machine
from wsol.maps.make_maps import make_maps
from wsol.maps.methods.cam import CAM
from wsol.maps.stored_maps import StoredMaps
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.pooling.gap import GAP
from wsol.runs.folder import load_classifier, save_classifier
from wsol.runs.pseudo_boxes import (
    BoxDrawing,
    NoPseudoBox,
    PseudoBoxed,
    best_on_val,
    make_pseudo_boxes,
    match_boxes,
    pseudo_boxes,
    psol_supervision,
)
from wsol.runs.psol import regressed_boxes
from wsol.scoring.box_ranges import StoredBoxes
from wsol.scoring.boxes.every import every
from wsol.scoring.match_maps import make_record
from wsol.scoring.protocol import REFERENCE, TIGHT
from wsol.scoring.record import LocalizationRecord, choose_operating_point
from wsol.scoring.score import Score
from wsol.scoring.scores.max_box_acc import max_box_acc
from wsol.scoring.scores.top_k_loc import top_k_loc
from wsol.scoring.supervision import NOTHING, TRAIN_LABELS, VAL_BOXES
from wsol.training.train import TrainSettings
from wsol.training.with_boxes.box_regressor import LOSS_WEIGHT, BoxRegressor, regression_loss, train_regressor
from wsol.training.with_boxes.train import BoxTraining

SETTINGS = TrainSettings(epochs=3, batch_size=8, lr=1e-2)
CPU = torch.device("cpu")
MACHINE = Machine(Path(), accelerator="cpu", batch_size=4, progress=False)
TAUS = np.array([0.0, 0.3, 0.6])


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return synthetic(
        image_size=16,
        num_classes=5,
        train_images=12,
        val_images=5,
        test_images=6,
        cache_dir=tmp_path_factory.mktemp("psol"),
    )


def stored(boxes, size=(16, 16)):
    return StoredBoxes(np.array([str(n) for n in range(len(boxes))]), np.array(boxes, np.float32), size)


def truth_of(boxes, size=(16, 16)):
    ids = np.array([str(n) for n in range(len(boxes))])
    arrays = [np.array(its, np.float32).reshape(-1, 4) for its in boxes]
    return GroundTruth(ids, np.zeros(len(boxes), np.int64), arrays, same_size(len(boxes), size))


class TestPseudoBoxes:
    MAPS = StoredMaps.of(["a", "b"], torch.tensor([[[0.0, 0.0, 0], [0, 1, 0.6], [0, 0, 0]], [[2.0] * 3] * 3]))

    def test_on_paper(self):
        found = pseudo_boxes(self.MAPS, (3, 3), TIGHT, 0.5)
        assert found.boxes[0].tolist() == [1, 1, 3, 2]
        assert pseudo_boxes(self.MAPS, (3, 3), TIGHT, 0.7).boxes[0].tolist() == [1, 1, 2, 2]
        assert found.image_ids.tolist() == ["a", "b"]

    @pytest.mark.parametrize("protocol", [TIGHT, REFERENCE], ids=lambda protocol: protocol.name)
    def test_a_map_that_says_nothing_has_no_box(self, protocol):
        found = pseudo_boxes(self.MAPS, (12, 12), protocol, 0.5)
        assert found.known.tolist() == [True, False]
        assert found.boxes[0].min() >= 0
        assert found.boxes[0].max() <= 12  # on the image, whatever the protocol's grid

    def test_several_boxes_are_refused(self):
        two = StoredMaps.of(["a"], torch.tensor([[[1.0, 0, 1]]]))
        with pytest.raises(ValueError, match="gives 2; choose largest"):
            pseudo_boxes(two, (1, 3), TIGHT, 0.5, every)

    def test_parts_of_a_split_are_the_whole(self, splits, monkeypatch):
        monkeypatch.setattr("wsol.runs.pseudo_boxes._AT_ONCE", 5)
        classifier = tiny_classifier(GAP())
        found = make_pseudo_boxes(classifier, splits.train, splits.val, BoxDrawing(CAM(), TIGHT, 0.4), MACHINE)
        images = prepared_as(splits.train, splits.val)
        _, maps = make_maps(classifier, images, {"cam": CAM()}, MACHINE)
        expected = pseudo_boxes(maps["cam"], (16, 16), TIGHT, 0.4)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        assert found.image_ids.tolist() == splits.train.image_ids
        assert found.size == (16, 16)

    def test_they_come_back_from_disk(self, tmp_path):
        boxes = stored([[1, 2, 3, 4], [np.nan] * 4], (20, 16))
        boxes.save(tmp_path / "boxes.npz")
        again = StoredBoxes.load(tmp_path / "boxes.npz")
        np.testing.assert_array_equal(again.boxes, boxes.boxes)
        assert (again.size, again.image_ids.tolist()) == ((20, 16), ["0", "1"])

    def test_the_best_map_is_that_of_val(self):
        def record(best_iou, point):
            found = LocalizationRecord(
                *[np.zeros(3)] * 3, np.array(best_iou), *[np.zeros(3)] * 3, 0, *[np.zeros(3)] * 3
            )
            return replace(found, operating_point=point)

        low, high = record([[0.9, 0.2]] * 3, 1), record([[0.1, 0.6], [0.1, 0.6], [0.1, 0.1]], 1)
        assert best_on_val({"low": low, "high": high}) == "high"
        assert best_on_val({"low": replace(low, operating_point=0), "high": high}) == "low"
        assert best_on_val({"first": high, "second": high}) == "first"


class TestPseudoBoxed:
    def test_images_without_a_box_are_left_out_and_told(self, splits, caplog):
        boxes = np.full((12, 4), np.nan, np.float32)
        boxes[[3, 7]] = [[1, 2, 3, 4], [0, 0, 8, 8]]
        with caplog.at_level(logging.INFO):
            images = PseudoBoxed(splits.train, StoredBoxes(np.array(list(splits.train.image_ids)), boxes, (8, 8)))
        assert "10 of 12 images have no pseudo box" in caplog.text
        assert [images[n].image_id for n in range(len(images))] == [splits.train.image_ids[n] for n in (3, 7)]
        assert images[0].boxes.tolist() == [[2, 4, 6, 8]]  # on images of 16 pixels

    def test_other_images_or_no_box_at_all(self, splits):
        with pytest.raises(ValueError, match=r"boxes are of other images than synthetic train holds"):
            PseudoBoxed(splits.train, stored([[0, 0, 1, 1]] * 12))
        ids = np.array(list(splits.train.image_ids))
        with pytest.raises(NoPseudoBox, match="there is no pseudo box to learn from; choose other `maps`"):
            PseudoBoxed(splits.train, StoredBoxes(ids, np.full((12, 4), np.nan, np.float32), (16, 16)))


class TestRegressor:
    def test_the_loss_on_paper(self):
        predicted = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
        boxes = [
            np.array([[2, 0, 6, 4]], np.float32),
            np.array([[8, 1, 8, 3]], np.float32),
        ]  # the second is cropped away
        expected = LOSS_WEIGHT * (0.25**2 + 0.5**2 + 0 + 0) / 4  # x, y, w, h: 1/4, 0, 1/2, 1/2
        assert regression_loss(predicted, boxes, (8, 8)).item() == pytest.approx(expected)
        loss = regression_loss(predicted, [boxes[1]] * 2, (8, 8))
        loss.backward()
        assert loss.item() == 0
        assert not predicted.grad.any()

    def test_unknown_boxes_are_refused(self):
        predicted, box = torch.zeros(2, 4), np.array([[0, 0, 4, 4]], np.float32)
        with pytest.raises(ValueError, match=r"one box for each image, got images with \[0, 1\] boxes"):
            regression_loss(predicted, [box, box[:0]], (8, 8))
        with pytest.raises(ValueError, match="learns known boxes, got NaN"):
            regression_loss(predicted, [box, box * np.nan], (8, 8))

    def test_it_learns_a_box_that_all_images_have(self, splits, tmp_path):
        torch.manual_seed(0)
        ids = np.array(list(splits.train.image_ids))
        images = PseudoBoxed(splits.train, StoredBoxes(ids, np.tile(np.float32([4, 2, 12, 10]), (12, 1)), (16, 16)))
        # Mirrored, the box stays where it is.
        network, history = train_regressor(
            small_cnn([4, 6]), images, BoxTraining(SETTINGS, 0, image_size=16, steps=50), MACHINE
        )
        assert history[-1]["loss"] < 0.1 * history[0]["loss"]
        found = regressed_boxes(network, splits.test, MACHINE)
        np.testing.assert_allclose(found.boxes, np.tile([4, 2, 12, 10], (6, 1)), atol=1)
        assert found.image_ids.tolist() == splits.test.image_ids
        save_classifier(tmp_path / "psol.pt", network, history)
        again = BoxRegressor(small_cnn([4, 6]))
        assert load_classifier(tmp_path / "psol.pt", again) == history
        np.testing.assert_array_equal(regressed_boxes(again, splits.test, MACHINE).boxes, found.boxes)

    def test_boxes_stay_on_the_image(self, splits):
        network = BoxRegressor(small_cnn([4]))
        with torch.no_grad():
            network.box[2].weight.zero_()
            network.box[2].bias.copy_(torch.logit(torch.tensor([0.75, 0.25, 0.5, 0.5])))
        found = regressed_boxes(network, splits.test, MACHINE)
        np.testing.assert_allclose(found.boxes, np.tile([12, 4, 16, 12], (6, 1)), atol=1e-4)

    def test_the_seed_alone_decides(self, splits):
        ids = np.array(list(splits.train.image_ids))
        images = PseudoBoxed(splits.train, StoredBoxes(ids, np.tile(np.float32([4, 2, 12, 10]), (12, 1)), (16, 16)))
        found = []
        for seed, elsewhere in ((0, 1), (0, 2), (1, 3)):
            torch.manual_seed(5)
            backbone = small_cnn([4])
            torch.manual_seed(elsewhere)
            network, _ = train_regressor(backbone, images, BoxTraining(SETTINGS, seed, image_size=12, steps=3), MACHINE)
            found.append(regressed_boxes(network, splits.test, MACHINE).boxes)
        assert np.array_equal(found[0], found[1])
        assert not np.array_equal(found[0], found[2])


class TestMatches:
    def test_at_any_threshold_the_same(self):
        matches = match_boxes(
            stored([[0, 0, 8, 8], [4, 4, 12, 12]]),
            truth_of([[[0, 0, 8, 4]], [[0, 0, 1, 1], [4, 4, 12, 12]]]),
            TAUS,
            TIGHT,
        )
        np.testing.assert_allclose(matches.best_iou, [[0.5] * 3, [1] * 3])
        assert matches.boxes.shape == (2, 3, 4)
        assert (matches.boxes == np.array([[[0, 0, 8, 8]], [[4, 4, 12, 12]]])).all()
        assert (matches.true_boxes[1] == [4, 4, 12, 12]).all()
        assert np.isnan(matches.peak_distance).all()
        assert np.isnan(matches.energy_inside).all()
        assert choose_operating_point(matches.best_iou) == 0
        one = match_boxes(stored([[0, 0, 8, 8]]), truth_of([[[0, 0, 8, 4]]]), TAUS, TIGHT, point=2)
        assert one.boxes.shape == one.true_boxes.shape == (1, 1, 4)
        assert one.best_iou.shape == (1, 3)

    @pytest.mark.parametrize("protocol", [TIGHT, REFERENCE], ids=lambda protocol: protocol.name)
    def test_a_true_box_matches_itself(self, protocol):
        box = [1.5, 2.25, 9, 16]
        matches = match_boxes(stored([box]), truth_of([[box]]), TAUS, protocol)
        assert (matches.best_iou == 1).all()
        np.testing.assert_allclose(matches.boxes, matches.true_boxes)

    def test_boxes_of_another_size_are_brought_to_the_truths(self):
        matches = match_boxes(stored([[2, 4, 8, 8]], (16, 8)), truth_of([[[8, 8, 32, 16]]], (32, 32)), TAUS, TIGHT)
        assert (matches.best_iou == 1).all()

    def test_absent_boxes_are_named(self):
        with pytest.raises(ValueError, match="Image '1' has no predicted box"):
            match_boxes(stored([[0, 0, 1, 1], [np.nan] * 4]), truth_of([[[0, 0, 1, 1]]] * 2), TAUS, TIGHT)
        with pytest.raises(ValueError, match="Image '0' has no true box"):
            match_boxes(stored([[0, 0, 1, 1]]), truth_of([[]]), TAUS, TIGHT)
        with pytest.raises(ValueError, match="boxes are of other images"):
            match_boxes(stored([[0, 0, 1, 1]]), truth_of([[[0, 0, 1, 1]]] * 2), TAUS, TIGHT)

    def test_a_record_joins_them_with_the_runs_classes(self):
        predictions = pd.DataFrame({"image_id": ["0", "1"], "class_id": [0, 0], "class_rank": [0, 3]})
        matches = match_boxes(stored([[0, 0, 8, 8]] * 2), truth_of([[[0, 0, 8, 8]]] * 2), TAUS, TIGHT)
        record = make_record(matches, 0, TAUS, predictions, {})
        assert top_k_loc(record, k=1) == 0.5
        assert max_box_acc(record) == 1
        assert max_box_acc(record.label_free_view()) == 1


@pytest.mark.parametrize("policy", ["oracle", "held_out", "label_free", 0.2])
def test_the_ledger_names_what_chose_the_pseudo_boxes(policy):
    told = psol_supervision(Score(lambda record: 0.0, "largest", policy), TIGHT)
    assert (told.training, told.hyper_parameters) == (TRAIN_LABELS, VAL_BOXES)
    assert (told.map_class, told.threshold, told.oracle) == (NOTHING, NOTHING, False)
