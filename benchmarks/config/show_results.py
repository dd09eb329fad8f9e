"""Print the tables with their intervals, and the paths of the files, at the end of a run."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from wsol.comparison.comparison import measure, read_comparisons
from wsol.report.table_files import write_tables

WHERE = "HYDRA_FULL_ERROR=1 in front of the command shows the tracebacks."


class Failed(NamedTuple):
    """A job of a sweep that failed, while the others continue."""

    overrides: str
    error: str


class ShowResults(Callback):
    """Callback that measures and prints each table once, after the last job of a sweep."""

    def __init__(self) -> None:
        self.written: dict[str, dict[str, str]] = {}
        self.jobs = 0
        self.failed: list[Failed] = []

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Store the files that a job wrote, or its error."""
        self.jobs += 1
        if job_return.status is not JobStatus.COMPLETED:
            return
        if isinstance(job_return.return_value, Failed):
            self.failed.append(job_return.return_value)
            return
        for files in job_return.return_value:
            self.written[files["md"]] = files

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the tables of a single job."""
        self.show()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the tables of a sweep, then the errors, which the user then sees last."""
        self.show()
        if self.failed:
            errors = [f"{job.overrides}\n  {job.error}" for job in self.failed]
            sys.exit("\n".join([f"{len(self.failed)} of {self.jobs} jobs failed:", *errors, WHERE]))

    def show(self) -> None:
        """Write the tables with their intervals, and print them."""
        for files in self.written.values():
            results = Path(files["results"])
            for comparison in read_comparisons(results):
                if comparison.name == files["comparison"]:
                    measured = measure(comparison.lines(results), progress=True)
                    write_tables(results, comparison, results, measured)
            print("\n" + Path(files["md"]).read_text(encoding="utf-8"))
            for suffix in ("csv", "md", "tex"):
                print(f"table: {files[suffix]}")
            print(f"picture: {files['png']}")
        if self.written:
            print("verdicts, figures and a page: python benchmarks/report.py")
