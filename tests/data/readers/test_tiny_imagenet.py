import numpy as np
import pytest

from trees import REAL, edit, make_tiny_imagenet
from wsol.data.readers.tiny_imagenet import tiny_imagenet


def load_all(root):
    splits = tiny_imagenet(root, val_fraction=0.2)
    for split in (splits.train, splits.val, splits.test):
        split.preload()
    return splits


@pytest.fixture
def folder(tmp_path):
    return make_tiny_imagenet(tmp_path)


def test_reads_the_official_layout(folder):
    splits = load_all(folder.parent)
    assert splits.class_names == ("n01 goldfish", "n02 Egyptian cat")
    assert [len(one) for one in (splits.train, splits.val, splits.test)] == [8, 2, 2]
    assert splits.test[0].class_id == 0
    assert splits.test[0].boxes.tolist() == [[1, 2, 32, 41]]  # the last pixel counts
    assert splits.val[0].boxes.tolist() == [[0, 10, 63, 64]]
    assert splits.train[0].image.shape == (72, 72, 3)


def test_words_only_name_classes(folder):
    (folder / "words.txt").unlink()
    assert load_all(folder).class_names == ("n01", "n02")


def test_a_missing_root_says_what_to_download(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No Tiny ImageNet at .*Download .*tiny-imagenet-200.zip"):
        tiny_imagenet(tmp_path)


def test_no_class_folder_at_all(folder, tmp_path):
    (folder / "wnids.txt").write_text("n99\n")
    with pytest.raises(FileNotFoundError, match=r"None of the classes in .*wnids.txt"):
        tiny_imagenet(folder)


@pytest.mark.parametrize(
    ("name", "line", "text", "message"),
    [
        ("train/n01/n01_boxes.txt", 3, "n01_2.JPEG\t0\t10\t62", r"n01_boxes.txt, line 3: expected 5 fields, got 4"),
        (
            "train/n01/n01_boxes.txt",
            3,
            "n01_9.JPEG\t0\t1\t62\t63",
            r"1 of 12 images is missing: .*n01_9.JPEG; unpack",
        ),
        ("val/val_annotations.txt", 1, "val_0.JPEG\tn77\t1\t2\t3\t4", r"line 1: class 'n77' is not in wnids.txt"),
        ("val/val_annotations.txt", 1, "val_0.JPEG\tn01\t1\t2\t3\tx", r"val_annotations.txt, line 1: expected numbers"),
        ("val/val_annotations.txt", 1, "val_0.JPEG\tn01\t9\t2\t3\t4", r"val_annotations.txt, line 1: the box .* empty"),
        ("val/val_annotations.txt", 1, "val_0.JPEG\tn01\t64\t2\t70\t4", r"val_annotations.txt, line 1: .* nothing ins"),
    ],
)
def test_a_bad_line_is_named_with_file_and_remedy(folder, name, line, text, message):
    edit(folder / name, line, text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_all(folder)


@pytest.mark.data
@pytest.mark.skipif(not (REAL / "tiny-imagenet-200").is_dir(), reason="no Tiny ImageNet under WSOL_DATA_ROOT")
def test_the_real_set():
    splits = tiny_imagenet(REAL)
    splits.test.preload()
    boxes = np.concatenate([splits.test[i].boxes for i in range(len(splits.test))])
    assert len(boxes) == len(splits.test)
    assert boxes.max() == 64
