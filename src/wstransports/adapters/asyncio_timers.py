"""The timers of connections on asyncio: many share one of the loop's."""

import asyncio
import heapq
from collections.abc import Callable
from contextvars import Context

# Seconds from which on a timer shares the loop's. Nearer ones are few.
FAR = 1.0

# The most cancelled timers that are kept while they outnumber the others.
_MOST_CANCELLED = 64


class FarTimer:
    """A Timer. One of uvloop's takes 580 bytes, and an idle connection has one."""

    __slots__ = ("_timers", "call", "when")

    def __init__(self, when: float, call: Callable[[], None], timers: "FarTimers") -> None:
        self.when: float = when
        self.call: Callable[[], None] | None = call
        self._timers = timers

    def __lt__(self, other: "FarTimer") -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        """Cancel the call."""
        if self.call is not None:
            self.call = None
            self._timers.forget()

    def run(self) -> None:
        """Call, unless it was cancelled meanwhile."""
        call, self.call = self.call, None
        if call is not None:
            call()


class FarTimers:
    """The timers of a loop's connections that are at least `FAR` seconds away.

    They are called in an empty context: what calls a user's callback sets that of its client.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Callable[[], float]) -> None:
        self._loop = loop
        self._now = now
        self._heap: list[FarTimer] = []
        self._cancelled = 0  # of those in the heap, about
        self._handle: asyncio.TimerHandle | None = None  # for the first
        self._context = Context()

    def add(self, when: float, call: Callable[[], None]) -> FarTimer:
        """Call `call` when the clock shows `when`, from the loop."""
        timer = FarTimer(when, call, self)
        heapq.heappush(self._heap, timer)
        if self._heap[0] is timer:
            self._wait()
        return timer

    def forget(self) -> None:
        """One was cancelled: free those that are, once they are most of all."""
        self._cancelled += 1
        if self._cancelled > max(_MOST_CANCELLED, len(self._heap) // 2):
            self._heap = [timer for timer in self._heap if timer.call is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def _wait(self) -> None:
        """Wait for the first."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            self._handle = self._loop.call_at(
                self._heap[0].when, self._call_due, context=self._context
            )

    def _call_due(self) -> None:
        self._handle = None
        heap, now = self._heap, self._now()
        while heap and heap[0].when <= now:
            timer = heapq.heappop(heap)
            if timer.call is not None:
                # Soon: its error is its own, and what has arrived is read before.
                self._loop.call_soon(timer.run, context=self._context)
            else:
                self._cancelled -= 1
        self._wait()
