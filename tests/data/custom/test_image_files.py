import os

import pytest

from trees import write_image
from wsol.data.custom.image_files import check_present, inside


@pytest.mark.parametrize(
    ("name", "path"),
    [("a/b.jpg", "a/b.jpg"), ("./a//b.jpg", "a/b.jpg"), ("a/..b.jpg", "a/..b.jpg"), ("\u00fc b", "\u00fc b")],
)
def test_paths_below_the_folder_are_taken(name, path):
    assert inside(name, "line 1") == path


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a.jpg", "a/../../b.jpg", "C:\\a.jpg", "a\\..\\b.jpg", "\\\\host\\a", "C:a"]
)
def test_paths_out_of_the_folder_are_refused_by_name(name):
    with pytest.raises(ValueError, match=r"line 1: the path .* leaves the folder of the images"):
        inside(name, "line 1")


@pytest.mark.parametrize("name", ["", ".", "a\0b"])
def test_what_is_no_path_is_refused(name):
    with pytest.raises(ValueError, match="names no image"):
        inside(name, "line 1")


def test_missing_images_are_counted_and_the_first_are_named(tmp_path):
    write_image(tmp_path / "a" / "there.jpg")
    names = [("a/there.jpg", "line 1"), ("listed.jpg", "line 2")]
    check_present(tmp_path, names, {"listed.jpg"}, "boxes.csv")
    gone = [(f"gone{place}.jpg", f"line {place}") for place in range(3, 8)]
    message = r"boxes.csv: 5 of 7 images are not in .*: 'gone3.jpg' \(line 3\), .* \(line 5\) and 2 more\. Paths start"
    with pytest.raises(FileNotFoundError, match=message):
        check_present(tmp_path, names + gone, {"listed.jpg"}, "boxes.csv")


def test_backslashes_between_folders_are_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Write / and not \\ between folders"):
        check_present(tmp_path, [("a\\b.jpg", "line 2")], set(), "boxes.csv")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    write_image(tmp_path / "a" / "b.jpg")
    (tmp_path / "a").chmod(0)
    try:
        with pytest.raises(PermissionError, match=r"b.jpg may not be looked at; change the permissions"):
            check_present(tmp_path, [("a/b.jpg", "line 2")], set(), "boxes.csv")
    finally:
        (tmp_path / "a").chmod(0o700)
