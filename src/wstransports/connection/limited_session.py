"""A connection whose peer may send only so much in a second: messages, pings, bytes."""

import logging
from contextvars import Context
from math import floor

from wscore import Event, MessagePiece, Ping, Reasons, ServerConnection

from ..options import ServerOptions
from ..receiving.intake import RATE
from ..runtime import Pipe, Runtime, Timer
from .session import Owner, Session
from .token_bucket import TokenBucket

# The most frames that the core handles in one call.
_SLICE = 256


class LimitedSession(Session):
    """A Session that counts what its peer sends; any other pays nothing for that.

    The core returns no more frames at a time than messages and pings are allowed, so that
    a burst in one read does not get around it. Bytes are counted as they are read.
    """

    __slots__ = (
        "_buckets",
        "_bytes",
        "_closes",
        "_exceeded",
        "_lifted",
        "_messages",
        "_pings",
        "_timer",
    )

    core: ServerConnection

    def __init__(
        self,
        core: ServerConnection,
        runtime: Runtime,
        options: ServerOptions,
        owner: Owner,
        context: Context,
    ) -> None:
        super().__init__(core, runtime, options, owner, context)
        self._closes = options.rate_policy == "close"
        self._exceeded = False  # it was too much, so we have closed
        self._lifted = False  # nothing is limited any more
        self._timer: Timer | None = None  # that ends the pause
        now = runtime.now()
        self._messages, self._pings, self._bytes = (
            None if rate is None else TokenBucket(rate, now)
            for rate in (
                options.max_messages_per_second,
                options.max_pings_per_second,
                options.max_bytes_per_second,
            )
        )
        named = {"messages": self._messages, "pings": self._pings, "bytes": self._bytes}
        self._buckets = {name: bucket for name, bucket in named.items() if bucket is not None}

    # The Sink.

    def connected(self, pipe: Pipe) -> None:
        """As a Sink."""
        super().connected(pipe)
        self._refill()

    def data_received(self, data: bytes | memoryview) -> None:
        """As a Sink."""
        self._refill()
        if self._bytes is not None and self.client is not None:
            self._bytes.tokens -= len(data)
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """As a Sink."""
        self._lift()
        super().connection_lost(exc)

    def handle(self, events: list[Event]) -> None:
        """Count what arrived; pause reading, or close, if it was too much."""
        if self._exceeded:
            events = [event for event in events if event.__class__ is not Ping]
        if self._lifted or self.client is None:
            super().handle(events)
            return
        for event in events:
            if event.__class__ is MessagePiece:
                if event.first and self._messages is not None:
                    self._messages.tokens -= 1
            elif event.__class__ is Ping and self._pings is not None:
                self._pings.tokens -= 1
        if self._closes and self._close_if_exceeded():
            self.handle(events)
            return
        super().handle(events)
        if not self._lifted:
            self._refill()
            if not self._closes:
                self._pause_if_used_up()

    def advance_close(self) -> None:
        """As a Session, but after our Close the peer's must be read."""
        if not self.core.may_send:
            self._lift()
        super().advance_close()

    # Inside.

    def _refill(self) -> None:
        """Let time count, and tell the core how many frames to return at a time."""
        now = self._now()
        for bucket in self._buckets.values():
            bucket.refill(now)
        counted = [one.tokens for one in (self._messages, self._pings) if one is not None]
        self.core.max_frames = max(1, floor(min([_SLICE, *counted])))

    def _close_if_exceeded(self) -> bool:
        for name, bucket in self._buckets.items():
            if bucket.tokens < 0:
                self._exceeded = True
                self._lift()
                what = f"closed with 1008, more {name} a second than allowed"
                self.identity.log(logging.WARNING, what)
                self.fail(Reasons.POLICY_VIOLATION, f"too many {name} a second")
                self.inbox.stop()
                return True
        return False

    def _pause_if_used_up(self) -> None:
        wait = max(bucket.wait() for bucket in self._buckets.values())
        if wait > 0 and self._timer is None:
            self.intake.pause(RATE)
            self._timer = self.pipe.call_at(self._now() + wait, self._resume)

    def _resume(self) -> None:
        self._timer = None
        self._refill()
        self.intake.resume(RATE)

    def _lift(self) -> None:
        self._lifted = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.intake.resume(RATE)
