import os
import shutil
import stat
import tarfile
import zipfile
from types import SimpleNamespace

import pytest

from archives import FILES, MAKERS, contents, special, tar_bytes, zip_bytes
from wsol.data.download.unpack import unpack

MIB = 2**20
LINK = r"has a link, a device or another special file: 'door'"


@pytest.fixture(params=MAKERS)
def make(request, tmp_path):
    def make(files, **kwargs):
        path = tmp_path / f"archive.{request.param}"
        path.write_bytes(MAKERS[request.param](files, **kwargs))
        return path

    return make


def write(tmp_path, contents, name="archive.tar"):
    (tmp_path / name).write_bytes(contents)
    return tmp_path / name


def assert_refused(archive, match, max_bytes=MIB, **kwargs):
    """The archive is refused by name, and leaves nothing, neither in the folder nor beside it."""
    parent = archive.parent
    before = sorted(parent.rglob("*"))
    with pytest.raises(ValueError, match=match) as error:
        unpack(archive, parent / "out", max_bytes=max_bytes, progress=False, **kwargs)
    assert str(archive) in str(error.value)
    assert "nothing was unpacked" in str(error.value)
    assert sorted(parent.rglob("*")) == before


def test_everything_comes_out(make, tmp_path):
    done = unpack(make(FILES), tmp_path / "out", max_bytes=MIB)
    assert contents(tmp_path / "out") == FILES
    assert (done.files, done.size, done.left_out) == (3, 5 + 12 + 8, 0)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("prefix", ["", "./"])
def test_one_folder_of_an_archive(make, tmp_path, prefix):
    done = unpack(make(FILES | {"notes.txt": b"x"}, prefix=prefix), tmp_path / "out", max_bytes=MIB, inside="birds")
    assert contents(tmp_path / "out") == {name.removeprefix("birds/"): body for name, body in FILES.items()}
    assert (done.files, done.left_out) == (3, 1)


def test_the_folder_that_is_asked_for_is_not_there(make):
    assert_refused(make({"fish/a.txt": b"x"}), r"holds no file in a folder 'birds'", inside="birds")


def test_an_archive_of_nothing(make):
    assert_refused(make({}), r"holds no file|is damaged")


@pytest.mark.parametrize("kind", MAKERS)
def test_the_content_decides_the_kind(tmp_path, kind):
    archive = write(tmp_path, MAKERS[kind](FILES), "imagenetv2.tar.gz")
    unpack(archive, tmp_path / "out", max_bytes=MIB)
    assert contents(tmp_path / "out") == FILES


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path):
    archive = write(tmp_path, tar_bytes({"inner.zip": zip_bytes(FILES, compression=zipfile.ZIP_STORED)}))
    assert unpack(archive, tmp_path / "out", max_bytes=MIB).files == 1


def test_folders_without_files_are_made(tmp_path):
    archive = write(tmp_path, tar_bytes({"a/b": special("a/b", tarfile.DIRTYPE), "a/c.txt": b"x"}))
    unpack(archive, tmp_path / "out", max_bytes=MIB)
    assert (tmp_path / "out" / "a" / "b").is_dir()


def test_permissions_are_those_of_new_files(tmp_path):
    old = os.umask(0o022)
    try:
        archive = write(tmp_path, tar_bytes(FILES, mode=0o6777, uid=12345))
        unpack(archive, tmp_path / "out", max_bytes=MIB)
    finally:
        os.umask(old)
    modes = {path.is_dir(): stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").rglob("*")}
    assert modes == {True: 0o755, False: 0o644}
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o755


@pytest.mark.parametrize(
    "name",
    [
        "../out.txt",
        "a/../../out.txt",
        "/etc/out.txt",
        "C:/out.txt",
        "c:out.txt",
        "a/c:out.txt",
        "a\\..\\..\\out.txt",
        "a/..",
    ],
)
def test_a_member_that_would_leave_the_folder(make, name):
    assert_refused(make({"good.txt": b"x", name: b"evil"}), r"has a member that would leave the folder")


def test_such_a_member_is_refused_outside_the_wanted_folder_too(make):
    assert_refused(make(FILES | {"../x": b"evil"}), r"would leave the folder", inside="birds")


def test_a_name_with_a_nul(tmp_path):
    data = zip_bytes({"a.txtX.jpg": b"x"}).replace(b"a.txtX.jpg", b"a.txt\0.jpg")
    assert_refused(write(tmp_path, data, "a.zip"), r"would leave the folder: 'a.txt\\x00.jpg'")


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        (tarfile.SYMTYPE, LINK),
        (tarfile.LNKTYPE, LINK),
        (tarfile.CHRTYPE, LINK),
        (tarfile.BLKTYPE, LINK),
        (tarfile.FIFOTYPE, LINK),
        (b"Z", LINK),
    ],
)
def test_links_and_devices_of_a_tar(tmp_path, kind, match):
    info = special("door", kind, "/etc" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else "")
    assert_refused(write(tmp_path, tar_bytes({"door": info, "door/passwd": b"evil"})), match)


