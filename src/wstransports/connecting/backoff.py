"""Exponential backoff between attempts at connecting."""

import random
from collections.abc import Iterator

# In seconds.
FIRST = 0.5
LONGEST = 60.0

FACTOR = 2


def delays() -> Iterator[float]:
    """Yield the seconds to wait before each attempt.

    They grow exponentially. Each is multiplied by a random factor between 0.5 and 1, so that
    clients that lost the same server do not return all at once.
    """
    delay = FIRST
    while True:
        yield delay * random.uniform(0.5, 1)
        delay = min(delay * FACTOR, LONGEST)
