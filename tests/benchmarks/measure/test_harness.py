import subprocess
from itertools import count
from pathlib import Path

import pytest

from measure import harness
from measure.decode import data_name


def test_runs_take_turns_after_a_round_that_warms_up():
    calls, number, rounds = [], count(), []

    def run(name):
        calls.append(name)
        return next(number)

    runs = {name: lambda name=name: run(name) for name in "ab"}
    results = harness.in_turn(runs, 2, lambda: rounds.append(len(calls)))
    assert "".join(calls) == "abbaab"
    assert results == {"a": [3, 4], "b": [2, 5]}
    assert rounds == [2, 4, 6]


def test_speeds_are_ratios_within_a_round():
    assert harness.ratios({"ours": [1.0, 4.0], "peer": [2.0, 2.0]}, "ours", "peer") == [2, 0.5]
    assert harness.spread([3.0, 1.0, 2.0], ".1f") == "2.0 (1.0 to 3.0)"


@pytest.mark.parametrize("words", [["--images", "/some/where/CUB/images"], ["--images=/some/where/CUB/images"]])
def test_the_command_hides_where_the_data_and_the_table_are(words):
    shown = harness.command_of("x/decode.py", [*words, "--rounds", "2"], {"--images": data_name})
    assert shown == "python benchmarks/measure/decode.py --images DATA/CUB/images --rounds 2"
    for words in (["--out", "/some/where/a.md"], ["--out=/some/where/a.md"]):
        assert harness.command_of("decode.py", words) == "python benchmarks/measure/decode.py --out a.md"
    assert harness.command_of("decode.py", ["--out", "results/a.md"]).endswith("--out results/a.md")


def test_tables_and_notes_are_printed_and_written(tmp_path, capsys):
    table = harness.markdown([["a", "1.50"]], ["name", "value"])
    harness.publish([table, table], ["A note."], tmp_path / "a.md", "python x.py", {"package": "1"})
    text = (tmp_path / "a.md").read_text(encoding="utf-8")
    assert text.strip() == capsys.readouterr().out.strip()
    assert text.count("| a      | 1.50    |") == 2
    assert "\n\n- A note.\n- Command: `python x.py`. Code: `" in text
    assert text.endswith(", package 1.\n")


def test_a_task_is_measured_in_a_fresh_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os, sys\nprint('noise')\nprint(sys.argv[2].replace('?', os.environ['WHAT']))\n")
    assert harness.measure_apart(str(script), {"task": "?"}, {"WHAT": "yes"}) == {"task": "yes"}
    script.write_text("raise SystemExit(3)\n")
    with pytest.raises(subprocess.CalledProcessError):
        harness.measure_apart(str(script), {})


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read as on Linux")
def test_memory_sums_all_lines_of_a_field(tmp_path):
    (tmp_path / "smaps").write_text("Private_Clean: 1024 kB\nShared: 5 kB\nPrivate_Dirty: 512 kB\n")
    assert harness.process_mib("Private_", str(tmp_path / "smaps")) == 1.5
    assert harness.process_mib("VmRSS") > 1
