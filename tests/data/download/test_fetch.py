import hashlib
import re
from urllib.parse import urlsplit

import pytest

from archives import FILES, contents, tar_bytes
from http_server import Answer, FileServer
from wsol.data.download.catalog import CATALOG, RemoteFile, Source
from wsol.data.download.fetch import fetch, find_source, is_present

ARCHIVE = tar_bytes(FILES | {"notes.txt": b"x"})
TEXT = b"a/one.jpg,4,3,20,15\n"


def sha256(body):
    return hashlib.sha256(body).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with FileServer() as server:
        server.bodies = {"/birds.tar": ARCHIVE, "/boxes.txt": TEXT}
        yield server


@pytest.fixture
def source(server):
    birds = RemoteFile(f"{server.url}/birds.tar", "birds", sha256(ARCHIVE), size=len(ARCHIVE), max_bytes=2**20)
    boxes = RemoteFile(f"{server.url}/boxes.txt", "metadata/birds/val/boxes.txt", sha256(TEXT), size=len(TEXT))
    return Source("birds", "Birds", "Some birds.", "none", (birds, boxes), {"images": 2})


def get(source, root, **kwargs):
    return fetch(source, root, progress=False, wait=lambda seconds: None, **kwargs)


def test_a_data_set_is_downloaded_and_unpacked_and_the_archive_removed(source, tmp_path):
    root = tmp_path / "data"
    lines = get(source, root)
    assert contents(root / "birds") == {name.removeprefix("birds/"): body for name, body in FILES.items()}
    assert (root / "metadata" / "birds" / "val" / "boxes.txt").read_bytes() == TEXT
    assert sorted(path.name for path in root.iterdir()) == [".downloads", "birds", "metadata"]
    assert [path.name for path in (root / ".downloads").iterdir()] == [".birds.lock"]
    assert lines == [
        f"birds.tar: downloaded, {len(ARCHIVE):,} bytes; sha256 is right.",
        f"Unpacked to {root / 'birds'}: 3 files, 25 bytes.",
        "Left out of birds.tar: 1 that lie outside its folder birds.",
        f"Removed {root / '.downloads' / 'birds' / 'birds.tar'}.",
        "boxes.txt: downloaded, 20 bytes; sha256 is right.",
        f"Put at {root / 'metadata' / 'birds' / 'val' / 'boxes.txt'}.",
    ]


def test_the_second_time_nothing_is_done(source, server, tmp_path):
    get(source, tmp_path)
    asked = len(server.requests)
    lines = get(source, tmp_path)
    assert len(server.requests) == asked
    assert lines == [
        f"{tmp_path / 'birds'} exists already.",
        f"{tmp_path / 'metadata' / 'birds' / 'val' / 'boxes.txt'} exists already.",
    ]


def test_a_folder_that_is_there_is_left_alone_whatever_it_holds(source, server, tmp_path):
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "mine.txt").write_text("mine")
    get(source, tmp_path)
    assert contents(tmp_path / "birds") == {"mine.txt": b"mine"}
    assert [path for path, _ in server.requests] == ["/boxes.txt"]


def test_a_single_file_of_other_contents_is_replaced_and_that_is_said(source, tmp_path):
    boxes = tmp_path / "metadata" / "birds" / "val" / "boxes.txt"
    boxes.parent.mkdir(parents=True)
    boxes.write_bytes(b"a/one.jpg,4,3,20,99\n")
    lines = get(source, tmp_path)
    assert boxes.read_bytes() == TEXT
    kept = boxes.with_name("boxes.txt.before")
    assert f"{boxes} is not the published file (size or checksum); replaced, and kept as {kept}." in lines
    assert kept.read_bytes() == b"a/one.jpg,4,3,20,99\n"


def test_archives_can_be_kept_and_are_used_again(source, server, tmp_path):
    get(source, tmp_path, keep=True)
    assert (tmp_path / ".downloads" / "birds" / "birds.tar").read_bytes() == ARCHIVE
    (tmp_path / "birds" / "boxes.txt").unlink()
    (tmp_path / "birds").rename(tmp_path / "elsewhere")
    lines = get(source, tmp_path, keep=True)
    assert [path for path, _ in server.requests].count("/birds.tar") == 1
    assert lines[0] == f"birds.tar: was in .downloads, {len(ARCHIVE):,} bytes; sha256 is right."


