"""How long to wait before trying again."""

import random
from collections.abc import Iterator

# In seconds.
FIRST = 0.5
LONGEST = 60.0

FACTOR = 2


def delays() -> Iterator[float]:
    """Seconds to wait before each further attempt.

    They grow exponentially, and each is cut by chance to between half and all of itself, so that
    clients that lost the same server do not come back all at once.
    """
    delay = FIRST
    while True:
        yield delay * random.uniform(0.5, 1)
        delay = min(delay * FACTOR, LONGEST)
