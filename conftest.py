"""What holds for all tests, in a file that pytest finds from each of their folders."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from glob import glob
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from kit.log import Log
from wstransports import batch
from wstransports.connection import session
from wstransports.sending import outbox

ROOT = Path(__file__).parent

# They compare the shortcuts in C with the Python methods. All other runs have them.
SHORTCUTS = [
    *glob("tests/test_*shortcuts.py", root_dir=ROOT),
    *glob("tests/test_same_*.py", root_dir=ROOT),
]
collect_ignore = SHORTCUTS if os.environ.get("WSCORE_PURE") == "1" else []

# A busy machine is no failure: only pytest limits how long a random test takes, all its examples
# together.
settings.register_profile(
    "unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def _sigint_interrupts() -> Iterator[None]:
    """A shell's background jobs ignore SIGINT, and the processes that they start inherit that."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


@pytest.fixture
def log() -> Iterator[Log]:
    """What was logged; nothing may be left that the test did not take."""
    log = Log()
    logging.getLogger().addHandler(log)
    yield log
    logging.getLogger().removeHandler(log)
    left = [record.getMessage() for record in log.records]
    assert not left, f"{len(left)} logged: {left[:3]}"


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output never leaves because it is old, so slow machines and coverage split no write."""
    for module in (outbox, session):
        monkeypatch.setattr(module, "GATHER_SECONDS", 60)
    monkeypatch.setattr(batch, "WORK_AT_ONCE", 60)
    for name in ("SLICE", "_SHORT_SLICE"):  # `broadcast` is a function, too
        monkeypatch.setattr(sys.modules["wstransports.broadcast"], name, 60)
