"""One connected peer."""

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, Self, TypeVar

from wscore import Reasons, Request, Response, State

from .connection.control import OnClosed, OnPing
from .connection.session import Session
from .errors import ConnectionClosed
from .receiving.inbox import OnMessage
from .sending.writer import WebSocketWriter

# How a connection closes cleanly: `async for` ends then.
_CLEANLY = (Reasons.NORMAL, Reasons.GOING_AWAY, Reasons.NO_STATUS)

AsyncFunction = TypeVar("AsyncFunction", bound=Callable[..., Any])


def checked_callback(callback: AsyncFunction, what: str) -> AsyncFunction:
    """The callback itself; TypeError unless it is `async def`."""
    if callback.__class__ is FunctionType and callback.__code__.co_flags & inspect.CO_COROUTINE:
        return callback  # a plain `async def`: inspect takes 8.6k instructions to say so
    call = type(callback).__call__  # of an object with an async one
    if not inspect.iscoroutinefunction(callback) and not inspect.iscoroutinefunction(call):
        raise TypeError(
            f"{what} must be `async def`, and {getattr(callback, '__name__', callback)!r} is not"
        )
    return callback


class Client:
    """One connected peer; never built by the user, who may set attributes of their own on it.

    `addr` and `port` are the remote end's; where it has no port (Unix sockets, memory) `addr` is
    the path or "" and `port` a number unique in the server. `writer` sends to it. `request` is
    the opening handshake, `response` the server's answer to it where we are the client, else
    None; `subprotocol` is what was agreed on, or None.
    """

    def __init__(
        self, session: Session, request: Request, subprotocol: str | None, addr: str, port: int
    ) -> None:
        self._session = session
        self.addr = addr
        self.port = port
        self.request = request
        self.subprotocol = subprotocol
        self.writer = WebSocketWriter(session.outbox)
        self.response: Response | None = None

    def __repr__(self) -> str:
        return f"<Client {self.addr}:{self.port} {self.state.name}>"

    @property
    def state(self) -> State:
        """CONNECTING, OPEN, CLOSING or CLOSED."""
        return self._session.core.state

    @property
    def latency(self) -> float | None:
        """Seconds between the last keepalive ping and its pong; None before the first."""
        return self._session.core.latency

    @property
    def max_message_size(self) -> int | None:
        """The longest message let in, in bytes; None for no bound. May be set in on_connection."""
        return self._session.core.max_message_size

    @max_message_size.setter
    def max_message_size(self, size: int | None) -> None:
        self._session.core.max_message_size = size

    # Callbacks.

    def message(self, callback: "MessageCallback") -> "MessageCallback":
        """Register `async def on_message(reader)`, called when a message begins to arrive.

        One at a time and in order, unless `concurrent_messages` says otherwise. What it leaves
        unread is discarded. Returns the function. Raises TypeError for what is not `async def`,
        RuntimeError where `receive()` takes the messages.
        """
        checked_callback(callback, "on_message")
        self._session.inbox.register(callback)
        return callback

    def ping(self, callback: "PingCallback") -> "PingCallback":
        """Register `async def on_ping(payload, length)`; it replaces the automatic pong.

        Raises TypeError for what is not `async def`. Answer with `writer.pong(length, payload)`.
        """
        self._session.control.on_ping = checked_callback(callback, "on_ping")
        return callback

    def pong(self, callback: "PingCallback") -> "PingCallback":
        """Register `async def on_pong(payload, length)`; the keepalive's pongs are not told.

        Raises TypeError for what is not `async def`.
        """
        self._session.control.on_pong = checked_callback(callback, "on_pong")
        return callback

    def closed(self, callback: "ClosedCallback") -> "ClosedCallback":
        """Register `async def on_closed(code, reason)`, called once, whoever closed.

        `code` is a `Reasons` member, 1006 for a lost connection, or an int of the private
        range. Raises TypeError for what is not `async def`.
        """
        self._session.control.on_closed = checked_callback(callback, "on_closed")
        return callback

    # The same as a loop.

    async def receive(self) -> str | bytes:
        """The next message, whole: str for text, bytes for binary.

        A cancelled call loses nothing. Raises ConnectionClosed when no more will come,
        RuntimeError where `@client.message` is registered or another task waits here.
        """
        return await self._session.inbox.receive()

    def __aiter__(self) -> Self:
        """Yield messages until the connection closes.

        Ends where it was closed in good order (1000, 1001, no code); raises ConnectionClosed
        otherwise.
        """
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except ConnectionClosed as closed:
            if closed.client is self and closed.code in _CLEANLY:
                raise StopAsyncIteration from None
            raise

    async def close(self, code: int = Reasons.NORMAL, reason: str = "") -> None:
        """Send a Close, and wait until the connection is over (RFC 6455 section 7.1.2).

        It waits for the peer's Close, `close_timeout` at most, not for callbacks, and may be
        called from one. `reason` holds at most 123 bytes of UTF-8. Raises ValueError for a
        longer one, or a code that may not be sent. Where the connection is closing already, it
        waits for that.
        """
        await self._session.close(code, reason)
        await self._session.outbox.checkpoint()


MessageCallback = TypeVar("MessageCallback", bound=OnMessage)
PingCallback = TypeVar("PingCallback", bound=OnPing)
ClosedCallback = TypeVar("ClosedCallback", bound=OnClosed)
