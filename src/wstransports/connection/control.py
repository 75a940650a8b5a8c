"""The callbacks beside the messages: on_ping and on_pong, one at a time, and on_closed."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from wscore import Reasons

if TYPE_CHECKING:
    from .session import Session

OnPing = Callable[[bytes, int], Awaitable[object]]
OnClosed = Callable[[Reasons | int, str], Awaitable[object]]

# What a waiting ping or pong counts beside its bytes.
FRAME_COST = 128


class Control:
    """Answers pings, or lets the user's callbacks do it."""

    __slots__ = ("_held", "_running", "_session", "_waiting", "on_closed", "on_ping", "on_pong")

    def __init__(self, session: "Session") -> None:
        self.on_ping: OnPing | None = None
        self.on_pong: OnPing | None = None
        self.on_closed: OnClosed | None = None
        self._session = session
        self._waiting: deque[tuple[bool, bytes]] | None = None  # (is it a ping, payload)
        self._running = False
        self._held: bytes | None = None  # the latest ping, not answered for want of room

    def ping(self, payload: bytes) -> None:
        """A ping arrived: `on_ping` has it, or it is answered."""
        if self.on_ping is not None:
            self._queue(True, payload)
        elif self._session.pipe.full:
            if self._held is None:
                self._session.pause_for_output()
                self._session.start(self._answer_when_room())
            self._held = payload
        elif self._session.core.may_send:
            self._session.outbox.send_pong(payload)

    def pong(self, payload: bytes) -> None:
        """A pong arrived that is not the keepalive's."""
        if self.on_pong is not None:
            self._queue(False, payload)

    def closed(self, callback: OnClosed, code: Reasons | int, reason: str) -> None:
        """The connection is over, and `on_closed` wants to know."""
        self._session.start(self._run_closed(callback, code, reason))

    def _queue(self, is_ping: bool, payload: bytes) -> None:
        if self._waiting is None:
            self._waiting = deque()
        if is_ping:
            for index, (was_ping, old) in enumerate(self._waiting):
                if was_ping:  # only the latest needs an answer (RFC 6455 section 5.5.3)
                    self._session.inbox.weigh(len(payload) - len(old))
                    self._waiting[index] = True, payload
                    return
        self._session.inbox.weigh(len(payload) + FRAME_COST)
        self._waiting.append((is_ping, payload))
        if not self._running:
            self._running = True
            self._session.start(self._drive(self._waiting))

    async def _drive(self, waiting: deque[tuple[bool, bytes]]) -> None:
        session = self._session
        try:
            while waiting:
                is_ping, payload = waiting.popleft()
                session.inbox.weigh(-len(payload) - FRAME_COST)
                callback = self.on_ping if is_ping else self.on_pong
                try:
                    if callback is not None:
                        await callback(payload, len(payload))
                except Exception as error:  # noqa: BLE001  # whatever a callback raises
                    session.callback_failed("on_ping" if is_ping else "on_pong", error)
        finally:
            self._running = False
            session.task_done()

    async def _answer_when_room(self) -> None:
        session = self._session
        try:
            await session.pipe.drain()
            payload, self._held = self._held, None
            if payload is not None and session.core.may_send:
                session.outbox.send_pong(payload)
            session.resume_for_output()
        finally:
            session.task_done()

    async def _run_closed(self, callback: OnClosed, code: Reasons | int, reason: str) -> None:
        try:
            await callback(code, reason)
        except Exception as error:  # noqa: BLE001  # whatever a callback raises
            self._session.callback_failed("on_closed", error)
        finally:
            self._session.task_done()
