"""List the known data sets, download them, and check whether the images and annotations on disk can be used.

python benchmarks/data.py list [data_root=DIR]
python benchmarks/data.py fetch NAME [data_root=DIR]
python benchmarks/data.py check NAME [data.KEY=VALUE ...] [data_root=DIR] [out=FILE.csv] [duplicates=no]

list shows the data sets of the catalog, and the readers: the options data=... of benchmarks/run.py. fetch downloads,
verifies and unpacks one of the catalog. check decodes every image that a reader finds and compares it with every
annotation; NAME is a reader, with its settings:

python benchmarks/data.py check folder data.images=photos data.boxes=boxes.csv

data_root is WSOL_DATA_ROOT, or data. All problems are listed in results/data/NAME-check.csv, with a summary beside it.
Exit status: 1 if there are problems, 2 if a setting is wrong.
"""

import argparse
import csv
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate

from config.build import build_data
from config.options import command_words, option_file, option_files
from config.saved_runs import configuration, end, made_by
from wsol.atomic_files import whole_file, write_text
from wsol.data.checking.check import Kind, Problem, check
from wsol.data.checking.published import published_for
from wsol.data.checking.summary import speed, summary
from wsol.data.custom.image_files import UnreadableImages
from wsol.data.download.catalog import CATALOG, Source
from wsol.data.download.fetch import fetch, is_present
from wsol.data.missing_files import MissingFiles
from wsol.data.splits import Splits

# Where what is got by hand is looked for, below the data root; the readers know more places.
_BY_HAND = {
    "cubv2": ("CUBV2", "CUB"),
    "imagenet": ("ILSVRC", "imagenet", "ImageNet", "ILSVRC2012", "imagenet-object-localization-challenge"),
    "openimages30k": ("OpenImages",),
}
_WIDTHS = [17, 34, 9, 34, 22, 12]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(prog="data.py", description=__doc__, formatter_class=raw)
    commands = made.add_subparsers(dest="command", required=True, metavar="list | fetch NAME | check NAME")
    for name, of in (("list", ""), ("fetch", "a data set of the catalog"), ("check", "a reader, as cub or folder")):
        command = commands.add_parser(name, description=__doc__, formatter_class=raw)
        if of:
            command.add_argument("name", metavar="NAME", help=of)
        command.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    return made


def settings_of(words: Sequence[str], known: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the settings of the command itself, and the words that set up the reader.

    Raises:
        ValueError: for a word that is neither.
    """
    own: dict[str, str] = {}
    of_reader = []
    for word in words:
        key, equals, value = word.partition("=")
        if re.fullmatch(r"(\+{0,2}data\.\S+=.*)|(~data\.\S+)", word, re.DOTALL) and "data." in known:
            of_reader.append(word)
        elif equals and value and key in known:
            own[key] = value
        else:
            listed = ", ".join(f"{key}KEY=VALUE" if key.endswith(".") else f"{key}=VALUE" for key in known)
            raise ValueError(f"{word}: expected {listed}.")
    return own, of_reader


def list_all(data_root: Path) -> None:
    """Print the catalog and the readers."""
    rows = [
        [
            source.name,
            f"{source.title}. {source.what}",
            _size(source.size),
            source.terms,
            "fetch" if source.fetchable else f"by hand: {source.why_not}",
            _presence(source, data_root),
        ]
        for source in CATALOG.values()
    ]
    headers = ["name", "what", "download", "terms", "how", "there"]
    print(f"Data sets, to get with: python benchmarks/data.py fetch NAME. Looked for in {data_root}.\n")
    print(tabulate(rows, headers, tablefmt="simple", maxcolwidths=_WIDTHS, disable_numparse=True))
    print("\nthere: whether the folder exists; check NAME shows whether it is whole. by hand: fetch NAME explains.")
    print("\nReaders, to use with data=NAME, and to try with: python benchmarks/data.py check NAME\n")
    print(tabulate([[name, _comment(name)] for name in readers()], ["name", "reads"], maxcolwidths=[None, 100]))


def readers() -> list[str]:
    """Return the options of `data`."""
    return list(option_files("data"))


def _comment(name: str) -> str:
    """Return what the comment at the top of an option's file says."""
    lines = option_file("data", name).read_text(encoding="utf-8").splitlines()
    text = []
    for line in lines:
        if not line.startswith("#"):
            break
        text.append(line.lstrip("# "))
    return " ".join(text).replace("${machine.data_root}", "data_root")


def _size(size: int | None) -> str:
    if size is None:
        return ""
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def _presence(source: Source, data_root: Path) -> str:
    if not source.files:
        folders = [folder for folder in _BY_HAND.get(source.name, ()) if (data_root / folder).is_dir()]
        return f"yes, {folders[0]}" if folders else "no"
    there = [file.target for file in source.files if is_present(file, data_root)]
    if len(there) == len(source.files):
        return "yes"
    return f"in part: {', '.join(there)}" if there else "no"


def read(name: str, settings: Sequence[str], data_root: str | None) -> tuple[DictConfig, Splits]:
    """Return the configuration, and the splits that the reader returns.

    Raises:
        ValueError: for an unknown reader, or one that lacks a setting; and as the reader.
        FileNotFoundError: as the reader.
    """
    if name not in readers():
        raise ValueError(f"there is no reader {name!r}; choose from {', '.join(readers())}.")
    cfg = configuration([f"data={name}", *settings])
    if data_root is not None:
        cfg.machine.data_root = data_root
    missing = sorted(OmegaConf.missing_keys(cfg.data))
    if missing:
        raise ValueError(f"data={name} needs {' and '.join(missing)}; set {'=... '.join(missing)}=...")
    return cfg, build_data(cfg.data, cfg.machine)


@contextmanager
def problem_list(out: Path) -> Iterator[Callable[[Problem], None]]:
    """Open a CSV file of problems, one a line, which takes its name when the block ends."""
    with whole_file(out) as aside, aside.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["split", "image_id", "kind", "message"])
        yield lambda problem: lines.writerow([problem.split, problem.image_id, problem.kind, problem.message])


