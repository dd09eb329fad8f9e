"""Compare any two groups of runs score by score, in pairs: the difference, its interval and its p-value.

python benchmarks/compare.py pooling=gap,map=cam pooling=gmp,map=cam [data=cub ...]
python benchmarks/compare.py map=cam map=grad_cam pooling=gap           # two maps
python benchmarks/compare.py backbone=resnet18 backbone=resnet50 pooling=gap,map=cam
python benchmarks/compare.py protocol=tight protocol=reference map=cam  # two protocols on the same runs

The first two arguments name the groups; all others are filters for both. All settings that the groups do not name must
be equal. Seeds are paired where both groups are of the same networks, as two maps are. A pooling is a head's whole
name, like gap+cutmix; tuned heads need equal searches, not equal results of the search. Settings: data, backbone,
pooling, map, protocol, and any setting of a run, like train.epochs. results=DIR names the folder of the results.
"""

import contextlib
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
from wsol.report.score_table import TOO_SMALL, percent_or_ratio
from wsol.runs.as_is import AS_IS
from wsol.runs.head_name import value_text
from wsol.scoring.baselines import NONE
from wsol.training.train import with_later

Settings = Mapping[str, Any]
_TITLE = ("data", "backbone", "pooling", "map", "protocol")
# Settings that are part of a head's name.
_GOES_WITH = {"pooling": ("method", "pool_site", "pooling_at_test")}


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested settings with dotted names."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def settings_of(scored: ScoredMap) -> dict[str, Any]:
    """Return all settings that identify a scored map, without its seed."""
    settings = scored.folder.settings()
    identity = {key: value for key, value in settings["identity"].items() if key != "seed"}
    if settings["backbone"] == AS_IS:  # its name stands for the network and the size of its images
        data = identity["data"]
        kept = {key: value for key, value in data["settings"].items() if key not in ("image_size", "train_size")}
        identity = {"data": {**data, "settings": kept}, "predict_among": identity["predict_among"]}
    if isinstance(identity.get("train"), Mapping):
        identity["train"] = with_later(identity["train"])
    protocol = scored.evaluation.get("protocol", {})
    return {
        **dict(flat(identity)),
        **{key: settings[key] for key in ("data", "backbone", "pooling")},
        "map": scored.name,
        "protocol": protocol.get("name", ""),
        "optimized": scored.evaluation.get("optimized"),
        "thresholds": digest(scored.evaluation.get("thresholds", [])),
    }


def read_settings(text: str) -> dict[str, str]:
    """Read `a=b,c=d` as a mapping.

    Raises:
        ValueError: if the text has another form.
    """
    # Commas within a value do not separate: has:cells=[4, 5].
    pairs = [word.partition("=") for word in re.split(r",(?![^\[]*\])", text)]
    if any(not equals or not key for key, equals, _ in pairs):
        raise ValueError(f"{text!r} names no settings; write them like pooling=gap,map=cam.")
    return {key: value for key, _, value in pairs}


def fits(settings: Settings, wanted: Mapping[str, str]) -> bool:
    """Return whether settings have the wanted values; 5 also matches 5.0, true True and null None."""
    return all(value in _texts(settings.get(key)) for key, value in wanted.items())


def _texts(value: Any) -> set[str]:
    text = str(value)
    return {text, value_text(value), *([text.lower()] if isinstance(value, bool) else [])}


def held_equal(settings: Settings, named: Sequence[str]) -> str:
    """Return a digest of all settings that the groups do not name, directly or as a part of `pooling`."""
    left_out = {*named, *(part for name in named for part in _GOES_WITH.get(name, ()))}
    return digest(
        {
            key: value
            for key, value in settings.items()
            if not any(key == name or key.startswith(f"{name}.") for name in left_out)
        }
    )


