"""The timers of connections: those that are far away share one of the loop's."""

import heapq
from collections.abc import Callable

from ..runtime import Timer

# Seconds from which on a timer shares the loop's: the one of each closed connection (`linger.py`)
# does. Nearer ones are few.
FAR = 0.005

# The most cancelled timers that are kept while they outnumber the others.
_MOST_CANCELLED = 64

CallAt = Callable[[float, Callable[[], None]], Timer]
"""Has the loop call a function when its clock shows a time; soon, if it has shown that."""


class FarTimer:
    """A Timer. An idle connection has one: uvloop's own take 580 bytes, a task on trio 3,500."""

    __slots__ = ("call", "call_at", "timers", "when")

    def __init__(
        self, when: float, call: Callable[[], None], call_at: CallAt, timers: "FarTimers"
    ) -> None:
        self.when: float = when
        self.call: Callable[[], None] | None = call
        self.call_at: CallAt | None = call_at
        self.timers: FarTimers | None = timers
        """Those that it waits with; None once its time has come."""

    def __lt__(self, other: "FarTimer") -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        """Cancel the call."""
        if self.call is not None:
            self.call = self.call_at = None  # each may keep its connection
            if self.timers is not None:
                self.timers.forget()

    def run(self) -> None:
        """Call, unless it was cancelled meanwhile."""
        call, self.call = self.call, None
        if call is not None:
            call()


class FarTimers:
    """The timers of a loop's connections; those at least `FAR` seconds away wait here.

    `now` is the loop's clock, `call_at` its own timer.
    """

    def __init__(self, now: Callable[[], float], call_at: CallAt) -> None:
        self._now = now
        self._call_at = call_at
        self._waiting: Timer | None = None  # the loop's, for the first of these
        self._heap: list[FarTimer] = []
        self._cancelled = 0  # of those in the heap

    def call_at(self, when: float, call: Callable[[], None], near: CallAt | None = None) -> Timer:
        """Call `call` when the clock shows `when`: by `near`, unless that is the loop's own."""
        call_at = near or self._call_at
        if when - self._now() < FAR:
            return call_at(when, call)
        timer = FarTimer(when, call, call_at, self)
        heapq.heappush(self._heap, timer)
        if self._heap[0] is timer:
            self._wait()
        return timer

    def forget(self) -> None:
        """One was cancelled: free those that are, once they are most of all."""
        self._cancelled += 1
        left = len(self._heap) - self._cancelled
        if self._cancelled > max(_MOST_CANCELLED, left) or not left:
            self._heap = [timer for timer in self._heap if timer.call is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0
            self._wait()

    def _wait(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if self._heap:
            self._waiting = self._call_at(self._heap[0].when, self._call_due)

    def _call_due(self) -> None:
        heap, now = self._heap, self._now()
        while heap and (heap[0].when <= now or heap[0].call is None):
            timer = heapq.heappop(heap)
            timer.timers = None
            if timer.call_at is not None:
                # Not now: its error is its own, and what has arrived is read before.
                timer.call_at(timer.when, timer.run)
            else:
                self._cancelled -= 1
        self._wait()
