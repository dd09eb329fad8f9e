"""A run's rows of the table, from its records."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wsol.atomic_files import read_json, write_json
from wsol.identity import describe
from wsol.runs.artifacts import RunArtifacts
from wsol.runs.experiment import PSOL, Evaluation
from wsol.runs.fit import DIVERGED
from wsol.runs.folder import (
    FACT_COLUMNS,
    RUN_COLUMNS,
    SCORE_COLUMNS,
    RunFolder,
    load_or_none,
    read_rows,
    save_frame,
)
from wsol.scoring.score import FAITHFULNESS, Records
from wsol.versions import commit


def ensure_scores(
    folder: RunFolder,
    evaluation: Evaluation,
    about: Mapping[str, Any],
    records: Mapping[str, Records],
    command: str,
    job: RunArtifacts | None = None,
) -> pd.DataFrame:
    """The rows, from disk or made; of a job, the maps' facts and faithfulness come with them.

    Args:
        folder: of the run.
        evaluation: by which the records were made.
        about: the run's settings.
        records: map -> box rule -> record. Rows on disk that lack a map, as PSOL's where it was not asked for before,
            get those of it.
        command: what the user typed.
        job: the run itself; None for what has no classifier.
    """
    path = folder.scores_file(evaluation.key)
    rows = load_or_none(path, read_rows)
    if rows is not None and (rows["status"] == DIVERGED).all():
        rows = None  # of a training that was tried again since
    scored = {
        name: by_rule
        for name, by_rule in records.items()
        if rows is None
        # A baseline without a map has no pixels' scores.
        or (name not in set(rows["map"]) and any(one.record(by_rule) is not None for one in evaluation.scores.values()))
    }
    protocol_file = folder.protocol_file(evaluation.key)
    told = load_or_none(protocol_file, read_json)
    about_rows = {**_text(evaluation, command), "settings": describe(evaluation)}
    if told is None or (scored and told != about_rows):  # the command that it names is the one that made the rows
        write_json(protocol_file, about_rows)
    if scored:
        made = [row for name, by_rule in scored.items() for row in _rows(evaluation, about, name, by_rule, job)]
        rows = _save(path, made, rows)
    assert rows is not None
    return rows


def _rows(
    evaluation: Evaluation, about: Mapping[str, Any], name: str, by_rule: Records, job: RunArtifacts | None
) -> Iterator[dict[str, Any]]:
    """Those of one map: a row a score, and one a number of a faithfulness measure."""
    one = _row(evaluation, about, name)
    measured = pd.DataFrame()
    if job is not None and name == PSOL:  # which has no map
        one["status"] = job.status()
    elif job is not None:
        one, measured = one | job.facts(name), job.faithfulness(name)
    for score_name, score in evaluation.scores.items():
        record = score.record(by_rule)
        if record is None:
            continue
        threshold = None if name == PSOL else score.threshold_used(by_rule)
        told = {"value": score(by_rule), "threshold": threshold, "images": len(record.image_ids)}
        yield {**one, "score": score_name, "protocol": evaluation.protocol_of(score), **told}
    better = {
        column: f"{FAITHFULNESS}: {told.better} is better"
        for measure in evaluation.faithfulness.values()
        for column, told in measure.columns.items()
    }
    for column in measured:
        values = measured[column].dropna()
        told = {"value": values.mean(), "threshold": np.nan, "images": len(values)}
        yield {**one, "score": column, "protocol": better[str(column)], **told}


def ensure_failed_rows(
    folder: RunFolder, evaluation: Evaluation, about: Mapping[str, Any], command: str, maps: Iterable[str]
) -> pd.DataFrame:
    """Rows without values, of a run whose training diverged."""
    path = folder.scores_file(evaluation.key)
    rows = load_or_none(path, read_rows)
    if rows is None:
        about_rows = {**_text(evaluation, command), "settings": describe(evaluation)}
        write_json(folder.protocol_file(evaluation.key), about_rows)
        failed = {"status": DIVERGED, "images": 0}
        rows = _save(
            path,
            [
                {
                    **_row(evaluation, about, name),
                    **failed,
                    "score": score_name,
                    "protocol": evaluation.protocol_of(score),
                }
                for name in maps
                for score_name, score in evaluation.scores.items()
            ],
        )
    return rows


def _row(evaluation: Evaluation, about: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What all rows of a map say."""
    run = {column: about[column] for column in RUN_COLUMNS}
    return {**run, "protocol_key": evaluation.key, "map": name, "commit": commit()}


def _text(evaluation: Evaluation, command: str) -> dict[str, str]:
    return {"protocol": evaluation.protocol.name, "text": evaluation.protocol.text, "command": command}


def _save(path: Path, made: Sequence[Mapping[str, Any]], before: pd.DataFrame | None = None) -> pd.DataFrame:
    """Write rows behind those that there are; what comes back is what a second run will read, to the last digit."""
    rows = pd.DataFrame(made).reindex(columns=[*RUN_COLUMNS, *SCORE_COLUMNS, *FACT_COLUMNS])
    save_frame(path, rows if before is None else pd.concat([before, rows], ignore_index=True))
    return read_rows(path)
