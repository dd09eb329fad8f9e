"""What a run ends with: the tables with their intervals, and where the files are."""

from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from wsol.comparisons import measure, read_comparisons
from wsol.reports import write_tables


class ShowResults(Callback):
    """Measures and prints each table once, after the last job of a sweep, not after every one."""

    def __init__(self) -> None:
        self.written: dict[str, dict[str, str]] = {}

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Remember what the job wrote."""
        if job_return.status is JobStatus.COMPLETED:
            for told in job_return.return_value:
                self.written[told["md"]] = told

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """After a single job."""
        self.show()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """After the last job of a sweep."""
        self.show()

    def show(self) -> None:
        """Write the tables with their intervals, and print them."""
        for told in self.written.values():
            results = Path(told["results"])
            for comparison in read_comparisons(results):
                if comparison.name == told["comparison"]:
                    measured = measure(comparison.lines(results), progress=True)
                    write_tables(results, comparison, results / "tables", measured)
            print("\n" + Path(told["md"]).read_text(encoding="utf-8"))
            for suffix in ("csv", "md", "tex"):
                print(f"table: {told[suffix]}")
            print(f"picture: {told['png']}")
        if self.written:
            print("verdicts, figures and a page: python benchmarks/report.py")
