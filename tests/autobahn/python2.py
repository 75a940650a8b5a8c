"""The Autobahn TestSuite runs on Python 2.7 only: find one, and install the suite for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "autobahntestsuite==25.10.1"


def find_python2() -> Path | None:
    """The first Python 2.7 on PATH or in ~/.pyenv/versions that can be run, or None."""
    candidates = [Path(folder, "python2.7") for folder in os.get_exec_path()]
    candidates += sorted(Path.home().glob(".pyenv/versions/2.7*/bin/python2.7"))
    return next((path for path in candidates if path.is_file() and _is_python2(path)), None)


def _is_python2(path: Path) -> bool:
    # Being there is not enough: pyenv puts a script of that name on PATH, which may only complain.
    question = "import sys; sys.exit(sys.version_info[:2] != (2, 7))"
    answer = subprocess.run([path, "-c", question], check=False, capture_output=True, timeout=30)
    return answer.returncode == 0


def install_suite(python2: Path, folder: Path) -> Path:
    """Make a virtual environment with the suite in `folder`, once; return its Python.

    Raises CalledProcessError or TimeoutExpired if that fails.
    """
    python, stamp = folder / "bin" / "python", folder / "suite"
    if not (stamp.is_file() and stamp.read_text() == SUITE):
        print(f"Installing {SUITE} for {python2}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        virtualenv = [sys.executable, "-m", "virtualenv", "--quiet", "--no-periodic-update"]
        subprocess.run([*virtualenv, f"--python={python2}", str(folder)], check=True, timeout=120)
        pip = [str(python), "-m", "pip", "--no-python-version-warning", "install", "--quiet"]
        subprocess.run([*pip, SUITE], check=True, timeout=600)
        stamp.write_text(SUITE)
    return python