def check_one(name: str, own: dict[str, str], settings: Sequence[str]) -> int:
    """Print and write what the check finds; return exit status 1 if there are problems."""
    logging.getLogger("wsol").setLevel(logging.INFO)  # the reader reports what it reads
    out = Path(own.get("out", Path(configuration([]).machine.results) / "data" / f"{name}-check.csv"))
    try:
        cfg, splits = read(name, settings, own.get("data_root"))
    except (MissingFiles, UnreadableImages) as error:  # the reader needs them, so that nothing else can be checked yet
        with problem_list(out) as write_problem:
            for path, message in error.problems:
                kind = Kind.MISSING if isinstance(error, MissingFiles) else Kind.UNDECODABLE
                write_problem(Problem("", str(path), kind, message))
        count = f"{len(error.problems):,} problem{'s' if len(error.problems) > 1 else ''}"
        text = f"# {name}: {count}\n\n{error}\n\nAll of them are listed in {out}."
        write_text(out.with_suffix(".md"), f"{text}\n{made_by()}\n")  # a summary of before would stand beside the list
        print(text)
        return 1
    with problem_list(out) as write_problem:
        report = check(
            splits,
            published_for(name, cfg.data),
            on_problem=write_problem,
            duplicates=own.get("duplicates", "yes") == "yes",
            progress=cfg.machine.progress,
        )
    text = summary(report, out)
    write_text(out.with_suffix(".md"), f"{text}\n{made_by()}\n")
    print(f"{text}\n{speed(report)}; written to {out} and {out.with_suffix('.md').name}")
    return 1 if report.problems else 0


def main(words: Sequence[str] | None = None) -> int:
    """Run the command."""
    made = parser()
    arguments = made.parse_args(command_words() if words is None else words)
    known = ["data_root", "out", "duplicates", "data."] if arguments.command == "check" else ["data_root"]
    try:
        own, settings = settings_of(arguments.settings, known)
        if own.get("duplicates", "yes") not in ("yes", "no"):
            raise ValueError(f"duplicates={own['duplicates']} must be yes or no.")
        if not own.get("out", ".csv").endswith(".csv"):
            raise ValueError(f"out={own['out']}: name a file that ends in .csv.")
    except ValueError as error:
        made.error(str(error))

    def command() -> int:
        if arguments.command == "check":
            return check_one(arguments.name, own, settings)
        data_root = Path(own.get("data_root") or configuration([]).machine.data_root)
        if arguments.command == "list":
            list_all(data_root)
        else:
            print(*fetch(arguments.name, data_root), sep="\n")
        return 0

    return end(command)


if __name__ == "__main__":
    sys.exit(main())
