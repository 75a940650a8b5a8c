"""The run of uvicorn's own tests: what makes it fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from uvicorn_suite import HERE

pytestmark = pytest.mark.slow

CONFTEST = """
import pytest

@pytest.fixture(params=[int, float])
def ws_protocol_cls(request):
    return request.param
"""

TESTS = """
def test_theirs(ws_protocol_cls):
    assert ws_protocol_cls is dict

def test_listed(ws_protocol_cls):
    assert ws_protocol_cls is int

def test_of_http():
    raise AssertionError
"""

SKIPS = """
import pytest

@pytest.mark.skip(reason="by uvicorn itself")
def test_skipped(ws_protocol_cls):
    pass
"""


def run(folder: Path, tests: str, *listed: str) -> str:
    """Run tests, some of them listed as inapplicable; returns what pytest printed at the end."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(tests)
    reasons = dict.fromkeys(listed, "of what it asserts")
    (folder / "inapplicable.py").write_text(f"INAPPLICABLE = {reasons}")
    options = ["-q", "-c", os.devnull, "-p", "uvicorn_plugin", "--protocol=builtins:dict"]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={folder}", str(folder)],
        capture_output=True,
        text=True,
        timeout=25,
        env={**os.environ, "PYTHONPATH": f"{folder}:{HERE}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    return ended.stdout + ended.stderr


def test_the_tests_of_the_fixture_run_once_with_our_class(tmp_path: Path) -> None:
    printed = run(tmp_path, TESTS, "test_listed")
    assert "2 passed, 1 deselected" in printed
    assert "1 of what it asserts\n" in printed


@pytest.mark.parametrize(
    ("tests", "listed", "printed"),
    [
        pytest.param(
            TESTS, ["test_missing"], "tests that do not exist: ['test_missing']", id="gone"
        ),
        pytest.param(
            TESTS,
            ["test_theirs", "test_listed"],
            "passes, and it is listed",
            id="listed and passes",
        ),
        pytest.param(SKIPS, [], "1 error", id="skipped"),
        pytest.param(TESTS, [], "1 failed, 1 passed", id="not listed and fails"),
    ],
)
def test_the_run_fails(tmp_path: Path, tests: str, listed: list[str], printed: str) -> None:
    assert printed in run(tmp_path, tests, *listed)
