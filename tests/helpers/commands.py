"""Run a command of `benchmarks/` inside the test process, which has imported torch and compiled the engine already."""

import contextlib
import io
import logging
import os
import runpy
import sys
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

from hydra.core.global_hydra import GlobalHydra

ROOT = Path(__file__).parents[2]


def run_command(script: str | Path, *words: object, check: bool = True) -> CompletedProcess[str]:
    """Run a command as `python benchmarks/SCRIPT WORDS` from the root of the checkout.

    Args:
        script: path of the command in `benchmarks/`, such as `run.py`, or the absolute path of another script.
        words: the command line after it.
        check: whether the exit status must be 0.

    Returns:
        The exit status with what the command printed.
    """
    path = ROOT / "benchmarks" / script
    line = [str(path.relative_to(ROOT)), *map(str, words)]
    output, errors, status = io.StringIO(), io.StringIO(), 0
    folder, root = Path.cwd(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    os.chdir(ROOT)
    GlobalHydra.instance().clear()
    try:
        with (
            mock.patch.object(sys, "argv", line),
            mock.patch.object(sys, "path", sys.path[:]),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            errors.write(end.code + "\n")
    finally:
        os.chdir(folder)
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        GlobalHydra.instance().clear()
    done = CompletedProcess(line, status, output.getvalue(), errors.getvalue())
    if check:
        assert done.returncode == 0, done.stderr
    return done
