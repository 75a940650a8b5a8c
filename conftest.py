"""What holds for all tests, in a file that pytest finds from each of their folders."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _sigint_interrupts() -> Iterator[None]:
    """A shell's background jobs ignore SIGINT, and the processes that they start inherit that."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)
