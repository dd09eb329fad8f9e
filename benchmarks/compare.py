"""Any two groups of runs, score by score, in pairs: the difference, its interval, its p-value.

python benchmarks/compare.py pooling=gap,map=cam pooling=gmp,map=cam [data=cub ...]
python benchmarks/compare.py map=cam map=grad_cam pooling=gap           # two maps
python benchmarks/compare.py backbone=resnet18 backbone=resnet50 pooling=gap,map=cam
python benchmarks/compare.py protocol=tight protocol=reference map=cam  # two protocols on the same runs

The first two arguments name the groups; all others are filters for both. What the groups do not name is held equal, and
runs are paired by seed. A pooling is a head's whole name, like gap+cutmix; of tuned heads it is the search that is held
equal, not what it chose. Settings: data, backbone, pooling, map, protocol, and any of a run's own, like train.epochs.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from config.options import command_words
from config.saved_runs import end
from wsol.comparison.comparison import measure, read_comparisons
from wsol.comparison.paired_scores import Measured, mcnemar_tests
from wsol.comparison.saved_maps import ScoredMap
from wsol.comparison.summary import holm
from wsol.identity import digest
from wsol.report.score_table import percent_or_ratio
from wsol.runs.head_name import value_text
from wsol.scoring.baselines import NONE
from wsol.training.train import with_later

Settings = Mapping[str, Any]
_TITLE = ("data", "backbone", "pooling", "map", "protocol")
# A head's name says these, too.
_GOES_WITH = {"pooling": ("method", "pool_site", "pooling_at_test")}


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as dotted names."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def settings_of(one: ScoredMap) -> dict[str, Any]:
    """Everything that tells a scored map apart from others, its seed left out."""
    told = one.folder.settings()
    identity = {key: value for key, value in told["identity"].items() if key not in ("seed",)}
    if isinstance(identity.get("train"), Mapping):
        identity["train"] = with_later(identity["train"])
    protocol = one.evaluation.get("protocol", {})
    return {
        **dict(flat(identity)),
        **{key: told[key] for key in ("data", "backbone", "pooling")},
        "map": one.name,
        "protocol": protocol.get("name", ""),
        "optimized": one.evaluation.get("optimized"),
        "thresholds": digest(one.evaluation.get("thresholds", [])),
    }


def read_settings(text: str) -> dict[str, str]:
    """`a=b,c=d` as a mapping.

    Raises:
        ValueError: if it is something else.
    """
    # Not at the commas within a value: has:cells=[4, 5].
    pairs = [word.partition("=") for word in re.split(r",(?![^\[]*\])", text)]
    if any(not equals or not key for key, equals, _ in pairs):
        raise ValueError(f"{text!r} names no settings; write them like pooling=gap,map=cam.")
    return {key: value for key, _, value in pairs}


def fits(settings: Settings, wanted: Mapping[str, str]) -> bool:
    """Has it these settings, 5.0 written as 5, True as true and None as null, too?"""
    return all(value in _texts(settings.get(key)) for key, value in wanted.items())


def _texts(value: Any) -> set[str]:
    text = str(value)
    return {text, value_text(value), *([text.lower()] if isinstance(value, bool) else [])}


def held_equal(settings: Settings, named: Sequence[str]) -> str:
    """What stands for all that the groups do not name: what a name like `pooling` stands for goes with it."""
    goes = {*named, *(part for name in named for part in _GOES_WITH.get(name, ()))}
    left = {
        key: value
        for key, value in settings.items()
        if not any(key == one or key.startswith(f"{one}.") for one in goes)
    }
    return digest(left)


def before_search(told: Mapping[str, Any]) -> dict[str, Any]:
    """The training settings that the search of a tuned run started from, in the place of those that it chose.

    Heads are tuned alike and each gets settings of its own, so these cannot be held equal.

    Args:
        told: the run's `settings.json`; empty is returned where it was not tuned.
    """
    tuned = told.get("tuned", {})
    first: Settings = next(iter(tuned.get("trials", ())), {})  # the first trial changes nothing
    return {f"train.{name}": first.get(name) for name in tuned.get("settings", ())}


def compare(arguments: Sequence[str]) -> int:
    """Print a table for each set of runs that are equal but for what the groups name; 1 if there is none."""
    if len(arguments) < 2:
        raise ValueError("name two groups, like pooling=gap,map=cam pooling=gmp,map=cam")
    results = Path("results")
    rest = []
    for word in arguments[2:]:
        if word.startswith("results="):
            results = Path(word.removeprefix("results="))
        else:
            rest.append(word)
    common = {key: value for word in rest for key, value in read_settings(word).items()}
    groups = [{**common, **read_settings(text)} for text in arguments[:2]]
    named = sorted({key for text in arguments[:2] for key in read_settings(text)})
    found = collect(results, groups, named)
    shown = 0
    for (first, second), title in found:
        shown += print_table(first, second, title, arguments)
    if not shown:
        print(
            f"No two runs under {results / 'runs'} are {arguments[0]} and {arguments[1]} and equal in all else; "
            "python benchmarks/report.py lists what there is.",
            file=sys.stderr,
        )
    return 0 if shown else 1


def collect(
    results: Path, groups: Sequence[Mapping[str, str]], named: Sequence[str]
) -> Iterator[tuple[tuple[dict[str, Measured], dict[str, Measured]], str]]:
    """Both groups' scores, for each set of runs that are equal in all that the groups do not name."""
    sides: list[dict[str, dict[str, ScoredMap]]] = [{}, {}]
    titles: dict[str, str] = {}
    for comparison in read_comparisons(results):
        for (pooling, _), seeds in comparison.lines(results).items():
            for one in seeds if pooling != NONE else ():
                settings = settings_of(one)
                key = held_equal({**settings, **before_search(one.folder.settings())}, named)
                for side, wanted in zip(sides, groups, strict=True):
                    if fits(settings, wanted):
                        # Of several evaluations of the same run and map, the records are the same: one is enough.
                        side.setdefault(key, {}).setdefault(str(one.seed), one)
                        told = (name for name in _TITLE if name not in named)
                        titles[key] = ", ".join(f"{name} {settings[name]}" for name in told)
    for key in sorted(set(sides[0]) & set(sides[1]), key=lambda key: titles[key]):
        lines = {(str(place), ""): list(side[key].values()) for place, side in enumerate(sides)}
        measured = measure(lines, progress=True)
        yield (measured.get(("0", ""), {}), measured.get(("1", ""), {})), titles[key]


