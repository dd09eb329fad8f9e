import numpy as np
import pytest
from PIL import Image

from trees import edit, make_metadata
from wsol.data.annotations.find import find_truth
from wsol.data.annotations.metadata import read_metadata
from wsol.data.ground_truth import BACKGROUND, IGNORED, OBJECT


@pytest.fixture
def folder(tmp_path):
    return make_metadata(tmp_path / "metadata" / "CUB")


def test_one_split_as_it_stands_there(folder):
    truth = read_metadata(folder / "test")
    assert truth.image_ids.tolist() == ["a/one.jpg", "a/two.jpg", "b/three.jpg"]
    assert truth.class_ids.tolist() == [0, 0, 1]
    assert truth.sizes.tolist() == [[30, 40], [50, 60], [20, 20]]
    assert [boxes.tolist() for boxes in truth.boxes] == [
        [[4, 3, 20, 15]],
        [[0, 0, 60, 50], [10, 10, 20, 20]],
        [[5, 5, 6, 9]],
    ]
    assert truth.has_boxes
    assert truth.read_mask is None


def test_it_is_recognized_with_and_without_the_splits_folder(folder):
    for source in (folder, folder / "test"):
        assert len(find_truth(source, "test")) == 3


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
def test_line_endings_and_a_byte_order_mark_do_not_matter(folder, ending):
    for path in (folder / "test").glob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_text().replace("\n", ending).encode())
    assert read_metadata(folder / "test").image_ids[0] == "a/one.jpg"


@pytest.mark.parametrize(
    ("file", "line", "text", "message"),
    [
        ("image_ids", 2, "a/one.jpg", "each of them once"),
        ("image_ids", 2, "a/none.jpg", "class_labels.txt says nothing of image 'a/none.jpg'"),
        ("class_labels", 1, "a/one.jpg,bird", "class_labels.txt, line 1: expected a class id"),
        ("class_labels", 1, "a/one.jpg", "class_labels.txt, line 1: expected 2 fields, got 1"),
        ("image_sizes", 3, "b/three.jpg,0,20", "image_sizes.txt, line 3: expected width and height"),
        ("image_sizes", 3, "a/two.jpg,3,20", "image_sizes.txt, line 3: 'a/two.jpg' is given a second time"),
        ("localization", 1, "a/one.jpg,4,3,x,15", "localization.txt, line 1: expected numbers"),
        ("localization", 1, "a/one.jpg,20,3,4,15", "localization.txt, line 1: expected x0,y0,x1,y1 with x0 <= x1"),
        (
            "localization",
            3,
            "a/two.jpg,60,0,70,9",
            "localization.txt, line 3: the box .* of image a/two.jpg has nothing",
        ),
        ("localization", 1, None, "localization.txt says nothing of image 'a/one.jpg'"),
    ],
)
def test_what_is_malformed_is_named(folder, file, line, text, message):
    edit(folder / "test" / f"{file}.txt", line, text)
    with pytest.raises(ValueError, match=message):
        read_metadata(folder / "test")


@pytest.mark.parametrize("file", ["class_labels", "image_sizes", "localization"])
def test_a_missing_file_is_named(folder, file):
    (folder / "test" / f"{file}.txt").unlink()
    with pytest.raises(FileNotFoundError, match=f"{file}.txt"):
        read_metadata(folder / "test")


class TestMasks:
    @pytest.fixture
    def masked(self, folder, tmp_path):
        """One image with two objects and an ignored region that overlaps one, one with a single object."""
        (folder / "test" / "image_ids.txt").write_text("a/one.jpg\na/two.jpg\n")
        (folder / "test" / "image_sizes.txt").write_text("")
        (folder / "test" / "localization.txt").write_text(
            "a/one.jpg,m/1.png,m/i.png\na/one.jpg,m/2.png,\na/two.jpg,m/3.png,\n"
        )
        for name, box in {"1": (0, 0, 2, 2), "2": (4, 0, 6, 2), "i": (1, 1, 5, 4), "3": (0, 0, 6, 4)}.items():
            mask = np.zeros((4, 6), np.uint8)
            mask[box[1] : box[3], box[0] : box[2]] = 1  # above 0.5 is set, as in the field's evaluation
            (tmp_path / "m").mkdir(exist_ok=True)
            Image.fromarray(mask).save(tmp_path / "m" / f"{name}.png")
        return folder / "test"

    def test_objects_are_joined_and_what_is_ignored_yields_to_them(self, masked, tmp_path):
        truth = read_metadata(masked, tmp_path)
        assert not truth.has_boxes
        assert truth.sizes.tolist() == [[4, 6], [4, 6]]
        mask = truth.read_mask(0, (4, 6))
        assert set(np.unique(mask)) == {BACKGROUND, OBJECT, IGNORED}
        assert (mask == OBJECT).sum() == 8
        assert (mask[1:4, 1:5] == IGNORED).sum() == 12 - 2
        assert (truth.read_mask(1, (4, 6)) == OBJECT).all()

    def test_masks_are_resized_as_opencv_does_it(self, masked, tmp_path):
        import cv2

        truth = read_metadata(masked, tmp_path)
        small = np.asarray(Image.open(tmp_path / "m" / "1.png")) | np.asarray(Image.open(tmp_path / "m" / "2.png"))
        for size in ((224, 224), (3, 4), (7, 5)):
            expected = cv2.resize(small, size[::-1], interpolation=cv2.INTER_NEAREST)
            np.testing.assert_array_equal(truth.read_mask(0, size) == OBJECT, expected == 1)

    def test_where_they_lie_must_be_said_and_be_right(self, masked, tmp_path):
        with pytest.raises(ValueError, match="--masks"):
            read_metadata(masked)
        with pytest.raises(FileNotFoundError, match=r"m/1\.png"):
            read_metadata(masked, tmp_path / "elsewhere")
