"""The benchmark works: a short run of all of it, whatever the figures are."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from generator import generator

from benchmarks.contestants import BUILT, CONTESTANTS, ROOT
from benchmarks.profile import COUNTED, measure
from benchmarks.scenarios import CONNECTIONS, SCENARIOS, SIZES, shortened
from benchmarks.tables import COLUMNS

pytestmark = pytest.mark.slow


@pytest.mark.timeout(620)
def test_everything_is_measured_and_written_down(tmp_path: Path) -> None:
    generator()
    settings = ["--smoke", "--rounds=1", "--seconds=0.02", f"--publish={tmp_path}"]
    command = [sys.executable, "-m", "benchmarks.run", *settings]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout + run.stderr

    results = json.loads((BUILT / "smoke.json").read_text())
    assert results["failures"] == {}
    missing = {name: reason for name, one in CONTESTANTS.items() if (reason := one.missing())}
    assert results["left_out"] == missing
    for name, scenario in SCENARIOS.items():
        assert list(results["rounds"][name]) == [
            one for one in shortened(scenario).contestants if one not in missing
        ]

    text = (tmp_path / "benchmarks" / "results.md").read_text()
    for scenario in SCENARIOS.values():
        assert scenario in (*CONNECTIONS, *SIZES) or f"### {scenario.title}\n" in text
        for quantities in results["rounds"][scenario.name].values():
            assert set(quantities) == set(COLUMNS[scenario.kind])
    plots = re.findall(r"\]\((plots/\S+\.svg)\)", text)
    assert len(plots) > len(COLUMNS)
    for plot in plots:
        assert (tmp_path / "benchmarks" / plot).read_text().startswith("<svg ")
    summary = json.loads((tmp_path / "benchmarks" / "results.json").read_text())
    assert list(summary["figures"]) == list(SCENARIOS)
    overview = (tmp_path / "docs" / "performance.md").read_text()
    assert summary["machine"]["Date"] in overview


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_instructions_are_counted() -> None:
    generator()
    counted = measure(CONTESTANTS["floor-c"], *COUNTED[0])
    # This server does little else.
    assert {"echo", "recv", "send"} <= {name for name, count in counted.items() if count >= 5}
    assert sum(counted.values()) < 200
