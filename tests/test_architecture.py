"""The rooms of the house: which package may import which, and what lies where."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WSOL = ROOT / "wsol"

# A room imports itself and the rooms above it. `base` stands for the modules that lie flat in wsol/.
ROOMS = [
    {"base"},
    {"data"},
    {"networks"},
    {"training", "maps"},
    {"scoring"},
    {"explain"},
    {"runs"},
    {"comparison"},
    {"report"},
]
FLOOR = {name: floor for floor, names in enumerate(ROOMS) for name in names}
MODULES = sorted(WSOL.rglob("*.py"))
COMMANDS = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
OPTION_PACKAGES = [
    "data/readers",
    "networks/backbones",
    "networks/pooling",
    "networks/trained",
    "training/methods",
    "maps/methods",
    "scoring/boxes",
    "scoring/scores",
    "explain/faithfulness",
]
NO_TORCH = [
    "geometry",
    "data/ground_truth",
    "scoring/matching",
    "scoring/record",
    "scoring/thresholds",
    "scoring/score",
    "scoring/stream_scores",
]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            # `from wsol import geometry` names a room, too.
            yield from (f"wsol.{alias.name}" for alias in node.names) if node.module == "wsol" else (node.module,)


def room(name):
    """The room of a dotted name below wsol."""
    first = name.split(".")[1]
    return first if (WSOL / first).is_dir() else "base"


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_the_rooms_are_those_named():
    assert {path.parent.name for path in WSOL.glob("*/__init__.py")} == set(FLOOR) - {"base"}


def test_at_most_eight_modules_lie_flat():
    assert len([path for path in WSOL.glob("*.py") if path.stem != "__init__"]) <= 8


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_run_one_way(path):
    if path == WSOL / "__init__.py":  # the public API
        return
    own = room(name_of(path))
    for name in imports(path):
        if name.startswith("wsol."):
            other = room(name)
            assert other == own or FLOOR[other] < FLOOR[own], f"{path} imports {name}: {own} may not import {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_commands_and_tests_import_hydra_and_commands(path):
    tops = {name.split(".")[0] for name in imports(path)}
    assert not tops & {"hydra", "omegaconf", "benchmarks", "config", "measure"}, f"{path} imports {tops}"


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: path.stem)
def test_no_command_is_a_library(path):
    assert not {name.split(".")[0] for name in imports(path)} & COMMANDS


@pytest.mark.parametrize("package", OPTION_PACKAGES)
def test_option_packages_hold_nothing_but_options(package):
    assert (WSOL / package / "__init__.py").read_text() == ""
    for path in (WSOL / package).glob("*.py"):
        others = [name for name in imports(path) if name.startswith(f"wsol.{package.replace('/', '.')}.")]
        # An option may build on another of its group (MaxBoxAccV2 is a mean of MaxBoxAcc), never on a hidden helper.
        assert all((ROOT / (name.replace(".", "/") + ".py")).exists() for name in others)


def test_types_follow_the_line_torch_numpy_pandas():
    for name in NO_TORCH:
        assert "torch" not in set(imports(WSOL / f"{name}.py"))
    for package in ("boxes", "scores", "engine"):
        for path in (WSOL / "scoring" / package).glob("*.py"):
            assert not {"torch", "pandas"} & set(imports(path))


def test_functions_take_objects_and_not_unpacked_settings():
    counts = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                given = node.args
                named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
                parameters = [argument.arg for argument in named if argument is not None]
                counts[f"{path}: {node.name}"] = len([name for name in parameters if name not in ("self", "cls")])
    assert max(counts.values()) <= 8
    assert len([name for name, count in counts.items() if count > 6]) <= 3
