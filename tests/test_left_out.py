"""What pytest skips reaches the last lines of `make test`, and is a failure where all is required."""

import subprocess
import sys
from pathlib import Path

import pytest

from left_out import main

SOME_SKIPPED = """
import pytest

def test_run(): pass

@pytest.mark.skip(reason="no such browser")
@pytest.mark.parametrize("i", [1, 2])
def test_skipped(i): pass

@pytest.mark.xfail(reason="known to fail")
def test_fails(): assert False
"""


def run_pytest(folder: Path, tests: str) -> Path:
    """Run `tests` in a pytest of their own; return its JUnit report."""
    (folder / "test_it.py").write_text(tests)
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--rootdir={folder}", "-c", "/dev/null"]
    subprocess.run(
        [*command, f"--junit-xml={report}", folder],
        check=True,
        capture_output=True,
        timeout=25,
    )
    return report


def test_reasons_and_notes_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUIRE_ALL", raising=False)
    notes = tmp_path / "notes"
    notes.write_text("the suite: no Python 2.7\n")
    assert main([run_pytest(tmp_path, SOME_SKIPPED), notes]) == 0
    output = capsys.readouterr().out
    assert output.startswith("Left out:\n  the suite: no Python 2.7\n")
    assert "  2 skipped: no such browser\n" in output
    assert "  1 skipped: known to fail\n" in output


def test_a_skipped_test_is_a_failure_where_all_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUIRE_ALL", "1")
    assert main([run_pytest(tmp_path, SOME_SKIPPED)]) == 1


def test_a_note_is_a_failure_where_all_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUIRE_ALL", "1")
    notes = tmp_path / "notes"
    notes.write_text("the suite: no Python 2.7\n")
    assert main([notes]) == 1


def test_nothing_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUIRE_ALL", "1")
    notes = tmp_path / "notes"
    notes.write_text("")
    assert main([run_pytest(tmp_path, "def test_run(): pass"), notes]) == 0
    assert capsys.readouterr().out == "Everything was run, nothing was left out.\n"
