"""Shared harness of the measuring commands: arguments, rounds in turn, time and memory, and the table with its notes.

A command of this folder measures in rounds. In each round all candidates run in turn, so that whatever else the machine
does affects them alike, and candidates are compared by the median of the ratios within a round.
"""

import argparse
import importlib.metadata
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from tabulate import tabulate

from wsol.atomic_files import write_text
from wsol.versions import commit, versions

T = TypeVar("T")


def make_parser(text: str | None, out: str | None = None) -> argparse.ArgumentParser:
    """Make the parser of a command, with its help text and the option `--out`."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, default=out and Path(out), help="file for the tables, as Markdown")
    return parser


def in_turn(
    runs: Mapping[str, Callable[[], T]], rounds: int, after_round: Callable[[], Any] = lambda: None
) -> dict[str, list[T]]:
    """Call all runs in turn in each round, after a round that warms up; every round begins with the next run.

    Args:
        runs: name -> what to call.
        rounds: number of rounds that count.
        after_round: called after every round, such as the update of a progress bar.

    Returns:
        Name -> the results of the rounds that count.
    """
    results: dict[str, list[T]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(rounds + 1):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            result = runs[name]()
            if turn:
                results[name].append(result)
        after_round()
    return results


def ratios(seconds: Mapping[str, Sequence[float]], name: str, peer: str) -> list[float]:
    """Return the speed of one run over another's in each round."""
    return [theirs / own for own, theirs in zip(seconds[name], seconds[peer], strict=True)]


def now(device: torch.device | None = None) -> float:
    """Return the time in seconds, after a GPU has finished its work."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds_of(run: Callable[[], Any], device: torch.device | None = None) -> float:
    """Return the wall time of a call, with the device's work."""
    start = now(device)
    run()
    return now(device) - start


def process_mib(field: str, path: str = "/proc/self/status") -> float:
    """Return a process's memory on Linux: the sum of the lines that begin with this field."""
    lines = Path(path).read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def measure_apart(script: str, task: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Any:
    """Call a command with `--measure` and a task as JSON in a fresh process, and return the JSON that it prints last.

    Raises:
        subprocess.CalledProcessError: if it failed; its error message is on stderr.
    """
    command = [sys.executable, script, "--measure", json.dumps(task)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, env={**os.environ, **(environment or {})}, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def spread(values: Sequence[float], form: str) -> str:
    """Format the median, the lowest and the highest of values."""
    return f"{np.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def markdown(rows: Iterable[Sequence[Any]], headers: Sequence[str], floatfmt: str | None = None) -> str:
    """Format a table as Markdown; without a format for floats, all cells stay as they are."""
    if floatfmt is None:
        return tabulate(list(rows), headers, tablefmt="github", disable_numparse=True)
    return tabulate(list(rows), headers, tablefmt="github", floatfmt=floatfmt)


def version_of(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def command_of(script: str, words: Sequence[str], private: Mapping[str, Callable[[str], str]] | None = None) -> str:
    """Return the command line without the folders of this machine.

    Args:
        script: path of the command.
        words: its arguments.
        private: option -> what to show in place of its value. An absolute path of `--out` is always cut to its name.
    """
    hide = {"--out": lambda word: Path(word).name if Path(word).is_absolute() else word, **(private or {})}
    shown = ["python", f"benchmarks/measure/{Path(script).name}"]
    before = ""
    for word in words:
        option, equals, value = word.partition("=")
        if before in hide:
            shown.append(hide[before](word))
        elif equals and option in hide:
            shown += [option, hide[option](value)]
        else:
            shown.append(word)
        before = word
    return shlex.join(shown)


def publish(
    tables: Iterable[str],
    notes: Iterable[str],
    out: Path | None,
    command: str,
    packages: Mapping[str, str] | None = None,
) -> None:
    """Print tables with their notes, the command, the commit and the versions, and write them to a file.

    Args:
        tables: in Markdown.
        notes: one text for each item of the list below the tables.
        out: the file; None to print alone.
        command: the command line; see `command_of`.
        packages: further package -> version.
    """
    named = ", ".join(f"{package} {version}" for package, version in {**versions(), **(packages or {})}.items())
    made_by = [f"Command: `{command}`. Code: `{commit()}`.", f"Versions: {named}."]
    text = "\n\n".join(tables) + "\n\n" + "".join(f"- {note}\n" for note in [*notes, *made_by])
    print(text)
    if out:
        write_text(out, text)
