"""One connected peer: `Client`."""

import inspect
import json
from collections.abc import Callable, Coroutine
from types import FunctionType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, overload

from wscore import DataType, Reasons, Response, State

from .connection.control import OnClosed, OnPing
from .connection.session import Session
from .receiving.inbox import OnMessage
from .receiving.json_message import parsed
from .receiving.kind import Kind, converted, wants_text
from .request import Request
from .sending.writer import WebSocketWriter
from .speedups import accelerated_method
from .stream_info import stream_info

AsyncFunction = TypeVar("AsyncFunction", bound=Callable[..., Any])
T = TypeVar("T")

if TYPE_CHECKING:
    # Type checkers know it wherever they run; Python itself has defaults since 3.13.
    from typing_extensions import TypeVar as DefaultedTypeVar

    DataT = DefaultedTypeVar("DataT", default=Any)
else:
    DataT = TypeVar("DataT")


def checked_callback(callback: AsyncFunction, what: str) -> AsyncFunction:
    """Return `callback`. Raises TypeError unless it is `async def`."""
    if callback.__class__ is FunctionType and callback.__code__.co_flags & inspect.CO_COROUTINE:
        return callback  # inspect takes 8,600 instructions to find this out
    call = type(callback).__call__  # an object may have an async __call__
    if not inspect.iscoroutinefunction(callback) and not inspect.iscoroutinefunction(call):
        raise TypeError(
            f"{what} must be `async def`, but {getattr(callback, '__name__', callback)!r} is not"
        )
    return callback


def checked_timeout(seconds: float) -> float:
    """Return `seconds`. Raises ValueError unless it is a duration."""
    if not isinstance(seconds, int | float) or not seconds >= 0:
        raise ValueError(f"timeout must be in seconds, None for no limit, not {seconds!r}")
    return seconds