def before_search(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training settings that the search of a tuned run started from, to replace those that it chose.

    The search is the same for all heads and chooses different settings for each, which thus cannot be equal.

    Args:
        settings: the run's `settings.json`.

    Returns:
        `train.NAME` -> value; empty if the run was not tuned.
    """
    tuned = settings.get("tuned", {})
    first: Settings = next(iter(tuned.get("trials", ())), {})  # the first trial changes nothing
    return {f"train.{name}": first.get(name) for name in tuned.get("settings", ())}


def compare(arguments: Sequence[str]) -> int:
    """Print a table for each set of runs that are equal in all settings that the groups do not name.

    Returns:
        The exit status: 1 if there is no table.

    Raises:
        ValueError: if the words do not name two groups.
    """
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
    shown = 0
    for pair, title in collect(results, groups, named):
        shown += print_table(*pair, title, arguments)
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
    """Yield both groups' scores and a title, for each set of runs that are equal in all other settings."""
    sides: list[dict[str, dict[str, ScoredMap]]] = [{}, {}]
    titles: dict[str, str] = {}
    for comparison in read_comparisons(results):
        for (pooling, _), seeds in comparison.lines(results).items():
            for scored in seeds if pooling != NONE else ():
                settings = settings_of(scored)
                key = held_equal({**settings, **before_search(scored.folder.settings())}, named)
                for side, wanted in zip(sides, groups, strict=True):
                    if fits(settings, wanted):
                        # Several evaluations of the same run and map have the same records, so the first is enough.
                        side.setdefault(key, {}).setdefault(str(scored.seed), scored)
                        unnamed = (name for name in _TITLE if name not in named)
                        titles[key] = ", ".join(f"{name} {settings[name]}" for name in unnamed)
    for key in sorted(set(sides[0]) & set(sides[1]), key=lambda key: titles[key]):
        lines = {(str(place), ""): list(side[key].values()) for place, side in enumerate(sides)}
        measured = measure(lines, progress=True)
        yield (measured.get(("0", ""), {}), measured.get(("1", ""), {})), titles[key]


def print_table(
    first: Mapping[str, Measured], second: Mapping[str, Measured], title: str, arguments: Sequence[str]
) -> bool:
    """Print one table, and return whether the groups have a score in common."""
    pairs = {name: (first[name], second[name]) for name in first if name in second}
    differences = {}
    for name, (minuend, subtrahend) in pairs.items():
        with contextlib.suppress(ValueError):  # the same networks, without a common seed
            differences[name] = minuend.minus(subtrahend)
    differences = {name: difference for name, difference in differences.items() if difference.is_known}
    if not differences:
        return False
    first_difference = next(iter(differences.values()))
    few = first_difference.too_few
    p_values = [] if few else [difference.estimate.p_value() for difference in differences.values()]
    corrected = dict(zip(differences, holm(p_values), strict=False))
    rows = []
    for name, difference in differences.items():
        shared = None if difference.others else difference.seeds
        row = [name, *(percent_or_ratio(name, _mean(side, shared)) for side in pairs[name])]
        row.append(percent_or_ratio(name, difference.estimate.value, sign=True))
        if few:
            rows.append([*row, TOO_SMALL, "–", "–", "–"])
            continue
        low, high = difference.estimate.interval
        p_mcnemar = [test.p for test in mcnemar_tests(*pairs[name])]
        row.append(f"{percent_or_ratio(name, low, sign=True)} to {percent_or_ratio(name, high, sign=True)}")
        row += [f"{difference.estimate.p_value():.3g}", f"{corrected[name]:.3g}"]
        rows.append([*row, f"{max(p_mcnemar):.3g}" if p_mcnemar else "–"])
    headers = ["score", *arguments[:2], "difference", "95 % interval", "p", "p (Holm)", "p (McNemar)"]
    print(f"\n{title}; {first_difference.images:,} images, {_seeds(first_difference)}")
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
    return True


def _seeds(difference: Measured) -> str:
    """Return the seeds of both groups, and whether they are paired."""
    if not difference.trainings:
        return "nothing was trained; intervals cover images alone"
    if difference.others:
        seeds = " and ".join(str(list(group.seeds)) for group in difference.groups)
        paired = f"unpaired seeds {seeds}, for the groups are different networks"
    else:
        paired = f"{len(difference.seeds)} paired seeds {list(difference.seeds)} of the same networks"
    return paired if difference.too_few else f"{paired}; intervals cover seeds and images"


def _mean(measured: Measured, seeds: Sequence[int | None] | None) -> float:
    """Return the mean over the seeds that are compared; None: all."""
    return float(np.mean([measured.values[measured.seeds.index(seed)] for seed in seeds or measured.seeds]))


if __name__ == "__main__":
    sys.exit(end(lambda: compare(command_words()), __doc__))
