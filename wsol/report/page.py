"""Make the verdicts, warnings and run cards of the report's page."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsol.atomic_files import read_json
from wsol.comparison.claim import NOT_TESTABLE, Answered, needed
from wsol.comparison.comparison import Comparison
from wsol.comparison.paired_scores import Measured
from wsol.report.content import Answer, RunCard
from wsol.report.missing_runs import command_for, missing_runs, with_maps, with_protocol
from wsol.runs.as_is import AS_IS
from wsol.runs.few_shot import few_shot_count
from wsol.runs.folder import RunFolder, load_or_none
from wsol.scoring.baselines import NONE


def answers_of(answered: Sequence[Answered], comparison: Comparison, results: Path) -> Iterator[Answer]:
    """Yield answered claims in the form that the page shows."""
    for answer in answered:
        claim, estimate = answer.claim, answer.estimate
        common: dict[str, Any] = {
            "claim": claim.text,
            "source": claim.source,
            "where": comparison.name,
            "section": comparison.name,
        }
        if estimate is None or answer.measured is None:
            failed = _failed(answer, comparison)
            yield Answer(
                **common,
                verdict=NOT_TESTABLE,
                estimate="",
                interval="",
                p="",
                reading=f"{claim.quantity}: {failed or answer.why}.",
                needed="" if failed else _command(answer, comparison, results),
            )
            continue
        ratio = bool(claim.reference)
        low, high = (end - claim.reference for end in estimate.interval)
        interval = f"[{_points(low, ratio, unit=False)}, {_points(high, ratio, unit=False)}]"
        why = f"Not testable: {answer.why}. " if answer.why else ""
        yield Answer(
            **common,
            verdict=answer.verdict,
            estimate=_points(estimate.value - claim.reference, ratio),
            interval="" if answer.too_few else interval,
            p=_p_text(answer.p_holm),
            reading=(
                f"{why}{claim.quantity}; claimed: {claim.region}; margin: {claim.margin_reason}. Protocol "
                f"{comparison.protocol}, {_seeds(answer.measured)}. {_family(answer)}{beside_of(answer)}"
            ).strip(),
            needed=needed(answer),
            runs=answer.measured.all_runs,
            few=few_text(answer),
        )


def few_text(answer: Answered) -> str:
    """Return the remark on a claim with fewer than three seeds of a setting; empty with more, or for baselines."""
    if not answer.too_few:
        return ""
    return "one training" if answer.is_one_training else "n too small"


def _p_text(p: float) -> str:
    if math.isnan(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _family(answer: Answered) -> str:
    """Return a sentence on the correction of the p-value; empty if nothing was tested."""
    if math.isnan(answer.p_holm):
        return ""
    if not answer.family:
        return "The primary claim: p is not corrected. "
    return f"p is corrected for the {answer.family} claims beside the primary one, answered or not (Holm). "


def _seeds(measured: Measured) -> str:
    """Return the numbers of seeds and images, and which of the two the interval covers."""
    images = f"{measured.images:,} images"
    if not measured.trainings:
        return f"no seed, {images}; the 95 % interval covers test images, for nothing was trained"
    counts = " and ".join(str(count) for count in dict.fromkeys(measured.trainings))
    seeds = f"{counts} seed{'' if measured.trainings == (1,) * len(measured.trainings) else 's'}"
    if measured.too_few:
        return f"{seeds}, {images}; n too small for an interval"
    paired = "" if len(measured.trainings) == 1 else ", seeds unpaired"
    return f"{seeds}, {images}; the 95 % interval covers training seeds and test images{paired}"


def beside_of(answer: Answered) -> str:
    """Return the scores of both groups, and the claim's further scores, a sentence each."""
    names = [f"{group['pooling']} {group['map']}" for group in answer.claim.groups]
    sentences = []
    for score, values in answer.beside.items():
        numbers = ", ".join(
            f"{name} {_value(score, measured.estimate.value)}" for name, measured in zip(names, values, strict=True)
        )
        sentences.append(f"{score}: {numbers}.")
    return " ".join(sentences)


def _value(score: str, value: float) -> str:
    return f"{value:.2f}" if score == "box_area_ratio" else f"{100 * value:.1f} %"


def _points(value: float, ratio: bool, unit: bool = True) -> str:
    text = f"{100 * value:+.1f}".replace("-", "−")
    return text + (" % of the true area" if ratio else " points") * unit


