import os

import pytest

from wsol.data.image_tree import list_images

LONG_AGO = 1_000_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        os.utime(folder, (LONG_AGO, LONG_AGO))
    return root


def test_lists_images_of_all_suffixes_by_folder(tmp_path):
    root = make(tmp_path / "a", "b/2.JPEG", "b/1.png", "a/deep/er/x.webp", "top.jpg", "b/notes.txt", "c/empty.csv")
    tree = list_images(root)
    assert list(tree.files) == ["a/deep/er/x.webp", "b/1.png", "b/2.JPEG", "top.jpg"]
    assert tree.folders == ("", "a", "b")
    assert [tree.folders[one] for one in tree.folder_ids] == ["a", "b", "b", ""]


def test_a_prefix_stands_before_every_path(tmp_path):
    root = make(tmp_path / "a", "b/1.png", "c/2.png")
    for _ in range(2):  # made, and from the cache
        tree = list_images(root, "train/")
        assert list(tree.files) == ["train/b/1.png", "train/c/2.png"]
        assert tree.folders == ("b", "c")
    assert list(list_images(root).files) == ["b/1.png", "c/2.png"]


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    assert list(list_images(make(tmp_path / "a", "b/._1.jpg", ".cache/2.jpg", "b/3.jpg")).files) == ["b/3.jpg"]


def test_of_an_empty_folder_is_empty(tmp_path):
    tree = list_images(make(tmp_path / "a", "b/notes.txt"))
    assert len(tree.files) == len(tree.folder_ids) == 0
    assert tree.folders == ()


def test_linked_folders_are_followed_and_loops_end(tmp_path):
    root = make(tmp_path / "a", "b/1.jpg")
    make(tmp_path / "elsewhere", "2.jpg")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    (root / "b" / "up").symlink_to(root)
    assert list(list_images(root).files) == ["b/1.jpg", "c/2.jpg"]


def test_a_folder_is_listed_by_its_own_name_and_not_by_a_links(tmp_path):
    root = make(tmp_path / "a", "z/real/1.jpg", "y/2.jpg")
    (root / "y" / "link").symlink_to(root / "z" / "real")
    (root / "b").symlink_to(root / "z")
    assert list(list_images(root).files) == ["y/2.jpg", "z/real/1.jpg"]


def test_a_second_look_reads_no_folder_until_one_changes(tmp_path, monkeypatch):
    root = make(tmp_path / "a", "b/1.jpg", "c/2.jpg")
    list_images(root)
    with monkeypatch.context() as patch:
        patch.setattr("os.scandir", None)
        assert list(list_images(root).files) == ["b/1.jpg", "c/2.jpg"]
    (root / "c" / "3.jpg").touch()
    os.utime(root / "c", (LONG_AGO + 1, LONG_AGO + 1))
    assert list(list_images(root).files) == ["b/1.jpg", "c/2.jpg", "c/3.jpg"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No folder of images at .*nowhere"):
        list_images(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    root = make(tmp_path / "a", "b/1.jpg")
    (root / "b").chmod(0)
    try:
        with pytest.raises(PermissionError, match="b may not be read; change its permissions"):
            list_images(root)
    finally:
        (root / "b").chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="names are UTF-16 there")
def test_a_name_that_is_not_utf_8_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    try:
        os.close(os.open(os.fsencode(tmp_path / "a") + b"/\xff.jpg", os.O_CREAT | os.O_WRONLY))
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(ValueError, match=r"udcff\.jpg' in .* has a name that is not UTF-8; rename it"):
        list_images(tmp_path / "a")
