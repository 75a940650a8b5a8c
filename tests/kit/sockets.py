"""What a test leaves open."""

import gc
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager


def open_sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    for number in os.listdir("/dev/fd"):
        try:
            found += stat.S_ISSOCK(os.fstat(int(number)).st_mode)
        except OSError:  # the descriptor of the listing itself
            continue
    return found


@contextmanager
def leftovers_reported() -> Iterator[None]:
    """Have a transport that a test leaves unclosed warn while this test runs.

    Only what the block creates is examined: to examine all of pytest's objects would take as long
    as the tests.
    """
    gc.freeze()
    try:
        yield
        gc.collect()
    finally:
        gc.unfreeze()
