from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from wsol.data.ground_truth import GroundTruth, same_size
from wsol.data.image_set import ImageSet, prepared_as
from wsol.data.index import Entry
from wsol.data.readers.synthetic import synthetic
from wsol.data.sample import Sample
from wsol.machine import Machine
from wsol.maps.stored_maps import StoredMaps
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.runs.few_shot import (
    FewShotSettings,
    choose_boxed,
    few_shot_supervision,
    most_boxed,
    row_name,
    saliency_maps,
    threshold_images,
)
from wsol.runs.folder import load_classifier, save_classifier
from wsol.scoring.boxes.largest import largest
from wsol.scoring.match_maps import match_maps
from wsol.scoring.protocol import REFERENCE, TIGHT
from wsol.scoring.score import Score
from wsol.scoring.supervision import NOTHING, TEST_BOXES, VAL_BOXES
from wsol.training.augment import augment, augment_with_boxes, crop_boxes
from wsol.training.train import TrainSettings
from wsol.training.with_boxes.saliency import SaliencyNetwork, box_coverage, saliency_loss, train_saliency
from wsol.training.with_boxes.train import BoxTraining, train_on_boxes, training_steps

SETTINGS = TrainSettings(epochs=3, batch_size=8, lr=1e-2)
MACHINE = Machine(Path(), accelerator="cpu", batch_size=2, progress=False)


def image_set(class_ids, boxes=None, size=16):
    """Image i is gray, with a bright square where its box is."""
    boxes = [[[2, 4, 10, 12]]] * len(class_ids) if boxes is None else boxes
    entries = [
        Entry(f"{index}", class_id, np.array(its, np.float32).reshape(-1, 4), f"{index}.png")
        for index, (class_id, its) in enumerate(zip(class_ids, boxes, strict=True))
    ]

    def draw(entry):
        image = np.full((size, size, 3), 60, np.uint8)
        for x0, y0, x1, y1 in entry.boxes.astype(int):
            image[y0:y1, x0:x1] = 220
        return Sample(image, entry.class_id, entry.image_id, entry.boxes)

    return ImageSet(entries, draw, name="toy val")


def squares(count, size=16, seed=0):
    """Images with one square each, 8 pixels wide."""
    corners = np.random.default_rng(seed).integers(0, size - 8, (count, 2))
    return image_set([0] * count, [[[x, y, x + 8, y + 8]] for x, y in corners], size)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return synthetic(
        image_size=16,
        num_classes=3,
        train_images=9,
        val_images=15,
        test_images=6,
        cache_dir=tmp_path_factory.mktemp("few_shot"),
    )


