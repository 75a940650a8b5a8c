"""Control frames: the answers to pings, and the callbacks on_ping, on_pong and on_closed."""

from collections import deque
from collections.abc import Awaitable, Callable

from wscore import Pong, Reasons

from ..callbacks import Callbacks
from ..receiving.inbox import Inbox
from ..receiving.intake import OUTPUT, Intake
from ..sending.outbox import Outbox

OnPing = Callable[[bytes, int], Awaitable[object]]
OnClosed = Callable[[Reasons | int, str], Awaitable[object]]

# Bytes that a waiting ping or pong counts in addition to its payload.
FRAME_COST = 128


class Control:
    """Answers pings, unless on_ping does, and runs on_ping and on_pong one at a time."""

    __slots__ = (
        "_callbacks",
        "_inbox",
        "_intake",
        "_outbox",
        "_running",
        "_unanswered",
        "_waiting",
        "on_closed",
        "on_ping",
        "on_pong",
    )

    def __init__(
        self,
        callbacks: Callbacks,
        intake: Intake,
        inbox: Inbox,
        outbox: Outbox,
    ) -> None:
        self.on_ping: OnPing | None = None
        self.on_pong: OnPing | None = None
        self.on_closed: OnClosed | None = None
        self._callbacks = callbacks
        self._intake = intake
        self._inbox = inbox
        self._outbox = outbox
        self._waiting: deque[tuple[bool, bytes]] | None = None  # (is_ping, payload)
        self._running = False
        self._unanswered: bytes | None = None  # the latest ping, while output is blocked

    def forget_callbacks(self) -> None:
        """The connection is over: none will be called."""
        self.on_ping = self.on_pong = self.on_closed = None

    def ping(self, payload: bytes) -> None:
        """A ping arrived: call on_ping, or answer it."""
        if self.on_ping is not None and not self._callbacks.stopped:
            self._queue(True, payload)
        elif self._outbox.pipe.full:
            if self._unanswered is None:
                self._intake.pause(OUTPUT)
                self._callbacks.start(self._answer_when_writable)
            self._unanswered = payload
        elif self._outbox.core.may_pong:
            self._outbox.send_pong(payload)

    def pong(self, pong: Pong) -> None:
        """A pong arrived: call on_pong, unless it answers a keepalive ping."""
        self._outbox.pong_came(pong)
        if self.on_pong is not None and pong.latency is None and not self._callbacks.stopped:
            self._queue(False, pong.payload)

    def closed(self, code: Reasons | int, reason: str) -> None:
        """The connection is closed: call on_closed."""
        if self.on_closed is not None:
            self._callbacks.start(self._callbacks.call, "on_closed", self.on_closed, code, reason)

    def _queue(self, is_ping: bool, payload: bytes) -> None:
        if self._waiting is None:
            self._waiting = deque()
        if is_ping:
            for index, (was_ping, old) in enumerate(self._waiting):
                if was_ping:  # only the latest needs an answer (RFC 6455 section 5.5.3)
                    self._inbox.add_unread(len(payload) - len(old))
                    self._waiting[index] = True, payload
                    return
        self._inbox.add_unread(len(payload) + FRAME_COST)
        self._waiting.append((is_ping, payload))
        if not self._running:
            self._running = True
            self._callbacks.start(self._work, self._waiting)

    async def _work(self, waiting: deque[tuple[bool, bytes]]) -> None:
        """Run on_ping and on_pong for all that is waiting."""
        try:
            while waiting:
                is_ping, payload = waiting.popleft()
                self._inbox.add_unread(-len(payload) - FRAME_COST)
                if self._callbacks.stopped:
                    continue
                callback = self.on_ping if is_ping else self.on_pong
                assert callback is not None  # it was there when the frame came
                name = "on_ping" if is_ping else "on_pong"
                await self._callbacks.call(name, callback, payload, len(payload))
        finally:
            self._running = False

    async def _answer_when_writable(self) -> None:
        """Answer the latest ping once output is not blocked any more."""
        await self._outbox.pipe.drain()
        payload, self._unanswered = self._unanswered, None
        if payload is not None and self._outbox.core.may_pong:
            self._outbox.send_pong(payload)
        self._intake.resume(OUTPUT)
