"""The names that `import wsol` gives, and the examples that show them."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import wsol

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_importing_wsol_imports_nothing_that_takes_time():
    slow = ("torch", "numpy", "pandas", "numba", "matplotlib", "lightning_fabric")
    code = f"import sys, wsol; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", wsol.__all__)
def test_every_name_is_there_with_a_docstring(name):
    assert getattr(wsol, name).__doc__
    assert getattr(wsol, name) is getattr(wsol, name)


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match=r"no attribute 'CAN'; it has CAM, "):
        _ = wsol.CAN


def test_types_and_names_agree():
    text = (ROOT / "wsol" / "__init__.py").read_text()
    block = text[text.index("if TYPE_CHECKING") : text.index("_MODULES = {")]
    named = {line.split(" as ")[1].split()[0] for line in block.splitlines() if " as " in line}
    assert named == set(wsol.__all__) == set(dir(wsol))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, tmp_path, monkeypatch, capsys):
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    assert 8 <= len(lines) <= 27
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]
