"""The load generator, compiled."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from benchmarks.contestants import BUILT, ROOT


@cache
def generator() -> Path:
    """The program, built if its source is newer; skips the test if gcc is missing."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc to compile the benchmarks' load generator")
    programs = [str(program.relative_to(ROOT)) for program in (BUILT / "load", BUILT / "c_floor")]
    made = subprocess.run(["make", *programs], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return BUILT / "load"
