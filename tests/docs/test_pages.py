"""The pages agree with the source: generated sections, files, names, links."""

import ast
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from snippets import PAGES, ROOT

SOURCE = ROOT / "src"
MAP = ROOT / "docs" / "map.md"

ATTACK = re.compile(r'@attack\(\s*"([^"]+)"')

# What joins the API to an adapter.
ENTRIES = ("anyio", "uvicorn")

DRAW = runpy.run_path(str(ROOT / "docs" / "draw.py"))


@pytest.mark.parametrize("page", DRAW["PAGES"], ids=lambda page: page.name)
def test_the_generated_sections_are_up_to_date(page: Path) -> None:
    generated: Callable[[Path], str] = DRAW["generated"]
    assert page.read_text() == generated(page), "stale: run `python docs/draw.py`"


def test_every_generated_section_is_on_a_page() -> None:
    text = "".join(page.read_text() for page in DRAW["PAGES"])
    assert sorted(re.findall(r"<!-- generated: ([\w-]+) -->", text)) == sorted(DRAW["SECTIONS"])


def test_every_file_that_the_map_names_exists() -> None:
    named = re.findall(r"`((?:wscore|wstransports)/[\w/]+\.\w+)`", MAP.read_text())
    assert len(named) > 30
    assert [name for name in named if not (SOURCE / name).is_file()] == []


def test_the_index_links_to_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", index))
    assert {"README.md"} | linked == {page.name for page in (ROOT / "docs").glob("*.md")}


def test_no_file_imports_one_above_it_in_the_picture_of_the_rings() -> None:
    text = MAP.read_text()
    labels = dict(re.findall(r'^ +(\w+)\["(.+)"\]$', text, re.MULTILINE))
    [chain] = re.findall(r"^ +(\w+(?: --> \w+){4,})$", text, re.MULTILINE)
    layers = [re.findall(r"(\w+)(?:\.py|/)", labels[node]) for node in chain.split(" --> ")]
    depths = {name: depth for depth, layer in enumerate(layers) for name in layer}
    seen = set()
    upward = []
    for file in (SOURCE / "wstransports").rglob("*.py"):
        name = file.relative_to(SOURCE / "wstransports").with_suffix("").parts[0]
        if name in ("__init__", "adapters", "testing"):
            continue
        seen.add(name)
        for module in DRAW["_imports"](file, ast.parse(file.read_text())):
            imported = module.partition(".")[0]
            if imported == "wscore" or (name in ENTRIES and imported == "adapters"):
                continue
            if depths[imported] < depths[name]:
                upward.append((str(file), module))
    assert upward == []
    assert seen == set(depths)


def test_the_map_names_every_file() -> None:
    named = set(re.findall(r"\]\(\.\./(src/\S+\.py)\)", MAP.read_text()))
    assert named == {str(file.relative_to(ROOT)) for file in SOURCE.rglob("*.py")}


def test_the_map_names_every_folder_of_tests() -> None:
    named = re.findall(r"^\| `tests/(\w+)` \|", MAP.read_text(), re.MULTILINE)
    folders = {file.relative_to(ROOT / "tests").parts[0] for file in ROOT.glob("tests/*/**/*.py")}
    assert set(named) == folders


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


def test_every_test_that_the_page_on_security_names_exists() -> None:
    page = ROOT / "docs" / "security.md"
    named = re.findall(r"\[`(test_\w+)`\]\(\.\./(tests/\S+\.py)\)", page.read_text())
    assert len(named) > 40
    missing = [
        (test, file)
        for test, file in named
        if f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert missing == []


def test_every_attack_is_on_the_page_on_security_and_no_other() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r'"([^"|\n]+)"', page)
    files = ROOT.glob("tests/hostile/*_attacks.py")
    attacks = [name for file in files for name in ATTACK.findall(file.read_text())]
    assert sorted(set(named) ^ set(attacks)) == []


@pytest.mark.parametrize("page", sorted({*PAGES, *ROOT.glob("*.md")}), ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)\s]*\)", page.read_text())
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []
