"""`make test` ends with what pytest skipped, and fails where nothing may be skipped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from left_out import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SOME_SKIPPED = """
import pytest

def test_run(): pass

@pytest.mark.skip(reason="no such browser")
@pytest.mark.parametrize("i", [1, 2])
def test_skipped(i): pass

@pytest.mark.xfail(reason="known to fail")
def test_fails(): assert False
"""


SOME_SLOW = """
import pytest

def test_fast(): pass

def test_other(): pass

@pytest.mark.slow
@pytest.mark.parametrize("i", [1, 2, 3])
def test_slow(i): pass
"""


def run_pytest(folder: Path, tests: str, *arguments: str) -> str:
    """Run `tests` in a pytest of their own; return its JUnit report."""
    (folder / "test_it.py").write_text(tests)
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--rootdir={folder}", "-c", "/dev/null"]
    subprocess.run(
        [*command, *arguments, f"--junit-xml={report}", folder],
        check=True,
        capture_output=True,
        timeout=100,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # starts sooner
    )
    return str(report)


def test_reasons_and_notes_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUIRE_ALL", raising=False)
    notes = tmp_path / "notes"
    notes.write_text("the suite: no Python 2.7\n")
    assert main([run_pytest(tmp_path, SOME_SKIPPED), str(notes)]) == 0
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
    assert main([str(notes)]) == 1


def test_nothing_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUIRE_ALL", "1")
    notes = tmp_path / "notes"
    notes.write_text("")
    assert main([run_pytest(tmp_path, "def test_run(): pass"), str(notes)]) == 0
    assert capsys.readouterr().out == "Everything ran, nothing was left out.\n"


def test_slow_tests_are_counted_and_not_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUIRE_ALL", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    later = tmp_path / "later"
    marker = "--override-ini=markers=slow: takes long"
    plugin = ["-p", "left_out", f"--later={later}", marker, "-m", "not slow", "-k", "not other"]
    report = run_pytest(tmp_path, SOME_SLOW, *plugin)
    assert main([report, f"--later={later}"]) == 0
    shown = capsys.readouterr().out
    assert shown == (
        "Left to `make test-all`:\n"
        f"  3 slow tests, each of which takes long (3 of {tmp_path.name})\n"
        "Nothing else was left out.\n"
    )
    assert main([report, f"--later={later}", "--to=the newest Python"]) == 0
    assert capsys.readouterr().out == shown.replace("`make test-all`", "the newest Python")


def test_where_nothing_is_slow_nothing_is_left_for_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    later = tmp_path / "later"
    run_pytest(tmp_path, "def test_run(): pass", "-p", "left_out", f"--later={later}")
    assert main([f"--later={later}"]) == 0
    assert capsys.readouterr().out == "Everything ran, nothing was left out.\n"
