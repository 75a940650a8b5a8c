"""How fast input is taken: in slices, and not at all while there is a reason to wait."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from wscore import ClientConnection, Event, ServerConnection

from ..runtime import Pipe, Runtime

# How long input is handled in one go, in seconds, before others get their turn.
WORK_AT_ONCE = 0.005

# Reasons for not reading.
BACKLOG = 1  # too much waits unread
ANSWER = 2  # the request's answer is being worked out
OUTPUT = 4  # a pong waits for room
SLICE = 8  # what was read is not parsed yet


class Handler(Protocol):
    """Handles what the intake lets in."""

    def handle(self, events: list[Event]) -> None:
        """Handle what the core made of some input."""

    def run_as_batch(self, call: Callable[[], None]) -> None:
        """Call it as one handling of input: what it sends leaves in one write."""

    def arm(self) -> None:
        """Set the alarm again: a deadline may be nearer."""


class Intake:
    """Lets input in: in slices of a few milliseconds, and only while nothing speaks against it."""

    __slots__ = ("_core", "_handler", "_now", "pause_reasons", "pipe", "stopped")

    pipe: Pipe

    def __init__(
        self, handler: Handler, core: ServerConnection | ClientConnection, runtime: Runtime
    ) -> None:
        self.pause_reasons = 0
        """Why nothing is read; 0 while it is."""
        self.stopped = False
        """The stream is lost: nothing is read any more."""
        self._handler = handler
        self._core = core
        self._now = runtime.now

    def pause(self, reason: int) -> None:
        """Read no more until `resume` takes this reason and all others away."""
        if not self.pause_reasons:
            self.pipe.pause_reading()
            self._core.pause_reading()
        self.pause_reasons |= reason

    def resume(self, reason: int) -> None:
        """A reason is gone; with the last one reading goes on."""
        if not self.pause_reasons & reason:
            return
        self.pause_reasons &= ~reason
        if self.pause_reasons or self.stopped:
            return
        if self._core.more:
            self.pause_reasons = SLICE
            self._schedule(self._next_slice)
        else:
            self._read_on()

    def resume_for_eof(self) -> None:
        """Read whatever speaks against it: only the peer's end is waited for."""
        if self.pause_reasons:
            self.pause_reasons = 0
            self.pipe.resume_reading()

    def handle_rest(self, since: float, now: float) -> None:
        """Handle what the core kept back: for a while after `since`, then on the next turn."""
        core = self._core
        while core.more and not self.pause_reasons:
            if now > since + WORK_AT_ONCE:
                self.yield_to_loop()
            else:
                self._handler.handle(core.receive_data(b"", now))
                now = self._now()

    def yield_to_loop(self) -> None:
        """Let others run before more is handled."""
        self.pause(SLICE)
        self._schedule(self._next_slice)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call it on the loop's next turn, as one handling of input."""
        self._schedule(partial(self._handler.run_as_batch, call))

    def _schedule(self, call: Callable[[], None]) -> None:
        self.pipe.call_at(self._now(), call)

    def _next_slice(self) -> None:
        if not self.pause_reasons & SLICE:
            return  # the stream is lost, and the rest is handled with that
        self.pause_reasons &= ~SLICE
        if not self.pause_reasons and not self.stopped:
            self._handler.run_as_batch(self._handle_slice)
            if not self.pause_reasons:
                self._read_on()

    def _handle_slice(self) -> None:
        now = self._now()
        self.handle_rest(now, now)

    def _read_on(self) -> None:
        self._core.resume_reading(self._now())
        self.pipe.resume_reading()
        self._handler.arm()
