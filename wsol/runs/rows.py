"""Write a run's rows of the table, from its records."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from wsol.atomic_files import read_json, write_json
from wsol.identity import describe
from wsol.runs.artifacts import RunArtifacts
from wsol.runs.experiment import PSOL
from wsol.runs.facts import MapFacts
from wsol.runs.fit import DIVERGED
from wsol.runs.folder import FACT_COLUMNS, RUN_COLUMNS, SCORE_COLUMNS, load_or_none, read_rows, save_frame
from wsol.scoring.score import FAITHFULNESS, Records
from wsol.versions import commit

_NO_FACTS = MapFacts({})


def unscored(names: Iterable[str], artifacts: RunArtifacts) -> set[str]:
    """Return those maps that have no rows on disk."""
    rows = artifacts.load_rows()
    return set(names) - (set() if rows is None else set(rows["map"]))


def score_rows(
    records: Mapping[str, Records], artifacts: RunArtifacts, facts: Mapping[str, MapFacts] | None = None
) -> pd.DataFrame:
    """Score the records of a run, and write the rows that its folder lacks.

    Args:
        records: map -> box rule -> record. Rows on disk that lack a map, as PSOL after a run without it, get its rows.
        artifacts: the files of the run.
        facts: map -> what describes it, of those maps that are scored here; none of what has no classifier.

    Returns:
        All rows of the run, as a second job will read them.
    """
    evaluation, facts = artifacts.evaluation, facts or {}
    rows = artifacts.load_rows()
    scored = {
        name: by_rule
        for name, by_rule in records.items()
        if rows is None
        # A baseline without a map has no scores against masks.
        or (
            name not in set(rows["map"])
            and any(score.record(by_rule) is not None for score in evaluation.scores.values())
        )
    }
    protocol_file, protocol = artifacts.folder.protocol_file(evaluation.key), _protocol(artifacts)
    written = load_or_none(protocol_file, read_json)
    if written is None or (scored and written != protocol):  # the command that it names is the one that made the rows
        write_json(protocol_file, protocol)
    if scored:
        made = [row for name in scored for row in _rows(name, scored[name], facts.get(name, _NO_FACTS), artifacts)]
        rows = _save(made, artifacts, rows)
    assert rows is not None
    return rows


def failed_rows(artifacts: RunArtifacts, maps: Iterable[str]) -> pd.DataFrame:
    """Return the rows of a run whose training diverged, which have no values; write them if they are missing."""
    evaluation = artifacts.evaluation
    rows = load_or_none(artifacts.folder.scores_file(evaluation.key), read_rows)
    if rows is not None:
        return rows
    write_json(artifacts.folder.protocol_file(evaluation.key), _protocol(artifacts))
    failed = {"status": DIVERGED, "images": 0}
    made = [
        {**_run_columns(name, artifacts), **failed, "score": score_name, "protocol": evaluation.protocol_of(score)}
        for name in maps
        for score_name, score in evaluation.scores.items()
    ]
    return _save(made, artifacts)


def _rows(name: str, by_rule: Records, facts: MapFacts, artifacts: RunArtifacts) -> Iterator[dict[str, Any]]:
    """Yield one row per score of a map, and one per number of a faithfulness measure."""
    evaluation = artifacts.evaluation
    shared = {**_run_columns(name, artifacts), **facts.columns}
    for score_name, score in evaluation.scores.items():
        record = score.record(by_rule)
        if record is None:
            continue
        threshold = None if name == PSOL else score.threshold_used(by_rule)
        scored = {"value": score(by_rule), "threshold": threshold, "images": len(record.image_ids)}
        yield {**shared, "score": score_name, "protocol": evaluation.protocol_of(score), **scored}
    better = {
        column: f"{FAITHFULNESS}: {number.better} is better"
        for measure in evaluation.faithfulness.values()
        for column, number in measure.columns.items()
    }
    for column in facts.faithfulness:
        values = facts.faithfulness[column].dropna()
        measured = {"value": values.mean(), "threshold": np.nan, "images": len(values)}
        yield {**shared, "score": column, "protocol": better[str(column)], **measured}


def _run_columns(name: str, artifacts: RunArtifacts) -> dict[str, Any]:
    """Return the columns that all rows of a map share."""
    run = {column: artifacts.about[column] for column in RUN_COLUMNS}
    run["seed"] = run["seed"] or 0  # a network as it is has none, like a baseline, whose rows also have 0
    return {**run, "protocol_key": artifacts.evaluation.key, "map": name, "commit": commit()}


def _protocol(artifacts: RunArtifacts) -> dict[str, Any]:
    """Return what `protocol-*.json` contains."""
    protocol = artifacts.evaluation.protocol
    text = {"protocol": protocol.name, "text": protocol.text, "command": artifacts.command}
    return {**text, "settings": describe(artifacts.evaluation)}


def _save(
    made: Sequence[Mapping[str, Any]], artifacts: RunArtifacts, before: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Write rows after those on disk, and read all of them again, as rounded as a second job will read them."""
    path = artifacts.folder.scores_file(artifacts.evaluation.key)
    rows = pd.DataFrame(made).reindex(columns=[*RUN_COLUMNS, *SCORE_COLUMNS, *FACT_COLUMNS])
    save_frame(path, rows if before is None else pd.concat([before, rows], ignore_index=True))
    return read_rows(path)
