"""Write and print the tables of all jobs of a run, after the last one."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from wsol.comparison.comparison import measure, read_comparisons
from wsol.report.table_files import write_tables

WHERE = "HYDRA_FULL_ERROR=1 in front of the command shows the tracebacks."


class Scored(NamedTuple):
    """Name a comparison that a job belongs to.

    Attributes:
        results: the folder that holds `runs`.
        comparison: name of the comparison.
        picture: path of its picture.
    """

    results: Path
    comparison: str
    picture: Path


class Failed(NamedTuple):
    """Name a job of a sweep that failed; the other jobs run all the same."""

    overrides: str
    error: str


class ShowResults(Callback):
    """Write and print each table once, after the last job of a sweep, not after every job."""

    def __init__(self) -> None:
        self.scored: dict[tuple[Path, str], Scored] = {}
        self.jobs = 0
        self.failed: list[Failed] = []

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Keep the comparisons of a job, or the reason why it failed."""
        self.jobs += 1
        if job_return.status is not JobStatus.COMPLETED:
            return
        if isinstance(job_return.return_value, Failed):
            self.failed.append(job_return.return_value)
            return
        self.scored |= {(scored.results, scored.comparison): scored for scored in job_return.return_value}

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Show the results of a single job."""
        self.show()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Show the results of a sweep; list the jobs that failed last, where they are seen."""
        self.show()
        if self.failed:
            errors = [f"{failed.overrides}\n  {failed.error}" for failed in self.failed]
            sys.exit("\n".join([f"{len(self.failed)} of {self.jobs} jobs failed:", *errors, WHERE]))

    def show(self) -> None:
        """Write the tables with their intervals, and print them."""
        for results, name, picture in self.scored.values():
            (comparison,) = (comparison for comparison in read_comparisons(results) if comparison.name == name)
            measured = measure(comparison.lines(results), progress=True)
            paths = write_tables(results, comparison, results, measured)
            print("\n" + paths["md"].read_text(encoding="utf-8"))
            for suffix in ("csv", "md", "tex"):
                print(f"table: {paths[suffix]}")
            print(f"picture: {picture}")
        if self.scored:
            print("verdicts, figures and a page: python benchmarks/report.py")