class TestChoice:
    def test_so_many_of_each_class_and_nested(self, splits):
        chosen = {count: choose_boxed(splits.val, count, seed=0) for count in (1, 2, 4, 5)}
        for count, places in chosen.items():
            assert np.bincount(splits.val.class_ids[places]).tolist() == [count] * 3
            assert (np.diff(places) > 0).all()
        assert set(chosen[1]) < set(chosen[2]) < set(chosen[4]) < set(chosen[5])

    def test_the_seed_decides(self, splits):
        choices = {tuple(choose_boxed(splits.val, 2, seed)) for seed in (0, 0, 1, 2, 3)}
        assert 3 <= len(choices) <= 4
        assert choose_boxed(splits.val, 2, 1).tolist() == choose_boxed(splits.val, 2, 1).tolist()

    def test_a_class_is_drawn_from_alone_whatever_the_others(self):
        two = choose_boxed(image_set([0] * 6 + [1] * 6), 2, seed=0)
        one = choose_boxed(image_set([0] * 6), 2, seed=0)
        assert two[:2].tolist() == one.tolist()

    def test_images_without_a_box_are_not_chosen(self):
        val = image_set([0, 0, 0], [[], [[0, 0, 4, 4]], []])
        assert choose_boxed(val, 1, seed=0).tolist() == [1]
        assert most_boxed(val) == 1

    def test_too_few_are_named(self):
        val = image_set([0, 0, 0, 4, 4])
        assert most_boxed(val) == 2
        with pytest.raises(ValueError, match=r"toy val: 3 images .* but class 4 has 2; ask for at most 2"):
            choose_boxed(val, 3, seed=0)
        with pytest.raises(ValueError, match="per_class must be at least 1, got 0"):
            choose_boxed(val, 0, seed=0)

    def test_images_that_were_trained_on_choose_no_threshold(self):
        val = image_set([0] * 4 + [1], [[[0, 0, 4, 4]]] * 3 + [[]] + [[[0, 0, 4, 4]]])
        found = threshold_images(val, np.array([1, 4]))
        assert found.places.tolist() == [0, 2]  # not 3, which has no box
        assert found.text == "trained with the boxes of 2 val images; τ by the 2 other val images"

    def test_unless_there_are_no_others(self):
        found = threshold_images(image_set([0, 0]), np.array([0, 1]))
        assert found.places.tolist() == [0, 1]
        assert "choose τ too" in found.text

    def test_settings(self):
        assert FewShotSettings([1, 5]) == FewShotSettings((1, 5))
        assert row_name(5) == "few_shot_5"
        for wrong in ((), (0, 1), (1, 1), (True,), (1.5,), "5"):
            with pytest.raises(ValueError, match="per_class must hold"):
                FewShotSettings(wrong)
        with pytest.raises(ValueError, match="most_steps must be at least 1"):
            FewShotSettings(most_steps=0)

    @pytest.mark.parametrize(("images", "steps"), [(16, 6), (17, 6), (18, 9), (1, 3)])
    def test_steps_are_those_of_the_run_up_to_a_limit(self, images, steps):
        assert (
            training_steps(images, SETTINGS) == steps
        )  # 3 epochs of batches of 8; a last one of one image is left out
        assert FewShotSettings(most_steps=5).steps(images, SETTINGS) == min(steps, 5)

    @pytest.mark.parametrize(("policy", "chosen"), [("oracle", TEST_BOXES), ("held_out", VAL_BOXES), (0.2, NOTHING)])
    def test_the_ledger_says_that_boxes_trained(self, policy, chosen):
        told = few_shot_supervision(Score(lambda record: 0.0, "largest", policy), TIGHT)
        assert (told.training, told.map_class, told.threshold) == (VAL_BOXES, NOTHING, chosen)
        assert told.oracle == (policy == "oracle")


class TestCoverage:
    def test_half_a_cell_on_paper(self):
        # 8 x 8 pixels, cells of 4 x 4: the box fills the right half of the first cell and a quarter of the one below.
        found = box_coverage(np.array([[2, 0, 4, 6]]), (8, 8), (2, 2))
        assert found.tolist() == [[0.5, 0], [0.25, 0]]

    def test_the_whole_image_and_no_box(self):
        assert (box_coverage(np.array([[-3, -3, 99, 99]]), (8, 12), (2, 3)) == 1).all()
        assert (box_coverage(np.zeros((0, 4)), (8, 12), (2, 3)) == 0).all()
        assert (box_coverage(np.array([[3, 3, 3, 8]]), (8, 12), (2, 3)) == 0).all()  # no width

    def test_what_two_boxes_share_counts_once(self):
        boxes = np.array([[0, 0, 3, 4], [1, 0, 4, 2]])  # 12 + 6 - 4 of 16 pixels
        assert box_coverage(boxes, (4, 4), (1, 1)).tolist() == [[14 / 16]]

    def test_fractions_of_pixels(self):
        assert box_coverage(np.array([[0.5, 0.25, 1.5, 2]]), (4, 4), (1, 1))[0, 0] == pytest.approx(1.75 / 16)

    def test_against_a_fine_mask(self):
        generator = np.random.default_rng(0)
        for count in (1, 2, 5):
            corners = np.sort(generator.integers(0, 43, (count, 2, 2)), axis=1)  # whole pixels of a 42 x 42 image
            boxes = corners.reshape(count, 4)
            mask = np.zeros((42, 42))
            for x0, y0, x1, y1 in boxes:
                mask[y0:y1, x0:x1] = 1
            expected = mask.reshape(7, 6, 6, 7).mean(axis=(1, 3))  # 7 rows and 6 columns of cells
            np.testing.assert_allclose(box_coverage(boxes, (42, 42), (7, 6)), expected, atol=1e-6)