def _failed(answer: Answered, comparison: Comparison) -> str:
    """Describe the heads of a claim of which no seed learned; empty if there are none."""
    if comparison.failed.empty:
        return ""
    clauses = []
    for pooling in dict.fromkeys(group["pooling"] for group in answer.claim.groups):
        rows = comparison.rows[comparison.rows["pooling"] == pooling]
        failed = comparison.failed[comparison.failed["pooling"] == pooling]
        if not failed.empty and (rows["status"] != "").all():
            seeds = ", ".join(str(seed) for seed in sorted(set(failed["seed"])))
            status = " or ".join(sorted(set(failed["status"])))
            clauses.append(f"every run of pooling={pooling} {status} (seed {seeds})")
    return "; ".join(clauses)


def _command(answer: Answered, comparison: Comparison, results: Path) -> str:
    """Return the command that makes the rows that a claim lacks; seeds that failed are left out."""
    wanted = list(dict.fromkeys(group["pooling"] for group in answer.claim.groups))
    as_is = set(comparison.rows.loc[comparison.rows["backbone"] == AS_IS, "pooling"])
    trained = comparison.rows["backbone"] != NONE
    runs = sorted(set(comparison.rows.loc[trained, "run"]))
    settings = {run: RunFolder.named(results, run).settings() for run in runs}
    failed = () if comparison.failed.empty else sorted(set(comparison.failed["run"]))
    tried = [RunFolder.named(results, run).settings() for run in failed]
    learned = [settings_of_run for run, settings_of_run in settings.items() if run not in failed]
    if answer.claim.protocol != comparison.protocol:
        return with_protocol(str(settings[runs[0]]["command"]), answer.claim) if runs else ""
    scored = list(dict.fromkeys(comparison.rows.loc[trained, "map"]))
    asked = list(dict.fromkeys(group["map"] for group in answer.claim.groups))
    more = [name for name in asked if name not in scored]
    lacking = [] if as_is else list(missing_runs(learned, wanted, tried))
    if lacking and more:
        # Other maps make another table, which needs all heads of the claim; and not every head has the maps of these.
        first, seeds = lacking[0][0], {int(run["seed"]) for run in [*learned, *tried] if _is_head(run)}
        gone = {(run["pooling"], int(run["seed"])) for run in tried}
        left = {pooling: sorted(seed for seed in seeds if (pooling, seed) not in gone) for pooling in wanted}
        return "; ".join(
            with_maps(command_for(first, pooling, left[pooling]), asked) for pooling in wanted if left[pooling]
        )
    if lacking:
        return "; ".join(command_for(*missing) for missing in lacking)
    if not settings:
        return ""
    command = str(settings[runs[0]]["command"])
    return f"{command} 'maps=[{','.join([*scored, *more])}]'" if more else command  # which also makes the records again


def _is_head(settings: Mapping[str, Any]) -> bool:
    return few_shot_count(settings["pooling"]) is None


def warnings_of(comparisons: Sequence[Comparison], results: Path) -> Iterator[str]:
    """Yield warnings of runs that differ in their code, package versions or seeds."""
    for comparison in comparisons:
        trained = comparison.rows[comparison.rows["backbone"] != NONE]
        commits = sorted(set(trained["commit"]))
        if len(commits) > 1:
            yield (
                f"{comparison.name}: its scores were made by {len(commits)} versions of the code "
                f"({', '.join(commits)}). They are shown together, and may differ for that reason alone."
            )
        changed = [commit for commit in commits if commit.endswith("+changes") or commit == "unknown"]
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
            lists = "; ".join(f"{pooling!s} has {list(map(int, group))}" for pooling, group in seeds.items())
            yield f"{comparison.name}: not all poolings have the same seeds ({lists}); differences use all of them."


def run_cards(comparisons: Iterable[Comparison], results: Path) -> Iterator[RunCard]:
    """Yield a card of each run, baselines included, in order of the names."""
    keys: dict[str, set[str]] = {}
    for comparison in comparisons:
        for run, key in zip(comparison.rows["run"], comparison.rows["protocol_key"], strict=True):
            keys.setdefault(run, set()).add(key)
    for run in sorted(keys):
        folder = RunFolder.named(results, run)
        settings = load_or_none(folder.settings_file, read_json) or {}
        versions = settings.get("versions", {})
        protocols = {key: load_or_none(folder.protocol_file(key), read_json) or {} for key in sorted(keys[run])}
        yield RunCard(
            name=run,
            about={
                "made by" if settings.get("backbone") == AS_IS else "trained by": str(
                    settings.get("command", "not known")
                ),
                "code": str(settings.get("commit", "not known")),
                "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
                **{f"scored by, {key}": str(text.get("command", "not known")) for key, text in protocols.items()},
            },
            settings=_text(settings),
            protocols={key: _text(content) for key, content in protocols.items()},
        )


def _text(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False)
