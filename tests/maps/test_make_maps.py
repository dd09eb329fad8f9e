from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from networks import tiny_classifier
from wsol.data.ground_truth import GroundTruth, truth_of
from wsol.data.image_set import ImageSet
from wsol.data.readers.synthetic import synthetic
from wsol.machine import Machine
from wsol.maps.make_maps import make_maps
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.rise import RISE
from wsol.maps.stored_maps import StoredMaps
from wsol.networks.pooling.gap import GAP
from wsol.scoring.boxes.largest import largest
from wsol.scoring.match_maps import make_record, match_maps
from wsol.scoring.protocol import TIGHT

CPU = Machine(accelerator="cpu", progress=False)


@pytest.fixture
def images(tmp_path) -> ImageSet:
    few = {"train_images": 10, "val_images": 5, "test_images": 11}
    return synthetic(image_size=16, num_classes=5, cache_dir=tmp_path, **few).test


def test_predictions_are_the_classifiers(images):
    classifier = tiny_classifier(GAP())
    predictions, maps = make_maps(classifier, images, {}, replace(CPU, batch_size=4))
    assert maps == {}
    stacked = torch.stack([torch.from_numpy(images[i].image).permute(2, 0, 1) for i in range(11)])
    with torch.no_grad():
        logits = classifier(stacked)
    true = torch.from_numpy(images.class_ids)
    expected_rank = [(row > row[c]).sum().item() for row, c in zip(logits, true, strict=True)]
    assert predictions["class_rank"].tolist() == expected_rank
    assert predictions["image_id"].tolist() == images.image_ids
    assert [list(row) for row in predictions["top5_class_ids"]] == logits.argsort(descending=True).tolist()
    expected = logits.softmax(1)[torch.arange(11), true]
    np.testing.assert_allclose(predictions["true_class_probability"], expected, rtol=1e-5)
    truth = truth_of(predictions)
    assert truth.size(0) == (16, 16)
    assert truth.sizes.shape == (11, 2)
    assert all(np.array_equal(boxes, images[i].boxes) for i, boxes in enumerate(truth.boxes))


def test_a_collapsed_network_is_not_right():
    from wsol.maps.make_maps import _predictions

    assert _predictions(torch.zeros(2, 5), torch.tensor([0, 3]))["class_rank"].tolist() == [4, 4]


def test_the_trunk_runs_once_a_batch_for_all_maps(images):
    classifier = tiny_classifier(GAP())
    calls = []
    classifier.backbone.register_forward_hook(lambda *_: calls.append(1))
    maps = {"cam": CAM(), "grad_cam": GradCAM(), "early": GradCAM("backbone.block1")}
    _, found = make_maps(classifier, images, maps, replace(CPU, batch_size=4))
    assert len(calls) == 3
    assert {name: one.values.shape for name, one in found.items()} == {
        "cam": (11, 8, 8),
        "grad_cam": (11, 8, 8),
        "early": (11, 16, 16),
    }


def test_any_batch_size_gives_the_same_maps(images):
    classifier = tiny_classifier(GAP())
    one, all_at_once = (
        make_maps(classifier, images, {"cam": CAM()}, replace(CPU, batch_size=n))[1]["cam"] for n in (1, 11)
    )
    torch.testing.assert_close(one.activation_maps(), all_at_once.activation_maps(), rtol=1e-3, atol=1e-3)


def test_from_a_map_with_one_bright_cell_to_its_record(images):
    predictions, _ = make_maps(tiny_classifier(GAP()), images, {}, CPU)
    maps = torch.zeros(11, 16, 16)
    maps[:, 4:8, 2:10] = 1  # at the images' own size nothing is interpolated
    stored = StoredMaps.of(predictions["image_id"].tolist(), maps)
    truth = truth_of(predictions)
    truth = GroundTruth(truth.image_ids, truth.class_ids, [np.float32([[2, 4, 10, 12]])] * 11, truth.sizes)
    thresholds = np.array([0.2, 0.8])
    matches = match_maps(stored, truth, largest, thresholds, TIGHT)
    record = make_record(matches, 1, thresholds, predictions, {"name": "tight"})
    assert record.best_iou.tolist() == [[0.5, 0.5]] * 11  # 32 of 64 pixels
    assert record.boxes.tolist() == [[2, 4, 10, 8]] * 11
    assert record.true_boxes.tolist() == [[2, 4, 10, 12]] * 11
    assert record.peak_distance.tolist() == [0] * 11
    assert record.energy_inside.tolist() == [1] * 11
    (point,) = (match_maps(stored, truth, largest, thresholds, TIGHT, point=p) for p in [1])
    assert point.boxes.tolist() == [[[2, 4, 10, 8]]] * 11


def test_a_nan_map_stops_at_once_with_its_method_and_image(images):
    classifier = tiny_classifier(GAP())
    nn.init.constant_(classifier.fc.weight, float("nan"))
    with pytest.raises(ValueError, match="The cam map of image 'test/00000' holds NaN"):
        make_maps(classifier, images, {"cam": CAM()}, CPU)


def test_time_is_reported_of_the_pass_and_of_each_method(images):
    predictions, found = make_maps(tiny_classifier(GAP()), images, {"cam": CAM(), "rise": RISE(masks=40)}, CPU)
    assert predictions.attrs["seconds"] > 0
    assert found["rise"].seconds > found["cam"].seconds > 0