class TestCrops:
    BOX = np.array([[2, 1, 5, 4]], np.float32)

    def test_a_box_goes_along_on_paper(self):
        assert crop_boxes(self.BOX, 1, 1, 4, False).tolist() == [[1, 0, 4, 3]]
        assert crop_boxes(self.BOX, 1, 1, 4, True).tolist() == [[0, 0, 3, 3]]
        assert crop_boxes(self.BOX, 2, 3, 4, False).tolist() == [[0, 0, 2, 2]]  # cut
        assert crop_boxes(self.BOX, 2, 3, 4, True).tolist() == [[2, 0, 4, 2]]
        (gone,) = crop_boxes(self.BOX, 4, 0, 4, False).tolist()
        assert gone[1] == gone[3]
        assert self.BOX.tolist() == [[2, 1, 5, 4]]

    def test_the_images_are_those_of_plain_training(self):
        images = torch.randint(0, 256, (32, 3, 9, 9), dtype=torch.uint8)
        crops, _ = augment_with_boxes(images, [self.BOX] * 32, 6, torch.Generator().manual_seed(3))
        assert torch.equal(crops, augment(images, 6, torch.Generator().manual_seed(3)))

    def test_a_box_stays_around_its_object(self):
        image = torch.zeros(1, 3, 9, 9, dtype=torch.uint8)
        image[:, :, 1:4, 2:5] = 255
        crops, boxes = augment_with_boxes(image.repeat(64, 1, 1, 1), [self.BOX] * 64, 6, torch.Generator())
        for crop, ((x0, y0, x1, y1),) in zip(crops, boxes, strict=True):
            drawn = torch.zeros(6, 6, dtype=torch.uint8)
            drawn[int(y0) : int(y1), int(x0) : int(x1)] = 255
            assert torch.equal(crop[0], drawn)
        assert len({tuple(its[0].tolist()) for its in boxes}) > 8

    def test_what_does_not_fit_is_refused(self):
        images = torch.zeros(2, 3, 6, 6, dtype=torch.uint8)
        with pytest.raises(ValueError, match="Cannot crop 7 x 7"):
            augment_with_boxes(images, [self.BOX] * 2, 7, torch.Generator())
        with pytest.raises(ValueError, match="array of boxes, got 1 for 2 images"):
            augment_with_boxes(images, [self.BOX], 6, torch.Generator())


class TestPreparedAs:
    def test_images_of_val_as_large_as_those_of_train(self):
        val, train = image_set([0, 1, 0]), image_set([0, 1], size=20)
        found = prepared_as(val, replace_load(train, val), np.array([2, 1]))
        assert list(found.image_ids) == ["2", "1"]
        assert found[0].size == (20, 20)
        np.testing.assert_allclose(found[0].boxes, [[2.5, 5, 12.5, 15]])

    def test_what_train_hides_stays_hidden(self, splits):
        found = prepared_as(splits.train, splits.val)
        assert len(found) == 9
        assert all(len(found[index].boxes) == 0 and found[index].mask is None for index in range(9))
        assert len(prepared_as(splits.val, splits.train)[0].boxes) == 1


def replace_load(like, source):
    """A split of the size of one, whose images are read as those of another."""
    prepared = ImageSet(like.entries, source.load, lambda sample: like[0], name="toy train")
    return prepared


