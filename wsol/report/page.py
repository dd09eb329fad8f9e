"""The report as one page: verdicts, comparisons, runs."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsol.atomic_files import read_json
from wsol.comparison.claim import NOT_ANSWERED, Answered, needed
from wsol.comparison.comparison import Comparison
from wsol.comparison.paired_scores import Measured
from wsol.report.content import Answer, RunCard
from wsol.report.missing_runs import command_for, missing_runs, with_maps
from wsol.runs.few_shot import few_shot_count
from wsol.runs.folder import RunFolder, load_or_none
from wsol.scoring.baselines import NONE


def answers_of(answered: Sequence[Answered], comparison: Comparison, results: Path) -> Iterator[Answer]:
    """Answered claims as the page shows them."""
    protocol = comparison.rows["protocol_key"].iloc[0].rpartition("-")[0]
    for one in answered:
        claim, estimate = one.claim, one.estimate
        common: dict[str, Any] = {
            "claim": claim.text,
            "source": claim.source,
            "where": comparison.name,
            "section": comparison.name,
        }
        if estimate is None or one.measured is None:
            failed = _failed(one, comparison)
            yield Answer(
                **common,
                verdict=NOT_ANSWERED,
                estimate="",
                interval="",
                p="",
                reading=f"{claim.quantity}: {failed or one.why}.",
                needed="" if failed else _command(one, comparison, results),
            )
            continue
        ratio = bool(claim.reference)
        low, high = (end - claim.reference for end in estimate.interval)
        yield Answer(
            **common,
            verdict=one.verdict,
            estimate=_points(estimate.value - claim.reference, ratio),
            interval=f"[{_points(low, ratio, unit=False)}, {_points(high, ratio, unit=False)}]",
            p="< 0.001" if one.p_holm < 0.001 else f"{one.p_holm:.3f}",
            reading=(
                f"{claim.quantity}; claimed: {claim.region}. Protocol {protocol}, "
                f"{_seeds(one.measured)}. {beside_of(one)}"
            ).strip(),
            needed=needed(one),
            runs=one.measured.all_runs,
            one_training=one.is_one_training,
        )


def _seeds(measured: Measured) -> str:
    """Return how many seeds and images there are, and which of the two the interval covers."""
    if len(measured.seeds) > 1:
        seeds, covers = f"{len(measured.seeds)} seeds", "training seeds and test images"
    elif measured.is_one_training:
        seeds, covers = "1 seed", "test images alone, for each setting was trained once"
    else:
        seeds, covers = "no seed", "test images, for nothing was trained"
    return f"{seeds}, {measured.images:,} images; the 95 % interval covers {covers}"


def beside_of(one: Answered) -> str:
    """The scores of both groups, and those that are told beside them."""
    groups = [group for group in (one.claim.first, one.claim.second) if group is not None]
    names = [f"{group['pooling']} {group['map']}" for group in groups]
    told = []
    for score, values in one.beside.items():
        numbers = ", ".join(
            f"{name} {_value(score, found.estimate.value)}" for name, found in zip(names, values, strict=True)
        )
        told.append(f"{score}: {numbers}.")
    return " ".join(told)


def _value(score: str, value: float) -> str:
    return f"{value:.2f}" if score == "box_area_ratio" else f"{100 * value:.1f} %"


def _points(value: float, ratio: bool, unit: bool = True) -> str:
    text = f"{100 * value:+.1f}".replace("-", "−")
    return text + (" % of the true area" if ratio else " points") * unit


def _failed(one: Answered, comparison: Comparison) -> str:
    """Which heads of a claim learned nothing with any seed, in words; empty if there are none."""
    if comparison.failed.empty:
        return ""
    told = []
    for pooling in dict.fromkeys(_poolings(one)):
        rows = comparison.rows[comparison.rows["pooling"] == pooling]
        failed = comparison.failed[comparison.failed["pooling"] == pooling]
        if not failed.empty and (rows["status"] != "").all():
            seeds = ", ".join(str(seed) for seed in sorted(set(failed["seed"])))
            told.append(f"every run of pooling={pooling} {' or '.join(sorted(set(failed['status'])))} (seed {seeds})")
    return "; ".join(told)


def _command(one: Answered, comparison: Comparison, results: Path) -> str:
    """What makes the runs that a claim lacks; those that failed would fail again."""
    wanted = list(dict.fromkeys(_poolings(one)))
    trained = comparison.rows["backbone"] != NONE
    runs = sorted(set(comparison.rows.loc[trained, "run"]))
    settings = {run: RunFolder.named(results, run).settings() for run in runs}
    failed = () if comparison.failed.empty else sorted(set(comparison.failed["run"]))
    tried = [RunFolder.named(results, run).settings() for run in failed]
    learned = [one for run, one in settings.items() if run not in failed]
    scored, asked = list(dict.fromkeys(comparison.rows.loc[trained, "map"])), list(dict.fromkeys(_maps(one)))
    more = [name for name in asked if name not in scored]
    lacking = list(missing_runs(learned, wanted, tried))
    if lacking and more:
        # Other maps make another table, where all heads of the claim must stand; and not each takes the maps of these.
        first, seeds = lacking[0][0], {int(told["seed"]) for told in [*learned, *tried] if _is_head(told)}
        gone = {(told["pooling"], int(told["seed"])) for told in tried}
        left = {pooling: sorted(seed for seed in seeds if (pooling, seed) not in gone) for pooling in wanted}
        return "; ".join(
            with_maps(command_for(first, pooling, left[pooling]), asked) for pooling in wanted if left[pooling]
        )
    if lacking:
        return "; ".join(command_for(*missing) for missing in lacking)
    if not settings:
        return ""
    command = str(settings[runs[0]]["command"])
    return f"{command} 'maps=[{','.join([*scored, *more])}]'" if more else command  # which makes records anew, too


def _is_head(settings: Mapping[str, Any]) -> bool:
    return few_shot_count(settings["pooling"]) is None


def _poolings(one: Answered) -> list[str]:
    return [group["pooling"] for group in (one.claim.first, one.claim.second) if group is not None]


def _maps(one: Answered) -> list[str]:
    return [group["map"] for group in (one.claim.first, one.claim.second) if group is not None]


def warnings_of(comparisons: Sequence[Comparison], results: Path) -> Iterator[str]:
    """What must not be overlooked."""
    for comparison in comparisons:
        trained = comparison.rows[comparison.rows["backbone"] != NONE]
        commits = sorted(set(trained["commit"]))
        if len(commits) > 1:
            yield (
                f"{comparison.name}: its scores were made by {len(commits)} versions of the code "
                f"({', '.join(commits)}). They are shown together, and may differ for that reason alone."
            )
        changed = [one for one in commits if one.endswith("+changes") or one == "unknown"]
        if changed:
            yield f"{comparison.name}: made by code that is in no commit ({', '.join(changed)})."
        versions = {
            json.dumps(RunFolder.named(results, run).settings().get("versions", {}), sort_keys=True)
            for run in set(trained["run"])
        }
        if len(versions) > 1:
            yield f"{comparison.name}: its runs were trained with {len(versions)} sets of package versions."
        heads = trained[trained["pooling"].map(few_shot_count).isna()]
        seeds = {pooling: sorted(set(group)) for pooling, group in heads.groupby("pooling")["seed"]}
        if len({tuple(group) for group in seeds.values()}) > 1:
            told = "; ".join(f"{pooling!s} has {list(map(int, group))}" for pooling, group in seeds.items())
            yield f"{comparison.name}: not all poolings have the same seeds ({told}); differences use the shared ones."


def run_cards(comparisons: Iterable[Comparison], results: Path) -> Iterator[RunCard]:
    """Everything that is known of each run, baselines included."""
    keys: dict[str, set[str]] = {}
    for comparison in comparisons:
        for run, key in zip(comparison.rows["run"], comparison.rows["protocol_key"], strict=True):
            keys.setdefault(run, set()).add(key)
    for run in sorted(keys):
        folder = RunFolder.named(results, run)
        settings = load_or_none(folder.settings_file, read_json) or {}
        versions = settings.get("versions", {})
        told = {key: load_or_none(folder.protocol_file(key), read_json) or {} for key in sorted(keys[run])}
        yield RunCard(
            name=run,
            about={
                "trained by": str(settings.get("command", "not known")),
                "code": str(settings.get("commit", "not known")),
                "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
                **{f"scored by, {key}": str(one.get("command", "not known")) for key, one in told.items()},
            },
            settings=_text(settings),
            protocols={key: _text(one) for key, one in told.items()},
        )


def _text(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False)
