import hashlib
import logging
import shutil
import ssl
import threading
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from filelock import FileLock

from http_server import Answer, FileServer
from wsol.data.download import download as module
from wsol.data.download.catalog import RemoteFile
from wsol.data.download.download import download

BODY = bytes(range(256)) * 4  # 1,024 bytes
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with FileServer(BODY) as server:
        yield server


@pytest.fixture
def waits():
    return []


@pytest.fixture
def get(server, tmp_path, waits):
    """download() of the server's file to `tmp_path / "file.bin"`; waits are noted, not waited for."""

    def get(path=tmp_path / "file.bin", **changes):
        file = RemoteFile(**{"url": f"{server.url}/file.bin", "target": "x", "sha256": SHA256, "size": 1024} | changes)
        return download(file, path, wait=waits.append, progress=False)

    return get


def leave_part(tmp_path, body):
    (tmp_path / "file.bin.part").write_bytes(body)


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_file_comes_and_nothing_else_stays(get, server, tmp_path, waits):
    assert get() is True
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert visible(tmp_path) == ["file.bin"]
    ((_, headers),) = server.requests
    assert headers["User-Agent"].startswith("wsol")
    assert headers["Accept-Encoding"] == "identity"
    assert waits == []


def test_folders_are_made(get, tmp_path):
    assert get(tmp_path / "a" / "b" / "x")
    assert (tmp_path / "a" / "b" / "x").read_bytes() == BODY


def test_a_file_that_is_there_and_right_is_not_fetched_again(get, server, tmp_path):
    (tmp_path / "file.bin").write_bytes(BODY)
    assert get() is False
    assert server.requests == []


@pytest.mark.parametrize("old", [b"short", b"\0" * len(BODY)])
def test_a_file_that_is_there_and_wrong_is_downloaded_again_with_a_warning(get, tmp_path, caplog, old):
    (tmp_path / "file.bin").write_bytes(old)
    assert get() is True
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert "downloading it again" in caplog.text


def test_a_dropped_connection_is_continued(get, server, tmp_path, waits):
    server.script.extend([Answer(drop_after=300), Answer(drop_after=200)])
    assert get()
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert server.ranges == [None, "bytes=300-", "bytes=500-"]
    assert waits == [1, 1]  # both attempts brought something


def test_a_part_of_an_earlier_run_is_continued(get, server, tmp_path):
    leave_part(tmp_path, BODY[:1000])
    assert get()
    assert server.ranges == ["bytes=1000-"]


def test_a_server_that_ignores_ranges_is_asked_for_everything(get, server, tmp_path):
    server.default = Answer(ranges=False)
    server.script.append(Answer(ranges=False, drop_after=300))
    assert get()
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert server.ranges == [None, "bytes=300-"]


def test_a_range_other_than_the_one_asked_for_is_refused(get, server, tmp_path, waits):
    leave_part(tmp_path, BODY[:10])
    server.script.append(Answer(status=206, headers={"Content-Range": "bytes 0-1023/1024"}))
    assert get()
    assert server.ranges == ["bytes=10-", None]
    assert waits == [1]


def test_a_complete_part_needs_no_request(get, server, tmp_path):
    leave_part(tmp_path, BODY)
    assert get()
    assert server.requests == []


def test_a_part_longer_than_the_known_size_starts_over(get, server, tmp_path):
    leave_part(tmp_path, BODY + b"more")
    assert get()
    assert server.ranges == [None]


def test_no_length_announced(get, server, tmp_path):
    server.default = Answer(announced=-1)
    assert get()
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_file_of_no_bytes(get, server, tmp_path):
    server.body = b""
    assert get(size=0, sha256=hashlib.sha256(b"").hexdigest())
    assert (tmp_path / "file.bin").read_bytes() == b""


def test_another_file_of_fewer_bytes_is_reported(get, server, tmp_path):
    server.default = Answer(body=b"<html>We have moved.</html>")
    with pytest.raises(ValueError, match=r"offers fewer than the 1,024 bytes expected; what came was removed"):
        get()
    assert visible(tmp_path) == []