class TestSaliency:
    def test_the_loss_on_paper(self):
        logits = torch.tensor([[[0.0, 1.0]]])
        boxes = [np.array([[0, 0, 1, 2]], np.float32)]  # half of the first of two cells of 2 x 2 pixels
        expected = (np.log(2) + np.log1p(np.exp(1))) / 2
        assert saliency_loss(logits, boxes, (2, 4)).item() == pytest.approx(expected)

    def test_it_overfits_five_images(self):
        torch.manual_seed(0)
        images = squares(5)
        network, history = train_saliency(
            small_cnn([6, 10]), images, BoxTraining(SETTINGS, 0, image_size=16, steps=40), MACHINE
        )
        assert history[0]["step"] == 2
        assert history[-1]["step"] == 40
        assert len(history) == 20
        assert history[-1]["loss"] < 0.5 * history[0]["loss"]
        assert not network.training
        maps = saliency_maps(network, images, MACHINE)
        assert maps.values.shape == (5, 8, 8)
        truth = GroundTruth(
            maps.image_ids, np.zeros(5, np.int64), [images[n].boxes for n in range(5)], same_size(5, (16, 16))
        )
        matches = match_maps(maps, truth, largest, np.array([0.2, 0.5]), TIGHT)
        assert matches.best_iou.max(axis=1).min() > 0.5

    def test_maps_are_probabilities_of_the_images_one_by_one(self):
        torch.manual_seed(0)
        network, images = SaliencyNetwork(small_cnn([4])).eval(), squares(3)
        maps = saliency_maps(network, images, MACHINE)
        with torch.no_grad():
            expected = torch.stack(
                [network(torch.from_numpy(images[n].image).permute(2, 0, 1)[None])[0] for n in range(3)]
            )
        torch.testing.assert_close(maps.activation_maps(), expected.sigmoid(), atol=1e-3, rtol=0)
        assert maps.image_ids.tolist() == images.image_ids
        assert isinstance(maps, StoredMaps)

    def test_the_seed_alone_decides_and_weights_are_kept(self, tmp_path):
        images, trained = squares(3), []
        for seed, elsewhere in ((0, 1), (0, 2), (1, 3)):
            torch.manual_seed(5)
            backbone = small_cnn([4])
            torch.manual_seed(elsewhere)
            before = torch.get_rng_state()
            network, history = train_saliency(
                backbone, images, BoxTraining(SETTINGS, seed, image_size=12, steps=4), MACHINE
            )
            assert torch.equal(torch.get_rng_state(), before)
            trained.append(network)
        first, again, other = (
            torch.cat([one.flatten() for one in network.state_dict().values()]) for network in trained
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        save_classifier(tmp_path / "saliency.pt", trained[0], history)
        loaded = SaliencyNetwork(small_cnn([4]))
        assert load_classifier(tmp_path / "saliency.pt", loaded) == history
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), trained[0].parameters(), strict=True))

    def test_one_image_is_enough(self):
        _, history = train_saliency(
            small_cnn([4]), squares(1), BoxTraining(SETTINGS, 0, image_size=16, steps=2), MACHINE
        )
        assert [one["step"] for one in history] == [1, 2]

    def test_a_frozen_trunk_keeps_weights_and_statistics(self):
        backbone = small_cnn([4])
        before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
        settings = replace(SETTINGS, freeze_backbone=True)
        network, _ = train_saliency(backbone, squares(3), BoxTraining(settings, 0, image_size=16, steps=3), MACHINE)
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.backbone.state_dict().items())

    def test_an_image_without_a_box_is_named(self):
        images = image_set([0, 0, 0], [[[0, 0, 4, 4]], [], []])
        with pytest.raises(ValueError, match=r"toy val: 2 of 3 images have no box to learn from, the first is '1'"):
            train_saliency(small_cnn([4]), images, BoxTraining(SETTINGS, 0, image_size=16, steps=1), MACHINE)

    def test_divergence_is_told(self):
        settings = replace(SETTINGS, optimizer="sgd", lr=1e30)
        with pytest.raises(FloatingPointError, match=r"Training on boxes diverged: .* lower train\.lr"):
            train_saliency(small_cnn([4]), squares(3), BoxTraining(settings, 0, image_size=16, steps=9), MACHINE)
        network = SaliencyNetwork(small_cnn([4]))
        with torch.no_grad():
            network.score.bias.fill_(float("nan"))
        with pytest.raises(ValueError, match="SaliencyNetwork for image '0' holds NaN"):
            saliency_maps(network, squares(2), MACHINE)

    def test_no_step_is_refused(self):
        with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
            train_on_boxes(
                SaliencyNetwork(small_cnn([4])), squares(2), saliency_loss, BoxTraining(SETTINGS, 0, 16, steps=0)
            )

    def test_each_image_is_read_equally_often(self):
        reads = []

        class Counted(torch.utils.data.Dataset):
            images = squares(5)

            def __len__(self):
                return 5

            def __getitem__(self, index):
                reads.append(index)
                return self.images[index]

        network, settings = SaliencyNetwork(small_cnn([4])), replace(SETTINGS, batch_size=4)
        train_on_boxes(network, Counted(), saliency_loss, BoxTraining(settings, 0, image_size=16, steps=5), MACHINE)
        assert np.bincount(reads).tolist() == [4] * 5
        passes = np.reshape(reads, (4, 5))
        assert (np.sort(passes, axis=1) == np.arange(5)).all()
        assert len({tuple(one) for one in passes.tolist()}) > 1


def test_reference_protocol_takes_the_maps_too():
    maps = StoredMaps.of(["0"], torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]))
    truth = GroundTruth(maps.image_ids, np.zeros(1, np.int64), [np.array([[8, 0, 16, 8]])], same_size(1, (16, 16)))
    assert match_maps(maps, truth, largest, np.array([0.5]), REFERENCE).best_iou[0, 0] > 0.7
