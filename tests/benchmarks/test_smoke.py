"""The benchmark works: a short run of all of it. How long anything took is not judged."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from generator import generator

from benchmarks import profile
from benchmarks.contestants import BUILT, CONTESTANTS, ROOT
from benchmarks.page import COLUMNS, PAGE, Page
from benchmarks.profile import COUNTED, Profile, measure
from benchmarks.results import Results
from benchmarks.scenarios import GROUPS, SCENARIOS, shortened


def test_every_drawing_has_its_place() -> None:
    drawings = Page(Results({}), Profile(), BUILT).drawings()
    assert sorted(re.findall(r"<!-- drawn: ([\w-]+) -->", PAGE.read_text())) == sorted(drawings)


def test_what_is_counted_stands_in_columns() -> None:
    (echo, _, _), (handshake, _, _), _ = COUNTED
    counts = {echo.name: {"ours": 30.0, "floor": 20.0}, handshake.name: {"floor-h11": 5.0}}
    assert list(Page(Results({}), Profile(counts), BUILT).instructions()) == [
        f"| | {echo.title} | ours takes | {handshake.title} | ours takes |",
        "|---|---|---|---|---|",
        "| wstransports | 30.0 |  |  |  |",
        "| floor: asyncio.Protocol | 20.0 | 1.50 × |  |  |",
        "| floor: asyncio.Protocol, h11 |  |  | 5.00 |  |",
    ]


def test_what_zlib_takes_of_an_echo() -> None:
    counts = {"ours": (300.0, 200.0), "websockets": (400.0, 200.0)}
    counted = Profile(compressed={"deflate-1K": counts})
    title = SCENARIOS["deflate-1K"].title
    assert list(Page(Results({}), counted, BUILT).zlib())[2:] == [
        f"| {title} | wstransports | 300 | 66.7 | 100 |  |",
        f"| {title} | websockets | 400 | 50.0 | 200 | 0.75 × |",
    ]


@pytest.mark.timeout(150)
def test_everything_is_measured_and_written_down(tmp_path: Path) -> None:
    generator()
    page = tmp_path / "performance.md"
    settings = ["--smoke", "--rounds=1", "--seconds=0.02", f"--page={page}"]
    command = [sys.executable, "-m", "benchmarks.run", *settings]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=140)
    assert run.returncode == 0, run.stdout + run.stderr

    results = json.loads((BUILT / "smoke.json").read_text())
    assert results["failures"] == {}
    missing = {name: reason for name, one in CONTESTANTS.items() if (reason := one.missing())}
    assert results["left_out"] == missing
    for name, scenario in SCENARIOS.items():
        assert list(results["rounds"][name]) == [
            who for who in shortened(scenario).who if who not in missing
        ]

    text = page.read_text()
    for group, columns in COLUMNS.items():
        for scenario in GROUPS[group]:
            assert f"### {scenario.title}\n" in text
            for quantities in results["rounds"][scenario.name].values():
                assert set(quantities) == set(columns)
    plots = re.findall(r"\]\((performance/\S+\.svg)\)", text)
    assert len(plots) > len(COLUMNS)
    assert all((tmp_path / plot).read_text().startswith("<svg ") for plot in plots)


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_instructions_are_counted() -> None:
    generator()
    counted = measure(CONTESTANTS["floor-c"], *COUNTED[0])
    # Whose server does little beside these.
    assert {"echo", "recv", "send"} <= {name for name, count in counted.items() if count >= 5}
    assert sum(counted.values()) < 200


def test_what_a_first_start_does_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))  # nothing is compiled yet
    compiled: list[int] = []

    def count(*_: object) -> Counter[str]:
        compiled.append(len(list(tmp_path.rglob("*.pyc"))))
        return Counter(echo=7)

    monkeypatch.setattr(profile, "_counted", count)
    assert measure(CONTESTANTS["floor"], *COUNTED[0]) == {"echo": 0}
    assert compiled[0] == compiled[1] > 10