def test_a_connection_without_a_byte_is_given_up_and_continued(get, server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SILENCE", 0.2)
    hold = threading.Event()
    server.script.append(Answer(drop_after=300, hold=hold))
    try:
        assert get()
    finally:
        hold.set()
    assert server.ranges == [None, "bytes=300-"]
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_wrong_bytes_are_removed_and_reported(get, server, tmp_path):
    server.default = Answer(body=b"\0" * len(BODY))
    with pytest.raises(ValueError, match=rf"^{server.url}/file.bin brought sha256 \w+ where {SHA256}") as error:
        get()
    assert f"put it at {tmp_path / 'file.bin'} and run the command again" in str(error.value)
    assert visible(tmp_path) == []


def test_a_file_that_does_not_end_is_cut_off(get, server, tmp_path):
    server.default = Answer(body=BODY * 1000, announced=-1)
    with pytest.raises(ValueError, match=r"sends more than the 1,024 bytes expected"):
        get()
    assert visible(tmp_path) == []


def test_a_damaged_part_is_removed_and_the_next_run_starts_over(get, server, tmp_path):
    leave_part(tmp_path, b"\0" * 10)
    with pytest.raises(ValueError, match=r"brought sha256"):
        get()
    assert visible(tmp_path) == []
    assert get()


@pytest.mark.parametrize("status", [403, 404, 410, 501])
def test_an_error_that_does_not_pass_is_reported_at_once(get, server, tmp_path, waits, status):
    server.default = Answer(status=status)
    with pytest.raises(ConnectionError) as error:
        get()
    message = str(error.value)
    assert message.startswith(f"{server.url}/file.bin could not be downloaded (HTTP {status} ")
    assert message.endswith(f"download it by hand to {tmp_path / 'file.bin'} and run the command again.")
    assert "\n" not in message
    assert waits == []


def test_an_answer_that_is_no_file_is_an_error(get, server):
    server.default = Answer(status=204)
    with pytest.raises(ConnectionError, match=r"HTTP 204"):
        get()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_error_that_passes_is_waited_for(get, server, waits, status):
    server.script.extend([Answer(status=status)] * 2)
    assert get()
    assert waits == [1, 2]


def test_a_part_stays_when_the_server_gives_up(get, server, tmp_path):
    server.script.append(Answer(drop_after=300))
    server.default = Answer(status=503)
    with pytest.raises(ConnectionError):
        get()
    assert (tmp_path / "file.bin.part").read_bytes() == BODY[:300]
    server.default = Answer()
    assert get()
    assert server.ranges[-1] == "bytes=300-"


def test_redirects_are_followed_with_the_range(get, server, tmp_path):
    leave_part(tmp_path, BODY[:300])
    server.script.append(Answer(location="/elsewhere"))
    assert get()
    assert [path for path, _ in server.requests] == ["/file.bin", "/elsewhere"]
    assert server.ranges == ["bytes=300-"] * 2


def test_a_redirect_in_a_circle_is_reported(get, server):
    server.default = Answer(location="/file.bin")
    with pytest.raises(ConnectionError, match=r"HTTP 302 [^\n]*$"):
        get()


def test_a_certificate_that_is_not_trusted_is_reported_at_once(get, waits, monkeypatch):
    def urlopen(*args, **kwargs):
        raise urllib.error.URLError(ssl.SSLCertVerificationError(1, "certificate has expired"))

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(ConnectionError, match=r"certificate has expired"):
        get()
    assert waits == []


def test_no_server(tmp_path, waits, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with FileServer() as server:
        url = f"{server.url}/file.bin"
    with pytest.raises(ConnectionError, match=r"refused"):
        download(RemoteFile(url, "x", SHA256, 1024), tmp_path / "file.bin", wait=waits.append)
    assert waits == [1, 2, 4]


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/x", "example.org/x", ""])
def test_other_kinds_of_addresses_are_refused(tmp_path, url):
    with pytest.raises(ValueError, match=r"expected an address that starts with http:// or https://"):
        download(RemoteFile(url, "x", SHA256, 1024), tmp_path / "x")


def test_no_room_is_reported_before_the_file_comes(get, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match=r"has 1,000 bytes free, and http://\S+ takes 1,024 more"):
        get()
    assert not (tmp_path / "file.bin").exists()


def test_a_part_takes_no_room_twice(get, server, tmp_path, monkeypatch):
    leave_part(tmp_path, BODY[:1000])
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=24))
    assert get()


def test_two_at_once_fetch_it_once(get, server, tmp_path, caplog):
    waiting = threading.Event()

    class Watch(logging.Handler):
        def emit(self, record):
            if "waiting for it" in record.getMessage():
                waiting.set()

    watch = Watch()
    logging.getLogger("wsol.data.download.download").addHandler(watch)
    caplog.set_level(logging.INFO)
    results = []
    thread = threading.Thread(target=lambda: results.append(get()))
    try:
        with FileLock(tmp_path / ".file.bin.lock"):
            thread.start()
            came = waiting.wait(10)
            asked = list(server.requests)
            (tmp_path / "file.bin").write_bytes(BODY)  # the other one is done
    finally:
        thread.join()
        logging.getLogger("wsol.data.download.download").removeHandler(watch)
    assert came
    assert asked == []
    assert results == [False]
    assert server.requests == []