def print_table(
    first: Mapping[str, Measured], second: Mapping[str, Measured], title: str, arguments: Sequence[str]
) -> bool:
    """One table; False if the two have nothing in common."""
    pairs = {name: (first[name], second[name]) for name in first if name in second}
    pairs = {name: pair for name, pair in pairs.items() if set(pair[0].seeds) & set(pair[1].seeds)}
    differences = {name: one.minus(two) for name, (one, two) in pairs.items()}
    differences = {name: one for name, one in differences.items() if one.is_known}
    if not differences:
        return False
    corrected = holm(one.estimate.p_value() for one in differences.values())
    rows = []
    for (name, one), p_holm in zip(differences.items(), corrected, strict=True):
        low, high = one.estimate.interval
        single = [test.p for test in mcnemar_tests(*pairs[name])]
        rows.append(
            [
                name,
                *(percent_or_ratio(name, _mean(side, one.seeds)) for side in pairs[name]),
                percent_or_ratio(name, one.estimate.value, sign=True),
                f"{percent_or_ratio(name, low, sign=True)} to {percent_or_ratio(name, high, sign=True)}",
                f"{one.estimate.p_value():.3g}",
                f"{p_holm:.3g}",
                f"{max(single):.3g}" if single else "–",
            ]
        )
    one = next(iter(differences.values()))
    headers = ["score", *arguments[:2], "difference", "95 % interval", "p", "p (Holm)", "p (McNemar)"]
    covers = "seeds and images" if len(one.seeds) > 1 else "images alone"
    seeds = f"{len(one.seeds)} paired seeds {list(one.seeds)}"
    if one.is_one_training:
        seeds = f"one training, seed {one.seeds[0]}"
    print(f"\n{title}; {seeds}, {one.images:,} images; intervals cover {covers}")
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
    return True


def _mean(one: Measured, seeds: Sequence[int | None]) -> float:
    """Over those seeds that are compared."""
    return float(np.mean([one.values[one.seeds.index(seed)] for seed in seeds]))


if __name__ == "__main__":
    sys.exit(end(lambda: compare(command_words()), __doc__))
