"""What a run ends with: the tables with their intervals, and where the files are."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from wsol.comparison.comparison import measure, read_comparisons
from wsol.report.table_files import write_tables

WHERE = "HYDRA_FULL_ERROR=1 in front of the command shows where."


class Failed(NamedTuple):
    """A job of a sweep that came to nothing: the others are done all the same."""

    overrides: str
    error: str


class ShowResults(Callback):
    """Measures and prints each table once, after the last job of a sweep, not after every one."""

    def __init__(self) -> None:
        self.written: dict[str, dict[str, str]] = {}
        self.jobs = 0
        self.failed: list[Failed] = []

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Remember what the job wrote, or why it did not."""
        self.jobs += 1
        if job_return.status is not JobStatus.COMPLETED:
            return
        if isinstance(job_return.return_value, Failed):
            self.failed.append(job_return.return_value)
            return
        for told in job_return.return_value:
            self.written[told["md"]] = told

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """After a single job."""
        self.show()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """After the last job of a sweep; what failed comes last, where it is seen."""
        self.show()
        if self.failed:
            errors = [f"{one.overrides}\n  {one.error}" for one in self.failed]
            sys.exit("\n".join([f"{len(self.failed)} of {self.jobs} jobs failed:", *errors, WHERE]))

    def show(self) -> None:
        """Write the tables with their intervals, and print them."""
        for told in self.written.values():
            results = Path(told["results"])
            for comparison in read_comparisons(results):
                if comparison.name == told["comparison"]:
                    measured = measure(comparison.lines(results), progress=True)
                    write_tables(results, comparison, results, measured)
            print("\n" + Path(told["md"]).read_text(encoding="utf-8"))
            for suffix in ("csv", "md", "tex"):
                print(f"table: {told[suffix]}")
            print(f"picture: {told['png']}")
        if self.written:
            print("verdicts, figures and a page: python benchmarks/report.py")
