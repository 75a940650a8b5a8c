"""One connected peer, for programs without async: `Client`."""

import json
import threading
import warnings
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from wscore import DataType, PreparedMessage, Reasons, Response, State
from wscore.sending import Data

from ..client import Client as AsyncClient
from ..client import checked_timeout
from ..errors import ConnectionClosed, ConnectionClosedOK
from ..receiving.json_message import parsed
from ..receiving.kind import Kind, converted, wants_text
from ..request import Request
from ..runtime import read_arrived, running
from ..sending.json_text import json_text
from ..sending.pongs import AwaitedPong
from .loop_thread import LoopStopped, LoopThread
from .pong import Pong

T = TypeVar("T")


class Client:
    """The server that a `connect` without async reached.

    The library creates it. Its methods block, and any thread may call them: several may send at a
    time, one may receive. Keepalive goes on while the threads do something else. Every method
    except `close` and `wait_closed` raises ConnectionClosed once the connection is closed.

    Attributes:
        `addr`, `port`: the peer's address; the path or "", and a number, where it has no port.
        `request`: the opening handshake's request (RFC 6455 section 4.1).
        `response`: the server's response to it.
        `subprotocol`: the negotiated subprotocol, or None.
    """

    def __init__(self, client: AsyncClient, thread: LoopThread, owns_thread: bool) -> None:
        self.addr: str = client.addr
        self.port: int = client.port
        self.request: Request = client.request
        self.response: Response | None = client.response
        self.subprotocol: str | None = client.subprotocol
        self._client = client
        self._thread = thread
        self._owns_thread = owns_thread  # which ends when the client is closed, or garbage
        self._closed = not owns_thread
        self._receiving = threading.Lock()
        self._receiver: threading.Thread | None = None  # received last
        # What a call received, which may be interrupted before it returns that.
        self._received: deque[str | bytes] = deque()
        self._fragmenting: threading.Thread | None = None  # sends a message in parts

    def __repr__(self) -> str:
        return repr(self._client)

    @property
    def id(self) -> int:
        """The connection's number in this process, with which its log lines begin: `#12`."""
        return self._client.id

    @property
    def state(self) -> State:
        """The connection's state: OPEN, CLOSING or CLOSED."""
        return self._client.state

    @property
    def close_code(self) -> Reasons | int | None:
        """The code with which the connection ended; None until `state` is CLOSED.

        1005 if the peer's Close had no code, 1006 if the connection was lost without one.
        """
        return self._client.close_code

    @property
    def close_reason(self) -> str | None:
        """The reason with which the connection ended, "" without one; None until then."""
        return self._client.close_reason

    @property
    def latency(self) -> float | None:
        """Seconds from the last ping to its pong; None before the first pong.

        Keepalive pings count, and pings whose pong is kept.
        """
        return self._client.latency

    @property
    def max_message_size(self) -> int | None:
        """The longest message accepted, in bytes; None for no limit. It may be set."""
        return self._client.max_message_size

    @max_message_size.setter
    def max_message_size(self, size: int | None) -> None:
        self._client.max_message_size = size

    def info(self, name: str, default: Any = None) -> Any:
        """Return a property of the byte stream; `default` if it has none, or is lost.

        `name` is as for `wstransports.Client.info`, such as "peername" or "peercert". Raises
        ValueError for any other.
        """
        return self._client.info(name, default)

    # Receiving.

    @overload
    def receive(self, kind: None = None, *, timeout: float | None = None) -> str | bytes: ...
    @overload
    def receive(
        self, kind: type[str] | Literal[DataType.TEXT], *, timeout: float | None = None
    ) -> str: ...
    @overload
    def receive(
        self, kind: type[bytes] | Literal[DataType.BINARY], *, timeout: float | None = None
    ) -> bytes: ...

    def receive(self, kind: Kind | None = None, *, timeout: float | None = None) -> str | bytes:
        """Wait for the next complete message: str for text, bytes for binary, or `kind`.

        `kind` is str or bytes (or DataType.TEXT or BINARY): a message of the other type is
        converted, as UTF-8. `timeout` is in seconds; 0 returns only a message that has arrived
        already. A timeout loses no message: the next call returns it. Raises TimeoutError after
        `timeout`, ConnectionClosed when no more messages will come, UnicodeDecodeError for bytes
        that are not UTF-8 (`error.object` has them), RuntimeError if another thread is waiting
        here, ValueError for a negative `timeout`, TypeError for any other `kind`.
        """
        as_text = None if kind is None else wants_text(kind)
        if timeout is not None:
            checked_timeout(timeout)
        if not self._receiving.acquire(blocking=False):
            raise RuntimeError(
                "another thread is waiting in this client's receive(): use one thread only"
            )
        try:
            self._receiver = threading.current_thread()
            if not self._received:
                self._call(self._receive, timeout)
            message = self._received.popleft()
        finally:
            self._receiving.release()
        return message if as_text is None else converted(message, as_text)

    async def _receive(self, seconds: float | None) -> None:
        self._received.append(await self._client.receive(timeout=seconds))

    @overload
    def receive_json(self, *, timeout: float | None = None) -> Any: ...
    @overload
    def receive_json(
        self, *, timeout: float | None = None, loads: Callable[[str | bytes], T]
    ) -> T: ...

    def receive_json(
        self, *, timeout: float | None = None, loads: Callable[[str | bytes], Any] = json.loads
    ) -> Any:
        """Wait for the next complete message, text or binary, and parse it as JSON (RFC 8259).

        `loads` gets str for text, bytes for binary; `timeout` is in seconds. Raises ValueError if
        the message is not JSON, the exceptions of `loads`, and those of `receive()`. After an
        error of `loads` the connection stays open, and the next call returns the next message.
        """
        return parsed(self.receive(timeout=timeout), loads)

    def __iter__(self) -> Self:
        """Yield complete messages until the connection closes.

        The loop ends where `receive()` would raise ConnectionClosedOK, and raises
        ConnectionClosedError where that would.
        """
        return self

    def __next__(self) -> str | bytes:
        try:
            return self.receive()
        except ConnectionClosedOK:
            raise StopIteration from None

    # Sending.

    def send(self, data: Data | PreparedMessage, *, compress: bool | None = None) -> None:
        """Send a message: str as text, bytes-like as binary (RFC 6455 section 5.6).

        This waits for buffer space; KeyboardInterrupt in that wait does not take the message back.
        `compress` says whether to compress it, if compression was negotiated; None leaves that to
        `Deflate`'s threshold. A PreparedMessage has its own `compress`. Raises TypeError for any
        other data, RuntimeError inside a block of `fragment` of this thread.
        """
        self._check_fragment()
        self._call(self._send, data, compress)

    async def _send(self, data: Data | PreparedMessage, compress: bool | None) -> None:
        await self._client.writer.send(data, compress=compress)

    def send_json(
        self,
        data: Any,
        *,
        compress: bool | None = None,
        dumps: Callable[[Any], str | bytes] = json.dumps,
    ) -> None:
        """Send `data` as JSON, in a text message (RFC 8259).

        `dumps` returns str, or bytes in UTF-8; `compress` is as for `send`. Raises TypeError if
        `dumps` returns anything else, the exceptions of `dumps`, and those of `send`.
        """
        self.send(json_text(data, dumps), compress=compress)

    def fragment(self, *, compress: bool | None = None) -> "Fragment":
        """Send a message in parts: `with client.fragment() as stream` (RFC 6455 section 5.4).

        Call `stream.send(part)` in the block. Entering it waits until other fragmented messages
        have ended, and raises RuntimeError if this thread is sending one already. `compress` is as
        for `send`, but None always compresses a message of two or more parts.
        """
        return Fragment(self, compress)

    def ping(self, payload: bytes | None = None) -> Pong:
        """Send a ping (RFC 6455 section 5.5.2): `latency = client.ping().wait(timeout=5)`.

        `payload` has at most 125 bytes, and is chosen at random by default. Raises ValueError for a
        longer one. Keepalive needs no call: see `timeout` and `latency`.
        """
        return Pong(self._call(self._ping, payload), self._call)

    async def _ping(self, payload: bytes | None) -> AwaitedPong:
        pong = await self._client.writer.ping(payload)
        assert isinstance(pong, AwaitedPong)
        return pong

    # The end.

    def close(self, code: int = Reasons.NORMAL, reason: str = "") -> None:
        """Send a Close and wait until the connection is closed (RFC 6455 section 7.1.2).

        `reason` is at most 123 bytes of UTF-8. This waits at most `close_timeout` seconds for the
        peer's Close. If the connection is closing or closed, this only waits. Raises ValueError for
        a longer `reason`, or a `code` that must not be sent.
        """
        if self._thread.is_forked():
            return  # it is open in the other process
        with suppress(LoopStopped):
            self._thread.call(self._client.close, code, reason)
        self._closed = True
        if self._owns_thread:
            self._thread.end()

    def wait_closed(self, *, timeout: float | None = None) -> None:
        """Return when the connection is over, for any reason: see `close_code`.

        This neither closes the connection nor reads messages: with more than `read_limit` bytes
        unread, the server's Close is not seen. Raises TimeoutError after `timeout` seconds,
        ValueError for a negative one.
        """
        if timeout is not None:
            checked_timeout(timeout)
        with suppress(LoopStopped):
            self._thread.call(self._wait_closed, timeout, threading.current_thread())

    async def _wait_closed(self, seconds: float | None, caller: threading.Thread) -> None:
        session = self._client._session
        if self._receiver is caller:  # for the loop, each call is another task
            session.inbox.handled()
        runtime = running()
        limit = nullcontext() if seconds is None else runtime.timeout_at(runtime.now() + seconds)
        with suppress(TimeoutError):
            async with limit:
                return await session.wait_closed()
        await read_arrived(runtime)
        if self.state is not State.CLOSED:
            raise TimeoutError(f"the connection was not over within {seconds:g} s")

    def __del__(self) -> None:
        if not self._closed and not self._thread.is_forked():
            text = f"unclosed {self!r}: call its close()"
            self._leave()
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)

    # Inside.

    def _leave(self) -> None:
        """Send a Close and drop the connection, without waiting."""
        self._closed = True
        self._thread.stop()

    def _call(self, function: Callable[..., Awaitable[T]], *args: object) -> T:
        try:
            return self._thread.call(function, *args)
        except ConnectionClosed as closed:
            closed.client = self
            raise
        except LoopStopped:
            ended = self._client._session.closed_error()
            ended.client = self
            raise ended from None

    def _check_fragment(self) -> None:
        """Raise RuntimeError if this thread would wait for itself."""
        if self._fragmenting is threading.current_thread():
            raise RuntimeError(
                "this thread has a fragmented message open on this client: send its parts with"
                " stream.send(...), and leave its block before you send anything else"
            )


class Fragment:
    """One message, with a frame for each part and FIN on the last (RFC 6455 section 5.4).

    The first part decides the type. A part is sent when the next one is given or the block ends.
    An exception inside the block closes the connection with 1011, because the message is not
    complete.
    """

    def __init__(self, client: Client, compress: bool | None) -> None:
        self._client = client
        self._stream = client._client.writer.fragment(compress=compress)

    def __enter__(self) -> Self:
        client = self._client
        client._check_fragment()
        client._call(self._stream.__aenter__)
        client._fragmenting = threading.current_thread()
        return self

    def send(self, data: Data) -> None:
        """Send a part, str or bytes-like as the first one was, and wait for buffer space.

        Raises TypeError for another type, ConnectionClosed if the connection is closed,
        RuntimeError outside the block.
        """
        self._client._call(self._stream.send, data)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client._fragmenting = None
        self._client._call(self._stream.__aexit__, kind, error, traceback)
