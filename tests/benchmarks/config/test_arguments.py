"""The words that the commands on a folder of runs share."""

import runpy
import sys
from pathlib import Path

import pytest

from config.arguments import ReportWords, read_words

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def read(*words):
    parsed = ReportWords()
    read_words(words, parsed, lambda key, value: False)
    return parsed


@pytest.mark.parametrize("inside", ["", "runs"])
@pytest.mark.parametrize("key", ["", "results="])
def test_the_folder_may_be_named_or_not(tmp_path, key, inside):
    (tmp_path / "runs").mkdir()
    parsed = read(f"{key}{tmp_path / inside}", "data=cub")
    assert parsed.results == tmp_path
    assert parsed.filters == {"data": ["cub"]}


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="there is no folder no_folder; name the folder that contains the runs"):
        read("results=no_folder")
    with pytest.raises(ValueError, match="name the folder that contains the runs"):
        read("results=")


def test_a_folder_called_results_is_that_folder(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read("results").results == Path("results")


@pytest.mark.parametrize("word", ["-h", "--help"])
@pytest.mark.parametrize("name", ["compare", "layers", "pooling_axis", "report"])
def test_help_is_what_the_module_says(name, word, monkeypatch, capsys):
    script = BENCHMARKS / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(script), "data=cub", word])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(script), run_name="__main__")
    assert caught.value.code == 0
    assert f"python benchmarks/{name}.py" in capsys.readouterr().out
