"""Group runs into comparisons, which share one table, and measure scores from their records."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from wsol.comparison.paired_scores import Measured, OneSeed, gather, measure_one
from wsol.comparison.saved_maps import ScoredMap, read_scored_maps
from wsol.identity import restore
from wsol.runs.as_is import AS_IS
from wsol.runs.folder import RunFolder, read_rows
from wsol.runs.result_names import result_name
from wsol.scoring.baselines import NONE
from wsol.scoring.score import Score
from wsol.threads import in_threads

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """Runs that share a table, with the baselines of their data: they differ in nothing but the head and the seed.

    Networks that are scored as they are share a table if the images, their size and the protocol are the same; each
    stands in it as a head, under its own name.

    Attributes:
        name: data, backbone and two hashes: of the settings that the runs share, and of the protocol.
        rows: rows of the runs that learned something, and of the baselines; see `without_failed`.
        failed: rows of the runs that diverged or collapsed, which no mean may count.
    """

    name: str
    rows: pd.DataFrame
    failed: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        return str(self.rows["protocol_key"].iloc[0]).rpartition("-")[0]

    def file_name(self, out: Path) -> str:
        """Return the path, without suffix, of its files below `tables`, `figures` and `pictures`; see `result_name`."""
        row = self.rows[self.rows["backbone"] != NONE].iloc[0]
        return result_name(out, f"{row['data']}-{row['backbone']}", self.protocol, self.name)

    @property
    def is_as_is(self) -> bool:
        """Whether networks are compared that nothing trained here; each stands in it as a head."""
        return AS_IS in set(self.rows["backbone"])

    def can_answer(self, poolings: Collection[str]) -> bool:
        """Return whether claims about these heads may be asked here: not of networks as they are, which have no others.

        Args:
            poolings: heads that a claim names.
        """
        return not self.is_as_is or set(poolings) <= set(self.rows.loc[self.rows["backbone"] == AS_IS, "pooling"])

    def lines(self, results: Path) -> dict[tuple[str, str], list[ScoredMap]]:
        """Return the scored maps on disk: (pooling, map) -> one for each seed."""
        lines: dict[tuple[str, str], list[ScoredMap]] = {}
        for scored in read_scored_maps(results, self.rows):
            lines.setdefault((scored.pooling, scored.name), []).append(scored)
        return lines


def read_comparisons(results: Path, wanted: Mapping[str, Iterable[str]] | None = None) -> Iterator[Comparison]:
    """Yield all comparisons that can be made from the rows on disk, in order of their names.

    A file without rows is left out with a warning in the log. So is the older of two runs of one head and seed, which
    a change in what names a run can leave behind.

    Args:
        results: the folder that contains `runs`.
        wanted: column of the rows, or `protocol` for its name -> values to keep. Filters of poolings, maps, seeds and
            scores leave rows out; baselines stay.

    Raises:
        ValueError: if a filter names no column.
    """
    for column in wanted or {}:
        if column not in (*_FILTERS, "score"):
            raise ValueError(f"there is no filter {column!r}; filters: {', '.join((*_FILTERS, 'score'))}.")
    frames = list(_read_all(sorted((results / "runs").glob("*/scores-*.csv"))))
    if not frames:
        return
    rows = pd.concat(frames, ignore_index=True)
    is_baseline = rows["backbone"] == NONE
    columns = rows.assign(protocol=rows["protocol_key"].str.rpartition("-")[0])
    keep = pd.Series(True, index=rows.index)
    for column, values in (wanted or {}).items():
        fits = columns[column].astype(str).isin([str(value) for value in values])
        keep &= fits | is_baseline if column != "score" else fits
    for (comparison, protocol), group in rows[~is_baseline & keep].groupby(["comparison", "protocol_key"]):
        group = _newest(results, group)
        same = is_baseline & (rows["baselines"] == group["baselines"].iloc[0]) & (rows["protocol_key"] == protocol)
        failed = group["status"] != ""
        kept = pd.concat([without_failed(group), rows[same & keep]], ignore_index=True)
        yield Comparison(f"{comparison}-{protocol}", kept, group[failed].reset_index(drop=True))


def without_failed(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out the runs that diverged or collapsed; a head of which no run learned keeps its rows, without values."""
    failed = rows["status"] != ""
    learned = rows["pooling"].isin(rows.loc[~failed, "pooling"])
    kept = rows[~failed | ~learned]
    return kept.assign(value=kept["value"].mask(kept["status"] != ""))


def _newest(results: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Keep one run of each head and seed, the one whose `settings.json` was written last."""
    older: list[str] = []
    for (pooling, seed), same in rows.groupby(["pooling", "seed"]):
        *before, last = sorted(set(same["run"]), key=lambda run: (_written(results, run), run))
        for run in before:
            log.warning(
                "left out: %s, which is %s with seed %s as the newer %s is; delete the folder of one of them.",
                results / "runs" / run,
                pooling,
                seed,
                last,
            )
        older += before
    return rows[~rows["run"].isin(older)]


def _written(results: Path, run: str) -> float:
    file = RunFolder.named(results, run).settings_file
    return file.stat().st_mtime if file.exists() else 0.0


def _read_all(files: Iterable[Path]) -> Iterator[pd.DataFrame]:
    for path in files:
        try:
            yield read_rows(path)
        except ValueError as error:
            log.warning("left out: %s", error)


_FILTERS = ("data", "backbone", "pooling", "map", "seed", "protocol", "protocol_key", "comparison", "run")


def measure(
    lines: Mapping[tuple[str, str], Sequence[ScoredMap]],
    scores: Mapping[str, Score] | None = None,
    progress: bool = False,
) -> dict[tuple[str, str], dict[str, Measured]]:
    """Measure all scores of a comparison, reading each record once.

    Args:
        lines: (pooling, map) -> the scored map of each seed.
        scores: further scores, beside those that the runs were scored by.
        progress: show a bar.

    Returns:
        (pooling, map) -> name of the score -> its values. A score that not all seeds have on disk is left out.
    """
    jobs = [
        (line, scored, {**scores_of(scored), **(scores or {})}) for line, seeds in lines.items() for scored in seeds
    ]
    by_line: dict[tuple[str, str], dict[str, list[tuple[ScoredMap, OneSeed]]]] = {line: {} for line in lines}
    hidden = None if progress else True
    read = in_threads(lambda job: measure_one(job[1], job[2]), jobs)
    bar = tqdm(read, desc="reading records", total=len(jobs), unit="map", delay=1, leave=False, disable=hidden)
    for (line, scored, _), by_name in zip(jobs, bar, strict=True):
        for name, seed in by_name.items():
            by_line[line].setdefault(name, []).append((scored, seed))
    return {
        line: {
            name: gather(seeds, baseline=not lines[line][0].trained)
            for name, seeds in by_name.items()
            if len(seeds) == len(lines[line])
        }
        for line, by_name in by_line.items()
    }


def scores_of(scored: ScoredMap) -> dict[str, Score]:
    """Return the scores that a run was scored by; empty if its evaluation names none."""
    return restore(scored.evaluation.get("scores", {}), groups=["scores"], classes=[Score])