def test_an_archive_that_was_put_there_by_hand_is_used(source, server, tmp_path):
    server.default = Answer(status=404)
    with pytest.raises(ConnectionError, match=r"HTTP 404") as error:
        get(source, tmp_path)
    path = tmp_path / ".downloads" / "birds" / "birds.tar"
    assert f"download it by hand to {path} and run the command again" in str(error.value)
    path.write_bytes(ARCHIVE)
    server.default = Answer()
    get(source, tmp_path)
    assert [path for path, _ in server.requests] == ["/birds.tar", "/boxes.txt"]


def test_a_download_that_was_cut_off_goes_on_in_the_next_call(source, server, tmp_path):
    server.script.append(Answer(drop_after=5000))
    server.default = Answer(status=503)
    with pytest.raises(ConnectionError):
        get(source, tmp_path)
    assert not (tmp_path / "birds").exists()
    server.default = Answer()
    get(source, tmp_path)
    assert "bytes=5000-" in server.ranges
    assert (tmp_path / "birds" / "boxes.txt").is_file()


def test_an_archive_that_cannot_be_unpacked_makes_no_folder(source, server, tmp_path):
    server.bodies["/birds.tar"] = moved = b"<html>We have moved.</html>"
    page = RemoteFile(source.files[0].url, "birds", sha256(moved), len(moved), max_bytes=2**20)
    with pytest.raises(ValueError, match=r"birds.tar is damaged, or no .tar"):
        get(Source("birds", "Birds", "Some birds.", "none", (page,), note="Mind the gap."), tmp_path)
    assert not (tmp_path / "birds").exists()


def test_the_note_comes_last(source, tmp_path):
    noted = Source("birds", "Birds", "Some birds.", "none", source.files[1:], note="Mind the gap.")
    assert get(noted, tmp_path)[-1] == "Mind the gap."


def test_wrong_bytes_make_no_folder(source, server, tmp_path):
    server.bodies["/birds.tar"] = bytes(len(ARCHIVE))
    with pytest.raises(ValueError, match=r"brought sha256"):
        get(source, tmp_path)
    assert not (tmp_path / "birds").exists()


@pytest.mark.parametrize("name", ["imagenet", "cubv2", "openimages30k"])
def test_what_cannot_be_downloaded_is_explained(tmp_path, name):
    with pytest.raises(ValueError, match=r"cannot be fetched: it") as error:
        fetch(name, tmp_path / "data")
    assert f"{tmp_path / 'data'}/" in str(error.value)
    assert "https://" in str(error.value)
    assert not (tmp_path / "data").exists()


def test_an_unknown_name_lists_all(tmp_path):
    with pytest.raises(ValueError, match=r"There is no data set 'cubs'; choose from cub, cubv2, .*openimages30k"):
        fetch("cubs", tmp_path)
    with pytest.raises(ValueError, match=r"choose from"):
        find_source("")


def test_a_metadata_file_is_present_only_with_its_checksum(tmp_path):
    file = CATALOG["cubv2_boxes"].files[0]
    target = tmp_path / file.target
    target.parent.mkdir(parents=True)
    target.write_bytes(bytes(file.size))
    assert not is_present(file, tmp_path)


@pytest.mark.parametrize("source", CATALOG.values(), ids=list(CATALOG))
def test_every_entry_is_complete(source):
    assert CATALOG[source.name] is source
    assert source.title
    assert source.what.endswith(".")
    assert source.terms
    assert source.counts
    assert "DATA" in source.by_hand
    assert source.fetchable == bool(source.files)
    for file in source.files:
        assert urlsplit(file.url).scheme in ("http", "https")
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.max_bytes is None or file.max_bytes > 2 * file.size
        assert not file.target.startswith("/")
        assert ".." not in file.target


def test_the_targets_of_all_files_differ():
    targets = [target for source in CATALOG.values() for target in source.targets]
    assert len(targets) == len(set(targets))
    assert CATALOG["imagenetv2_boxes"].targets[0] == "metadata/ILSVRC/val/image_ids.txt"
