"""The pace of input: in slices, and paused while there is a reason."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from wscore import ClientConnection, Event, ServerConnection

from ..runtime import Pipe, Runtime

# Reasons to pause reading; they are flags.
BACKLOG = 1  # too many bytes are unread
ANSWER = 2  # process_request has not decided yet
OUTPUT = 4  # a pong cannot be written yet
SLICE = 8  # earlier input is not parsed yet
RATE = 16  # the peer has sent all that it may in this second

REASONS = {
    BACKLOG: "too much is unread",
    ANSWER: "the request is not answered yet",
    OUTPUT: "a pong cannot be written yet",
    SLICE: "other connections have their turn",
    RATE: "the peer has sent all that it may in this second",
}
"""Their names in log lines."""

# Reads of at least this many bytes count in the time that connections share. Shorter ones take too
# little time to be worth the bookkeeping.
LONG_READ = 128 * 1024


class Handler(Protocol):
    """What the intake needs of its connection."""

    def handle(self, events: list[Event]) -> None:
        """Handle events of the core."""

    def run_as_batch(self, call: Callable[[], None]) -> None:
        """Run `call` as the handling of input: what it sends leaves in one write."""

    def arm(self) -> None:
        """Set the alarm again: a deadline may be nearer."""


class Intake:
    """Handles input in slices, in turn with other connections, and pauses reading meanwhile."""

    __slots__ = (
        "_core",
        "_queued",
        "_runtime",
        "_wakes",
        "link",
        "pause_reasons",
        "pipe",
        "stopped",
    )

    pipe: Pipe

    def __init__(
        self, handler: Handler, core: ServerConnection | ClientConnection, runtime: Runtime
    ) -> None:
        self.pause_reasons: int = 0
        """Why reading is paused, as flags; 0 while it is not."""
        self.stopped: bool = False
        """The stream is lost: reading never resumes."""
        self.link: Handler = handler
        self._core = core
        self._runtime = runtime
        self._queued = 0  # how many calls wait for a turn
        self._wakes = False  # the loop will call _wake

    def pause(self, reason: int) -> None:
        """Pause reading until all reasons are gone."""
        reading = not self.pause_reasons
        self.pause_reasons |= reason
        if reading:
            self.pipe.pause_reading()
            self._core.pause_reading()

    def resume(self, reason: int) -> None:
        """Remove a reason; without any left, reading resumes."""
        if not self.pause_reasons & reason:
            return
        self.pause_reasons &= ~reason
        if self.pause_reasons or self.stopped:
            return
        if self._core.more:
            self.pause_reasons = SLICE
            self._queue(self._next_slice)
        else:
            self._read_on()

    def resume_for_eof(self) -> None:
        """Resume reading despite all reasons: only the peer's end of input matters now."""
        if self.pause_reasons:
            self.pause_reasons = 0
            self.pipe.resume_reading()

    def handle_rest(self, since: float, now: float) -> None:
        """Handle input that the core holds, in the time that began at `since`; then others do."""
        core, runtime = self._core, self._runtime
        round_robin = runtime.batch.round_robin
        while core.more and not self.pause_reasons:
            if round_robin.begin(since):
                self._wake_later()
            if round_robin.over(now):
                self.yield_to_loop()
            else:
                runtime.batch.flush()
                self.link.handle(core.receive_data(b"", now))
                now = runtime.now()

    def take_turns(self, since: float) -> None:
        """A long read was handled, from `since` on: if others wait or the time is used up, read on
        in turn with them."""
        round_robin = self._runtime.batch.round_robin
        if self.pause_reasons or round_robin.is_alone(self):
            return
        now = self._runtime.now()
        if round_robin.begin(since):
            self._wake_later()
        if round_robin.over(now):
            self.pause(SLICE)
            self._queue(partial(self._read_in_turn, now - since))

    def yield_to_loop(self) -> None:
        """Let other tasks run, and other connections have their turn, before the next slice."""
        self.pause(SLICE)
        self._queue(self._next_slice)

    def call_in_turn(self, call: Callable[[], None]) -> None:
        """Run `call` in this connection's turn, as the handling of input."""
        self._queue(partial(self.link.run_as_batch, call))

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run `call` on the loop's next iteration, as the handling of input."""
        self._schedule(partial(self.link.run_as_batch, call))

    def _schedule(self, call: Callable[[], None]) -> None:
        self.pipe.call_at(self._runtime.now(), call)

    def _queue(self, call: Callable[[], None]) -> None:
        self._queued += 1
        self._runtime.batch.round_robin.append(partial(self._have_turn, call))
        self._wake_later()

    def _have_turn(self, call: Callable[[], None]) -> None:
        self._queued -= 1
        call()

    def _wake_later(self) -> None:
        if not self._wakes:
            self._wakes = True
            self._schedule(partial(self._wake, self._runtime.batch.round_robin.number))

    def _wake(self, number: int) -> None:
        """Let the waiting connections have their turns. Each calls this for itself, so that none
        depends on the stream of another."""
        self._wakes = False
        if self._runtime.batch.round_robin.run(number, self._runtime.now) or self._queued:
            self._wake_later()

    def _next_slice(self) -> None:
        if not self.pause_reasons & SLICE:
            return  # the stream is lost: that handles the rest
        self.pause_reasons &= ~SLICE
        if not self.pause_reasons and not self.stopped:
            self.link.run_as_batch(self._handle_slice)
            if not self.pause_reasons:
                self._read_on()

    def _read_in_turn(self, seconds: float) -> None:
        """Read on; the next read will take about so long."""
        self._runtime.batch.round_robin.spend(seconds)
        self._next_slice()

    def _handle_slice(self) -> None:
        core = self._core
        self.link.handle(core.receive_data(b"", self._runtime.now()))
        if core.more and not self.pause_reasons:
            self.yield_to_loop()

    def _read_on(self) -> None:
        self._core.resume_reading(self._runtime.now())
        self.pipe.resume_reading()
        self.link.arm()
