"""Closing many clients with 1012, spread over some time."""

import heapq
import itertools
from collections.abc import Collection
from random import random
from typing import Any

from wscore import Reasons

from ..client import Client
from ..runtime import Runtime, wait_for

# The most seconds between two looks at who is due: others may be due earlier by then.
STEP = 0.05

REASON = "messages of a room were missed"


class Farewell:
    """The clients that missed messages: they are closed at random moments, evenly spread over so
    many seconds.

    All at once they would all connect again at once.
    """

    def __init__(self, runtime: Runtime, group: Any, seconds: float) -> None:
        self._runtime = runtime
        self._group = group
        self._seconds = seconds
        self._due: list[tuple[float, int, Client]] = []  # a heap
        self._numbers = itertools.count()  # clients cannot be ordered
        self._closing = False  # the task runs
        self._stopped = runtime.signal()

    def add(self, clients: Collection[Client]) -> None:
        """Close these too."""
        now, each = self._runtime.now(), self._seconds / (len(clients) or 1)
        for place, client in enumerate(clients):
            due = now + (place + random()) * each
            heapq.heappush(self._due, (due, next(self._numbers), client))
        if self._due and not self._closing:
            self._closing = True
            self._runtime.spawn(self._close(), self._group)

    def stop(self) -> None:
        """Close no more."""
        self._due.clear()
        self._stopped.set()

    async def _close(self) -> None:
        while self._due:
            left = self._due[0][0] - self._runtime.now()
            if left > 0:
                await wait_for(self._runtime, self._stopped, min(left, STEP))
            else:
                heapq.heappop(self._due)[2].close_nowait(Reasons.SERVICE_RESTART, REASON)
        self._closing = False
