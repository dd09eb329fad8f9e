"""Runs that are scored against masks."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from metadata_trees import make_masks
from trees import make_tiny_imagenet
from wsol.comparison.comparison import measure, read_comparisons
from wsol.comparison.saved_maps import read_scored_maps
from wsol.data.ground_truth import IGNORED, OBJECT
from wsol.data.masks import true_masks
from wsol.data.readers.openimages import openimages
from wsol.data.readers.synthetic import synthetic
from wsol.data.readers.tiny_imagenet import tiny_imagenet
from wsol.machine import Machine
from wsol.maps.methods.cam import CAM
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.report.section import write_section
from wsol.runs.experiment import Evaluation, Experiment
from wsol.runs.folder import load_maps, load_pixel_record, read_rows
from wsol.runs.pipeline import run_experiment
from wsol.scoring.boxes.largest import largest
from wsol.scoring.protocol import TIGHT
from wsol.scoring.record import PixelRecord
from wsol.scoring.score import Score
from wsol.scoring.score_map import to_score_maps
from wsol.scoring.scores.gt_known_loc import gt_known_loc
from wsol.scoring.scores.px_ap import px_ap
from wsol.scoring.scores.top_k_cls import top_k_cls
from wsol.training.train import TrainSettings

TAUS = (0.0, 0.25, 0.5, 0.75)
PIXELS = {
    "px_ap": Score(partial(px_ap), "pixels", None, reads_map=True),
    "top1_cls": Score(partial(top_k_cls, k=1), "largest", None),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def birds(tmp_path):
    return synthetic(
        image_size=16, num_classes=4, train_images=24, val_images=12, test_images=16, cache_dir=tmp_path / "birds"
    )


def run(folder, splits, scores=PIXELS, size=16):
    built = []

    def build():
        built.append(1)
        return Classifier(small_cnn(channels=(4, 6)), GAP(), splits.num_classes)

    experiment = Experiment(
        data="made_up",
        backbone="tiny",
        pooling="gap",
        seed=0,
        settings={"data": {}, "backbone": {}, "pooling": {}},
        train=TrainSettings(epochs=1, batch_size=8),
        image_size=size,
    )
    evaluation = Evaluation(maps={"cam": CAM()}, boxes={"largest": largest}, scores=scores, thresholds=TAUS)
    machine = Machine(folder / "results", accelerator="cpu", progress=False)
    return run_experiment(experiment, splits, build, evaluation, machine), built


def by_definition(score_maps, masks):
    """PxAP of Choe et al., threshold by threshold over all pixels that count."""
    scores = np.concatenate([score_map[mask != IGNORED] for score_map, mask in zip(score_maps, masks, strict=True)])
    truth = np.concatenate([mask[mask != IGNORED] == OBJECT for mask in masks])
    area, recall_before = 0.0, 0.0
    for tau in (1.0, *reversed(TAUS)):
        found = scores >= tau
        hits = (found & truth).sum()
        recall = hits / truth.sum()
        area += (hits / found.sum() if found.any() else 0.0) * (recall - recall_before)
        recall_before = recall
    return area


def test_px_ap_of_a_run_is_that_of_all_pixels_by_definition(tmp_path, birds):
    rows, _ = run(tmp_path, birds)
    (path,) = (tmp_path / "results" / "runs").glob("made_up-tiny-*/maps/test-cam-*.npz")
    ids = list(birds.test.image_ids)
    score_maps = to_score_maps(load_maps(path).activation_maps(), (16, 16), TIGHT, ids)
    read = true_masks(birds.test)
    expected = by_definition(score_maps, [read(index, (16, 16)) for index in range(len(ids))])
    told = rows.set_index(["map", "score"])["value"]
    assert told["cam", "px_ap"] == pytest.approx(expected, abs=1e-12)
    assert 0 < expected < 1


def test_the_centred_gaussian_is_scored_and_the_whole_frame_is_no_map(tmp_path, birds):
    run(tmp_path, birds)
    (path,) = (tmp_path / "results" / "runs").glob("made_up-baselines-*/scores-*.csv")
    rows = read_rows(path).set_index(["map", "score"])
    assert ("center_gaussian", "px_ap") in rows.index
    assert ("whole_frame", "px_ap") not in rows.index


def test_the_same_again_makes_nothing(tmp_path, birds):
    first, _ = run(tmp_path, birds)
    (path,) = (tmp_path / "results" / "runs").glob("made_up-tiny-*/records/test-cam-pixels-*.parquet")
    written = path.stat().st_mtime_ns
    second, built = run(tmp_path, birds)
    assert path.stat().st_mtime_ns == written
    assert not built
    assert second.equals(first)


def test_a_report_reads_the_same_number_image_by_image(tmp_path, birds):
    rows, _ = run(tmp_path, birds)
    (scored,) = read_scored_maps(tmp_path / "results", rows[rows["map"] == "cam"])
    scores = {score.name: score for score in scored.outcomes(PIXELS)}
    assert set(scores) == {"px_ap", "top1_cls"}  # every record contains the classes
    assert scores["px_ap"].image_ids.tolist() == list(birds.test.image_ids)
    values = rows.set_index(["map", "score"])["value"]
    assert scores["px_ap"].outcomes.value() == pytest.approx(values["cam", "px_ap"], abs=1e-12)


def test_masks_without_boxes_are_enough(tmp_path):
    make_masks(tmp_path)
    splits = openimages(tmp_path, image_size=32, train_size=32)
    rows, _ = run(tmp_path, splits, size=32)
    assert rows["score"].tolist() == ["px_ap", "top1_cls"]
    (path,) = (tmp_path / "results" / "runs").glob("made_up-tiny-*/records/test-cam-pixels-*.parquet")
    record = load_pixel_record(path)
    mask = true_masks(splits.test)(0, (32, 32))
    assert IGNORED in mask
    assert record.histograms[0].sum() == (mask != IGNORED).sum()  # every pixel that counts, once
    assert record.histograms[0, 1].sum() == (mask == OBJECT).sum()


def test_a_report_shows_what_there_is_of_masks_without_boxes(tmp_path):
    make_masks(tmp_path)
    run(tmp_path, openimages(tmp_path, image_size=32, train_size=32), size=32)
    (comparison,) = read_comparisons(tmp_path / "results")
    lines = comparison.lines(tmp_path / "results")
    written = write_section(tmp_path / "results", comparison, lines, measure(lines))
    assert any("px_ap" in str(column) for column in written.table.columns)
    assert written.section.gallery is None  # there is no box to show


def test_scores_that_read_boxes_are_refused_before_training_where_there_are_none(tmp_path):
    make_masks(tmp_path)
    splits = openimages(tmp_path, image_size=32, train_size=32)
    scores = {**PIXELS, "gt_known": Score(gt_known_loc, "largest", "held_out")}
    with pytest.raises(ValueError, match=r"openimages val has no boxes, .*: gt_known\. .* choose scores=pixels"):
        run(tmp_path, splits, scores, size=32)
    assert not (tmp_path / "results" / "runs").exists()


def test_scores_that_read_masks_are_refused_before_training_where_there_are_none(tmp_path):
    make_tiny_imagenet(tmp_path)
    with pytest.raises(ValueError, match=r"tiny_imagenet test has no masks, .*: px_ap; leave them out"):
        run(tmp_path, tiny_imagenet(tmp_path), size=64)
    assert not (tmp_path / "results" / "runs").exists()


def test_px_ap_without_any_object_is_not_a_number():
    record = PixelRecord(
        image_ids=np.array(["a"]),
        class_ids=np.zeros(1, np.int64),
        class_rank=np.zeros(1, np.int64),
        histograms=np.array([[[5, 1, 0], [0, 0, 0]]], np.int32),
        thresholds=np.array([0.0, 0.5]),
    )
    assert np.isnan(px_ap(record))
    on_paper = replace(record, histograms=np.array([[[6, 0, 0], [0, 0, 2]]], np.int32))
    assert px_ap(on_paper) == 1