def test_a_file_through_a_symbolic_link(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    data = tar_bytes({"door": special("door", tarfile.SYMTYPE, str(outside)), "door/evil.txt": b"evil"})
    assert_refused(write(tmp_path, data), LINK)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    ("mode", "match"),
    [
        (stat.S_IFLNK | 0o777, LINK),
        (stat.S_IFCHR | 0o666, LINK),
        (stat.S_IFIFO | 0o666, LINK),
    ],
)
def test_links_and_devices_of_a_zip(tmp_path, mode, match):
    info = zipfile.ZipInfo("door")
    info.external_attr = mode << 16
    assert_refused(write(tmp_path, zip_bytes({info: b"/etc"}), "a.zip"), match)


def test_a_bomb(make, tmp_path):
    archive = make({"zeros.bin": bytes(20 * MIB)})
    assert_refused(archive, r"unpacks to more than the 1,048,576 bytes allowed")


def test_many_files_that_are_too_large_together_only(make):
    archive = make({f"{index}.bin": bytes(1000) for index in range(11)})
    assert_refused(archive, r"more than the 10,999 bytes allowed", max_bytes=10_999)
    assert unpack(archive, archive.parent / "out", max_bytes=11_000).files == 11


def test_what_is_left_out_counts_too(make):
    assert_refused(make(FILES | {"zeros.bin": bytes(2 * MIB)}), r"more than the", inside="birds")


@pytest.mark.parametrize("names", [("a.txt", "./a.txt"), ("a", "a/b.txt"), ("a/b.txt", "a")])
def test_a_name_that_comes_twice(make, names):
    assert_refused(make(dict.fromkeys(names, b"x")), r"twice, or as a file and as a folder")


@pytest.mark.parametrize("data", [b"", b"<html>We have moved.</html>", b"\x1f\x8b", b"PK\3\4", b"x" * 2000])
def test_no_archive(tmp_path, data):
    assert_refused(write(tmp_path, data), r"is damaged, or no .tar, .tar.gz or .zip")


def test_no_such_archive(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.tar is missing; download it again"):
        unpack(tmp_path / "nowhere.tar", tmp_path / "out", max_bytes=MIB)


def test_a_folder_that_holds_something_is_left_alone(make, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    archive = make(FILES)
    with pytest.raises(FileExistsError, match=r"out exists already; move it away"):
        unpack(archive, tmp_path / "out", max_bytes=MIB)
    assert contents(tmp_path / "out") == {"mine.txt": b"mine"}


def test_an_empty_folder_is_filled(make, tmp_path):
    (tmp_path / "out").mkdir()
    unpack(make(FILES), tmp_path / "out", max_bytes=MIB)
    assert contents(tmp_path / "out") == FILES


def test_what_a_stopped_run_left_does_not_get_in(make, tmp_path):
    (tmp_path / ".out.unpacking").mkdir()
    (tmp_path / ".out.unpacking" / "half.jpg").write_bytes(b"ha")
    unpack(make(FILES), tmp_path / "out", max_bytes=MIB)
    assert contents(tmp_path / "out") == FILES


def test_no_room(make, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))
    archive = make(FILES)
    with pytest.raises(OSError, match=r"has 10 bytes free"):
        unpack(archive, tmp_path / "out", max_bytes=MIB)
    assert not (tmp_path / "out").exists()
