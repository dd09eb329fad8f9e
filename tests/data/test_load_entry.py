"""An image file and its annotations, brought together."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsol.data.image_set import load_entry
from wsol.data.index import Entry


def smooth(width, height):
    """A photograph-like image: JPEG keeps it."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, (x + y) / 2], axis=2).astype(np.uint8))


def entry(path, box=(8, 4, 40, 24), **kwargs):
    return Entry("one", 0, np.array([box], np.float32), path, origin="boxes.txt, line 3", **kwargs)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a.jpg"
    smooth(80, 60).save(path, quality=95)
    return path


@pytest.fixture
def turned(tmp_path):
    """Stored as 80 x 60, upright 60 x 80."""
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    smooth(80, 60).save(path, exif=exif, quality=95)
    return path


def test_a_box_comes_with_its_image(photo):
    sample = load_entry(entry(photo, size=(60, 80)))
    assert sample.size == (60, 80)
    assert sample.boxes.tolist() == [[8, 4, 40, 24]]


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((8, 4, 8, 24), r"boxes\.txt, line 3: the box \(8, 4, 8, 24\) .* is empty, which is 80 x 60"),
        ((8, 4, 7, 24), r"is empty"),
        ((80, 4, 82, 24), r"of image one has nothing inside the image, which is 80 x 60; correct it, or take"),
        ((8, -9, 40, 0), r"has nothing inside"),
    ],
)
def test_a_box_that_cannot_be_is_named(photo, box, message):
    with pytest.raises(ValueError, match=message):
        load_entry(entry(photo, box))


@pytest.mark.parametrize(
    ("box", "clipped"),
    [((8, 4, 92, 24), [8, 4, 80, 24]), ((-1.5, -30, 40, 24), [0, 0, 40, 24]), ((-1, -1, 81, 61), [0, 0, 80, 60])],
)
def test_a_box_that_reaches_out_is_clipped(photo, box, clipped):
    assert load_entry(entry(photo, box)).boxes.tolist() == [clipped]


def test_a_box_of_several_is_named_with_its_own_line(photo):
    boxes = np.array([[8, 4, 40, 24], [90, 4, 99, 24]], np.float32)
    bad = Entry("one", 0, boxes, photo, origin="a.txt, line 3", box_origins=("a.txt, line 3", "a.txt, line 9"))
    with pytest.raises(ValueError, match=r"a\.txt, line 9: the box \(90, 4, 99, 24\)"):
        load_entry(bad)


def test_an_image_of_another_size_than_its_annotations_say_is_named(photo):
    with pytest.raises(
        ValueError, match=r"boxes\.txt, line 3: the annotations state .* 50 x 60 pixels, but it has 80 x"
    ):
        load_entry(entry(photo, size=(60, 50)))


def test_a_turned_image_is_upright_unless_its_annotations_are_of_the_stored_pixels(turned):
    assert load_entry(entry(turned)).size == (80, 60)
    assert load_entry(entry(turned, size=(80, 60))).size == (80, 60)
    stored = load_entry(entry(turned, size=(60, 80)))
    assert stored.size == (60, 80)
    assert int(stored.image[0, -1, 0]) > 200  # the first channel grows to the right, as it was stored


class TestReduced:
    def test_boxes_masks_and_points_shrink_with_the_image(self, photo, tmp_path):
        mask = np.zeros((60, 80), np.uint8)
        mask[4:24, 8:40] = 255
        Image.fromarray(mask).save(tmp_path / "m.png")
        whole = entry(photo, mask_paths=(tmp_path / "m.png",), part_points={"eye": (20.0, 10.0)})
        sample = load_entry(whole, at_least=(20, 20))
        assert sample.size == (30, 40)
        assert sample.boxes.tolist() == [[4, 2, 20, 12]]
        assert sample.mask.shape == (30, 40)
        assert sample.mask[2:12, 4:20].all()
        assert sample.mask.sum() == 10 * 16
        assert sample.part_points["eye"].tolist() == [10, 5]

    def test_an_image_too_small_for_it_comes_as_it_is(self, photo):
        np.testing.assert_array_equal(load_entry(entry(photo), at_least=(31, 31)).image, load_entry(entry(photo)).image)

    @pytest.mark.parametrize("right", [80, 82])
    def test_boxes_are_clipped_to_the_whole_image(self, photo, right):
        assert load_entry(entry(photo, (60, 40, right, 60)), at_least=(20, 20)).boxes.tolist() == [[30, 20, 40, 30]]

    def test_a_turned_image_with_annotations_of_the_stored_pixels_is_decoded_whole(self, turned):
        assert load_entry(entry(turned, size=(60, 80)), at_least=(20, 20)).size == (60, 80)


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.jpg is missing"):
        load_entry(entry(Path(tmp_path, "none.jpg")))
