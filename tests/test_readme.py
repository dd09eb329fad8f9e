"""The links of the README and of docs/ lead somewhere, and their commands can be run."""

import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_or_a_heading(page: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)]+)\)", page.read_text(encoding="utf-8"))
    assert links
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = page if not path else (page.parent / path)
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_several_jobs_say_so(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    ambiguous = []
    for command in re.findall(r"benchmarks/run\.py([^\n`]*)", text):
        words = shlex.split(command, comments=True)
        if any(word.startswith("sweep=") or word in ("-m", "--multirun") for word in words):
            continue
        settings = [word for word in words if "=" in word]
        if any(one.is_sweep_override() for one in OverridesParser.create().parse_overrides(settings)):
            ambiguous.append(command)
    assert ambiguous == []
