"""The timers of connections: those that are far away share one of the loop's."""

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable

# Seconds from which on a timer shares the loop's: the one of each closed connection (`linger.py`)
# does. Nearer ones are few.
FAR = 0.005

# The most cancelled timers that are kept while they outnumber the others.
_MOST_CANCELLED = 64

Soon = Callable[[Callable[[], None]], object]
"""Has the loop call a function in its next turn."""


class FarTimer:
    """A Timer. An idle connection has one: uvloop's own take 580 bytes, a task on trio 3,500."""

    __slots__ = ("call", "soon", "timers", "when")

    def __init__(
        self, when: float, call: Callable[[], None], soon: Soon, timers: "FarTimers"
    ) -> None:
        self.when: float = when
        self.call: Callable[[], None] | None = call
        self.soon: Soon | None = soon
        self.timers: FarTimers | None = timers
        """Those that it waits with; None once its time has come."""

    def __lt__(self, other: "FarTimer") -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        """Cancel the call."""
        if self.call is not None:
            self.call = self.soon = None  # each may keep its connection
            if self.timers is not None:
                self.timers.forget()

    def run(self) -> None:
        """Call, unless it was cancelled meanwhile."""
        call, self.call = self.call, None
        if call is not None:
            call()


class FarTimers(ABC):
    """The timers of a loop's connections that are at least `FAR` seconds away."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._heap: list[FarTimer] = []
        self._cancelled = 0  # of those in the heap

    @abstractmethod
    def _wake_at(self, when: float | None) -> None:
        """Have the loop call `_call_due` at `when` instead of earlier or later; None: never."""

    def add(self, when: float, call: Callable[[], None], soon: Soon) -> FarTimer:
        """Have `soon` call `call` when the clock shows `when`."""
        timer = FarTimer(when, call, soon, self)
        heapq.heappush(self._heap, timer)
        if self._heap[0] is timer:
            self._wake_at(when)
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
        self._wake_at(self._heap[0].when if self._heap else None)

    def _call_due(self) -> None:
        heap, now = self._heap, self._now()
        while heap and heap[0].when <= now:
            timer = heapq.heappop(heap)
            timer.timers = None
            if timer.soon is not None:
                # Soon: its error is its own, and what has arrived is read before.
                timer.soon(timer.run)
            else:
                self._cancelled -= 1
        self._wait()
