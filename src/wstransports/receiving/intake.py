"""The pace of input: in slices, and paused while there is a reason."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from wscore import ClientConnection, Event, ServerConnection

from ..runtime import Pipe, Runtime

# Seconds for which input is handled before other tasks run.
WORK_AT_ONCE = 0.005

# Reasons to pause reading; they are flags.
BACKLOG = 1  # too many bytes are unread
ANSWER = 2  # process_request has not decided yet
OUTPUT = 4  # a pong cannot be written yet
SLICE = 8  # earlier input is not parsed yet


class Handler(Protocol):
    """What the intake needs of its connection."""

    def handle(self, events: list[Event]) -> None:
        """Handle events of the core."""

    def run_as_batch(self, call: Callable[[], None]) -> None:
        """Run `call` as the handling of input: what it sends leaves in one write."""

    def arm(self) -> None:
        """Set the alarm again: a deadline may be nearer."""


class Intake:
    """Handles input in slices of a few milliseconds, and pauses reading while it must wait."""

    __slots__ = ("_core", "_handler", "_now", "pause_reasons", "pipe", "stopped")

    pipe: Pipe

    def __init__(
        self, handler: Handler, core: ServerConnection | ClientConnection, runtime: Runtime
    ) -> None:
        self.pause_reasons = 0
        """Why reading is paused, as flags; 0 while it is not."""
        self.stopped = False
        """The stream is lost: reading never resumes."""
        self._handler = handler
        self._core = core
        self._now = runtime.now

    def pause(self, reason: int) -> None:
        """Pause reading until all reasons are gone."""
        if not self.pause_reasons:
            self.pipe.pause_reading()
            self._core.pause_reading()
        self.pause_reasons |= reason

    def resume(self, reason: int) -> None:
        """Remove a reason; without any left, reading resumes."""
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
        """Resume reading despite all reasons: only the peer's end of input matters now."""
        if self.pause_reasons:
            self.pause_reasons = 0
            self.pipe.resume_reading()

    def handle_rest(self, since: float, now: float) -> None:
        """Handle input that the core holds, until the slice that began at `since` is over."""
        core = self._core
        while core.more and not self.pause_reasons:
            if now > since + WORK_AT_ONCE:
                self.yield_to_loop()
            else:
                self._handler.handle(core.receive_data(b"", now))
                now = self._now()

    def yield_to_loop(self) -> None:
        """Let other tasks run before the next slice."""
        self.pause(SLICE)
        self._schedule(self._next_slice)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run `call` on the loop's next iteration, as the handling of input."""
        self._schedule(partial(self._handler.run_as_batch, call))

    def _schedule(self, call: Callable[[], None]) -> None:
        self.pipe.call_at(self._now(), call)

    def _next_slice(self) -> None:
        if not self.pause_reasons & SLICE:
            return  # the stream is lost: that handles the rest
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