class Client(Generic[DataT]):
    """One connected peer: a server's client, or the server that `connect` reached.

    The library creates it. To type checkers, `Client[User]` is one whose `data` is a `User`.

    Attributes:
        `addr`, `port`: the peer's address. Without a port (Unix sockets, memory), `addr` is the
            path or "", and `port` a number that is unique in the server.
        `writer`: the `WebSocketWriter` that sends to the peer.
        `request`: the opening handshake's request (RFC 6455 section 4.1).
        `response`: the server's response to it, if this end is the client; else None.
        `subprotocol`: the negotiated subprotocol, or None.
    """

    __slots__ = (
        *("_data", "_session", "addr", "port", "request", "response", "subprotocol", "writer"),
        *("__dict__", "__weakref__"),  # for what your program adds
    )

    def __init__(
        self, session: Session, request: Request, subprotocol: str | None, addr: str, port: int
    ) -> None:
        self._session = session
        self.addr = addr
        self.port = port
        self.request = request
        self.subprotocol = subprotocol
        self.writer: WebSocketWriter = WebSocketWriter(session.outbox)
        self.response: Response | None = None

    def __repr__(self) -> str:
        return f"<Client #{self.id} {self.addr}:{self.port} {self.state.name}>"

    @property
    def id(self) -> int:
        """The connection's number in this process, with which its log lines begin: `#12`."""
        return self._session.identity.id

    @property
    def data(self) -> DataT:
        """What your program keeps for the peer: set it in on_connection.

        Raises AttributeError until it is set.
        """
        try:
            return self._data
        except AttributeError:
            raise AttributeError(
                f"{self!r} has no data yet: set client.data in on_connection"
            ) from None

    @data.setter
    def data(self, data: DataT) -> None:
        self._data = data

    @property
    def state(self) -> State:
        """The connection's state: CONNECTING, OPEN, CLOSING or CLOSED."""
        return self._session.core.state

    @property
    def close_code(self) -> Reasons | int | None:
        """The code that on_closed gets; None until `state` is CLOSED (RFC 6455 section 7.1.5).

        1005 if the peer's Close had no code, 1006 if the connection was lost without one.
        """
        return self._session.closed_error().code if self.state is State.CLOSED else None

    @property
    def close_reason(self) -> str | None:
        """The reason that on_closed gets, "" without one; None until `state` is CLOSED."""
        return self._session.closed_error().reason if self.state is State.CLOSED else None

    @property
    def latency(self) -> float | None:
        """Seconds from the last ping to its pong; None before the first pong.

        Keepalive pings count, and pings whose pong is kept, as in `await (await writer.ping())`.
        """
        return self._session.core.latency

    @property
    def max_message_size(self) -> int | None:
        """The longest message accepted, in bytes; None for no limit. Set it in on_connection."""
        return self._session.core.max_message_size

    @max_message_size.setter
    def max_message_size(self, size: int | None) -> None:
        self._session.core.max_message_size = size

    def info(self, name: str, default: Any = None) -> Any:
        """Return a property of the byte stream; `default` if it has none, or is lost.

        `name` is one of asyncio's: "peername", "sockname", "socket", "ssl_object", "cipher" (name,
        protocol, bits), or "peercert", the peer's verified certificate as `ssl.getpeercert` has
        it. Raises ValueError for any other.
        """
        return stream_info(self._session.pipe, name, default)

    # Callbacks.

    def message(self, callback: "MessageCallback") -> "MessageCallback":
        """Register `async def on_message(reader)`, called when a message begins to arrive.

        Calls run one at a time and in order, unless `concurrent_messages` allows more. What a
        call leaves unread is discarded. Returns `callback`. Raises TypeError unless `callback`
        is `async def`, RuntimeError after a call of `receive()`.
        """
        checked_callback(callback, "on_message")
        self._session.inbox.register(callback)
        return callback

    def ping(self, callback: "PingCallback") -> "PingCallback":
        """Register `async def on_ping(payload, length)`, which replaces the automatic pong.

        It should answer with `client.writer.pong(length, payload)`. Returns `callback`. Raises
        TypeError unless `callback` is `async def`.
        """
        self._session.control.on_ping = checked_callback(callback, "on_ping")
        return callback

    def pong(self, callback: "PingCallback") -> "PingCallback":
        """Register `async def on_pong(payload, length)`, called for pongs, except the keepalive's.

        Returns `callback`. Raises TypeError unless `callback` is `async def`.
        """
        self._session.control.on_pong = checked_callback(callback, "on_pong")
        return callback

    def closed(self, callback: "ClosedCallback") -> "ClosedCallback":
        """Register `async def on_closed(code, reason)`, called once, whichever end closed.

        `code` is a `Reasons` member (1006 for a lost connection), or an int from the private
        range. Returns `callback`. Raises TypeError unless `callback` is `async def`.
        """
        self._session.control.on_closed = checked_callback(callback, "on_closed")
        return callback

    # Messages without a callback.

    @overload
    async def receive(self, kind: None = None, *, timeout: float | None = None) -> str | bytes: ...
    @overload
    async def receive(
        self, kind: type[str] | Literal[DataType.TEXT], *, timeout: float | None = None
    ) -> str: ...
    @overload
    async def receive(
        self, kind: type[bytes] | Literal[DataType.BINARY], *, timeout: float | None = None
    ) -> bytes: ...

    async def receive(
        self, kind: Kind | None = None, *, timeout: float | None = None
    ) -> str | bytes:
        """Wait for the next complete message: str for text, bytes for binary, or `kind`.

        `kind` is str or bytes (or DataType.TEXT or BINARY): a message of the other type is
        converted, as UTF-8. `timeout` is in seconds; 0 returns only a message that has arrived
        already. Neither a timeout nor a cancellation loses a message: the next call returns it.
        Raises TimeoutError after `timeout`, ConnectionClosed when no more messages will come,
        UnicodeDecodeError for bytes that are not UTF-8 (`error.object` has them), RuntimeError if
        `on_message` is registered or another task is waiting here, ValueError for a negative
        `timeout`, TypeError for any other `kind`.
        """
        if kind is None and timeout is None:
            return await self._session.inbox.receive()
        as_text = None if kind is None else wants_text(kind)
        if timeout is None:
            message = await self._session.inbox.receive()
        else:
            message = await self._session.inbox.receive_within(checked_timeout(timeout))
        return message if as_text is None else converted(message, as_text)

    @overload
    async def receive_json(self, *, timeout: float | None = None) -> Any: ...
    @overload
    async def receive_json(
        self, *, timeout: float | None = None, loads: Callable[[str | bytes], T]
    ) -> T: ...

    async def receive_json(
        self, *, timeout: float | None = None, loads: Callable[[str | bytes], Any] = json.loads
    ) -> Any:
        """Wait for the next complete message, text or binary, and parse it as JSON (RFC 8259).

        `loads` gets str for text, bytes for binary; `timeout` is in seconds. Raises ValueError if
        the message is not JSON, the exceptions of `loads`, and those of `receive()`. After an
        error of `loads` the connection stays open, and the next call returns the next message.
        """
        return parsed(await self.receive(timeout=timeout), loads)

    def __aiter__(self) -> Self:
        """Yield complete messages until the connection closes.

        The loop ends where `receive()` would raise ConnectionClosedOK, and raises
        ConnectionClosedError where that would.
        """
        return self

    @accelerated_method
    def __anext__(self) -> Coroutine[Any, Any, str | bytes]:
        return self._session.inbox.receive(True)

    async def close(self, code: int = Reasons.NORMAL, reason: str = "") -> None:
        """Send a Close and wait until the connection is closed (RFC 6455 section 7.1.2).

        `reason` is at most 123 bytes of UTF-8. This waits at most `close_timeout` seconds for
        the peer's Close, and not for callbacks: a callback may call it. If the connection is
        closing already, this only waits. Raises ValueError for a longer `reason`, or a `code`
        that must not be sent.
        """
        await self._session.close(code, reason)
        await self._session.outbox.checkpoint()

    def close_nowait(self, code: int = Reasons.NORMAL, reason: str = "") -> None:
        """Send a Close and return at once; `wait_closed` waits for the end.

        `reason` is at most 123 bytes of UTF-8. Messages that were sent before leave first. If the
        connection is closing already, this does nothing. Call it in the loop's thread. Raises
        ValueError for a longer `reason`, or a `code` that must not be sent.
        """
        self._session.fail(code, reason)

    async def wait_closed(self) -> None:
        """Return when the connection is over, for any reason: see `close_code`.

        This neither closes the connection nor reads messages: with more than `read_limit` bytes
        unread, the peer's Close is not seen. In the task that calls `receive()`, its last message
        counts as handled. Callbacks may still run. Any number of tasks may wait.
        """
        session = self._session
        # This task will not call receive() meanwhile. If it only has the hash of the one that did,
        # that one has ended, and handles nothing more.
        if session.inbox.taker == hash(session.runtime.current_task()):
            session.inbox.handled()
        await session.wait_closed()
        await session.outbox.checkpoint()


MessageCallback = TypeVar("MessageCallback", bound=OnMessage)
PingCallback = TypeVar("PingCallback", bound=OnPing)
ClosedCallback = TypeVar("ClosedCallback", bound=OnClosed)
