import os
from pathlib import Path

import pyarrow as pa
import pytest

from wsol.data.disk_cache import cached_table

LONG_AGO = 1_000_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Numbers:
    """Makes a table of what is in a file, and counts how often."""

    def __init__(self, path):
        self.path, self.made = path, 0

    def build(self):
        self.made += 1
        return pa.table({"text": [self.path.read_text()]}), [self.path, self.path.parent]

    def read(self, version=1):
        return cached_table("numbers", version, [self.path], self.build)["text"].to_pylist()


@pytest.fixture
def numbers(tmp_path):
    (tmp_path / "data").mkdir()
    return Numbers(write(tmp_path / "data" / "a.txt", "one"))


def write(path, text, when=LONG_AGO):
    path.write_text(text)
    for one in (path, path.parent):
        os.utime(one, (when, when))
    return path


def test_is_made_once(numbers):
    assert numbers.read() == numbers.read() == ["one"]
    assert numbers.made == 1


def test_a_changed_file_makes_it_anew(numbers):
    numbers.read()
    write(numbers.path, "two", LONG_AGO + 1)
    assert numbers.read() == ["two"]


def test_a_file_of_another_size_makes_it_anew_though_its_time_is_the_same(numbers):
    numbers.read()
    write(numbers.path, "three")
    assert numbers.read() == ["three"]


def test_a_file_of_the_same_size_whose_time_was_put_back_makes_it_anew(numbers):
    numbers.read()
    write(numbers.path, "six")
    assert numbers.read() == ["six"]


def test_the_working_directory_does_not_matter(numbers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "data")
    relative = Numbers(Path("a.txt"))
    relative.read()
    monkeypatch.chdir(tmp_path)
    numbers.read()
    assert relative.made + numbers.made == 1


def test_a_new_file_in_a_folder_makes_it_anew(numbers):
    numbers.read()
    write(numbers.path.with_name("b.txt"), "", LONG_AGO + 1)
    os.utime(numbers.path, (LONG_AGO, LONG_AGO))
    numbers.read()
    assert numbers.made == 2


def test_a_file_that_is_gone_makes_it_anew(numbers):
    numbers.read()
    numbers.path.unlink()
    with pytest.raises(FileNotFoundError):
        numbers.read()


def test_what_changed_just_now_is_not_kept(numbers, cache):
    numbers.path.write_text("new")
    assert numbers.read() == ["new"]
    assert not list(cache.rglob("*.parquet"))


def test_another_version_is_another_table(numbers):
    numbers.read(1)
    numbers.read(2)
    assert numbers.made == 2


def test_a_damaged_cache_file_is_said_and_replaced(numbers, cache, caplog):
    numbers.read()
    (path,) = cache.rglob("*.parquet")
    path.write_bytes(b"PAR1 no more")
    assert numbers.read() == ["one"]
    assert f"The index {path} cannot be read" in caplog.text
    numbers.read()
    assert numbers.made == 2


def test_a_cache_that_cannot_be_written_costs_time_alone(numbers, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "file"))  # a file where a folder has to be
    assert numbers.read() == ["one"]
    assert "cannot be written" in caplog.text


def test_the_cache_folder_is_the_users_unless_said(monkeypatch):
    from wsol.data.disk_cache import cache_folder

    monkeypatch.delenv("WSOL_CACHE")
    assert cache_folder().name == "wsol" or "wsol" in Path(cache_folder()).parts
