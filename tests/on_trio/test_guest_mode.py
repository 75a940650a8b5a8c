"""trio and asyncio in one thread: each task is served by the loop that runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

pytest.importorskip("trio", reason="trio is not installed")

GUEST = Path(__file__).with_name("guest.py")


@pytest.mark.parametrize("server_on", ["trio", "asyncio"])
def test_a_guest_run_talks_with_its_host(server_on: str) -> None:
    """In a process of its own, where nobody has asked for a loop before."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", GUEST, server_on],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (ran.stdout, ran.stderr) == ("done\n", "")
