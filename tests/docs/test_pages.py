"""What the pages say of the source is true: drawings, files, names, links."""

import ast
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from snippets import PAGES, ROOT

SOURCE = ROOT / "src"
MAP = ROOT / "docs" / "map.md"

DRAW = runpy.run_path(str(ROOT / "docs" / "draw.py"))


@pytest.mark.parametrize("page", DRAW["PAGES"], ids=lambda page: page.name)
def test_the_drawings_are_those_of_the_source(page: Path) -> None:
    drawn: Callable[[Path], str] = DRAW["drawn"]
    assert page.read_text() == drawn(page), "stale: run `python docs/draw.py`"


def test_every_drawing_has_its_place() -> None:
    text = "".join(page.read_text() for page in DRAW["PAGES"])
    assert sorted(re.findall(r"<!-- generated: ([\w-]+) -->", text)) == sorted(DRAW["DRAWINGS"])


def test_every_file_that_the_map_names_exists() -> None:
    named = re.findall(r"`((?:wscore|wstransports)/[\w/]+\.py)`", MAP.read_text())
    assert len(named) > 30
    assert [name for name in named if not (SOURCE / name).is_file()] == []


def test_the_map_names_every_file() -> None:
    named = set(re.findall(r"\]\(\.\./(src/\S+\.py)\)", MAP.read_text()))
    assert named == {str(file.relative_to(ROOT)) for file in SOURCE.rglob("*.py")}


def test_every_method_that_the_map_names_exists() -> None:
    methods = {
        f"{cls.name}.{member.name}"
        for file in SOURCE.rglob("*.py")
        for cls in ast.walk(ast.parse(file.read_text()))
        if isinstance(cls, ast.ClassDef)
        for member in cls.body
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    named = re.findall(r"`([A-Z]\w+\.\w+)`", MAP.read_text())
    assert len(named) > 8
    assert [name for name in named if name not in methods] == []


@pytest.mark.parametrize("page", sorted({*PAGES, *ROOT.glob("*.md")}), ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)\s]*\)", page.read_text())
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []
