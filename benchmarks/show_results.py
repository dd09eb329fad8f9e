"""What a run prints when it ends: the table, and where the files are."""

from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class ShowResults(Callback):
    """Prints each table once, after the last job of a sweep, not after every one."""

    def __init__(self) -> None:
        self.written: dict[str, dict[str, str]] = {}

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Remember what the job wrote."""
        if job_return.status is JobStatus.COMPLETED:
            for paths in job_return.return_value:
                self.written[paths["md"]] = paths

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """After a single job."""
        self.show()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """After the last job of a sweep."""
        self.show()

    def show(self) -> None:
        """Print."""
        for paths in self.written.values():
            print("\n" + Path(paths["md"]).read_text(encoding="utf-8"))
            for suffix, path in paths.items():
                print(f"{'picture' if suffix == 'png' else 'table'}: {path}")
