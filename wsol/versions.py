"""Versions of packages and of this code that made a result."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

_PACKAGES = ("wsol", "torch", "torchvision", "timm", "lightning-fabric", "numpy", "numba", "pillow", "pandas")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change a number."""
    versions_of = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions_of[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions_of[package] = "not installed"
    return versions_of


def commit() -> str:
    """Return the short commit of this code, `+changes` if files differ from it; `unknown` outside a git checkout."""
    folder = Path(__file__).parent
    try:
        head = _git(folder, "rev-parse", "--short=10", "HEAD")
        # Tables and pictures under results/ are what the code writes, so they do not make it another code.
        changed = _git(folder.parent, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+changes" if changed else head


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()
