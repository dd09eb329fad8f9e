from pathlib import Path

import pytest

from wsol.data.custom.splits import find_layout, split_name


def test_splits_are_called_train_val_and_test():
    assert split_name("val", "line 2") == "val"
    with pytest.raises(ValueError, match=r"line 2: expected the split train, val or test, got 'valid' \(val\?\)"):
        split_name("valid", "line 2")
    with pytest.raises(ValueError, match=r"line 2: .*got ''; correct it"):
        split_name("", "line 2")


def test_folders_of_splits_hold_folders_of_classes():
    layout = find_layout(Path("root"), ["", "test", "train"])
    assert layout.by_split
    assert layout.split_of("test/cat/a.jpg") == "test"
    assert layout.label_of("test/cat/young/a.jpg") == "cat"
    assert layout.label_of("test/a.jpg") == ""
    assert layout.split_of("a.jpg") is None


def test_other_folders_are_classes():
    layout = find_layout(Path("root"), ["bus", "train"])  # two vehicles
    assert not layout.by_split
    assert layout.label_of("train/a.jpg") == "train"
    assert layout.split_of("train/a.jpg") is None
    assert find_layout(Path("root"), [""]).label_of("a.jpg") == ""


@pytest.mark.parametrize("folders", [["test", "train", "valid"], ["Test", "Train"], ["cats", "test", "train"]])
def test_what_looks_like_splits_but_is_not_quite_is_named(folders):
    with pytest.raises(ValueError, match=r"root: the folders .*(T|t)rain.* look like splits, .*rename or move"):
        find_layout(Path("root"), folders)
