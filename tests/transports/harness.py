"""Servers and raw peers on each loop, so that one test source runs on all of them.

A `World` is a loop; a `Peer` is a client that does only what the test tells it, right or wrong.
"""

import asyncio
import logging
import re
import socket
import ssl
import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

from wscore import (
    Accepted,
    ClientConnection,
    CloseReceived,
    ConnectionFailed,
    DataType,
    Refused,
    Response,
    State,
)
from wstransports import Client, WebSocketReader, WebSocketServer
from wstransports.runtime import Pipe, Signal, running
from wstransports.testing.memory import MemoryRuntime
from wstransports.testing.memory_kernel import Cancelled

T = TypeVar("T")
Value = TypeVar("Value", covariant=True)

OnConnection = Callable[[Client], Awaitable[object]]

KEY = b"\x37\xfa\x21\x3d"  # the one of RFC 6455 section 5.7

# How long a test may take on a real loop, in seconds: no test waits for a clock there.
PATIENCE = 20


class Frame(NamedTuple):
    """A frame that the server sent."""

    type: DataType
    payload: bytes
    last: bool = True


def masked(first: int, payload: bytes = b"") -> bytes:
    """A client's frame as bytes, `first` its first byte: also such as no client may send."""
    size = len(payload)
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 65536:
        head = bytes([first, 0x80 | 126]) + size.to_bytes(2)
    else:
        head = bytes([first, 0x80 | 127]) + size.to_bytes(8)
    mask = int.from_bytes((KEY * (size // 4 + 1))[:size])
    return head + KEY + (int.from_bytes(payload) ^ mask).to_bytes(size)


class FrameReader:
    """Splits what a server sends into frames; written for itself, to hold the core against."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now."""
        self._data += data
        while True:
            data = self._data
            if len(data) < 2:
                return
            assert data[1] < 0x80, "a server must not mask"
            assert not data[0] & 0x70, "reserved bits are set"
            size, start = data[1], 2
            if size > 125:
                start = 4 if size == 126 else 10
                size = int.from_bytes(data[2:start])
            if len(data) < start + size:
                return
            self._data = data[start + size :]
            yield Frame(DataType(data[0] & 0x0F), data[start : start + size], data[0] >= 0x80)


class Wire(Protocol):
    """The byte stream under a Peer."""

    def write(self, data: bytes) -> None:
        """Send."""

    def pause_reading(self) -> None:
        """Take no more."""

    def resume_reading(self) -> None:
        """Take again."""

    def close(self) -> None:
        """End our half."""

    def abort(self) -> None:
        """Reset the connection."""

    def vanish(self) -> None:
        """Close both halves at once."""


class MemoryWire:
    """A Wire in memory: the adapter's pipe does as it is."""

    def __init__(self, pipe: Pipe) -> None:
        self.write = pipe.write
        self.pause_reading = pipe.pause_reading
        self.resume_reading = pipe.resume_reading
        self.close = pipe.close
        self.abort = pipe.abort
        self.vanish = pipe.abort
        self.waiting = pipe.waiting


class Peer:
    """A client in the hands of a test. What it is told to send is on its way at once.

    By itself it answers a Close and ends its half behind the server's; both can be switched off.
    """

    wire: Wire

    def __init__(self, core: ClientConnection) -> None:
        self.core = core
        self.answers_close = True
        self.answers_eof = True
        self.frames: deque[Frame] = deque()
        """What came and was not asked for yet."""
        self.reads = 0
        """How often something came."""
        self.response: Response | None = None
        """The answer to the handshake."""
        self.at_eof = False
        """The server ended its half, or the connection is lost."""
        self.lost = False
        self._fault: ConnectionFailed | None = None
        self.head = b""
        """The handshake's answer as it came; all that came where it was no 101."""
        self._switched = False
        self._reader = FrameReader()
        self._gathering = False
        self._request = core.data_to_send()
        self._unsent = b""
        self._news = running().signal()

    # Sending.

    def handshake(self) -> None:
        """Send the opening request."""
        self._flush(self._request)

    def send(self, data: str | bytes) -> None:
        """Send a message in one frame."""
        self.core.send_message(data)
        self._flush()

    def part(self, data: str | bytes, last: bool = False) -> None:
        """Send a fragment."""
        self.core.send_fragment(data, last)
        self._flush()

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping."""
        self.core.send_ping(payload)
        self._flush()

    def pong(self, payload: bytes = b"") -> None:
        """Send a pong."""
        self.core.send_pong(payload)
        self._flush()

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a Close."""
        self.core.send_close(code, reason)
        self._flush()

    def acknowledge(self) -> None:
        """Answer the server's Close, or what was its fault."""
        self.core.acknowledge_close()
        self._flush()

    def raw(self, data: bytes) -> None:
        """Send any bytes."""
        self._flush(data)

    @contextmanager
    def in_one_write(self) -> Iterator[None]:
        """What is sent in the block leaves at its end, to arrive in one read."""
        self._gathering = True
        try:
            yield
        finally:
            self._gathering = False
            self._flush()

    def end(self) -> None:
        """End our half of the stream."""
        self._gathering = False
        self._flush()
        self.wire.close()

    def reset(self) -> None:
        """Lose the connection, as a process that is killed does."""
        self.wire.abort()

    def vanish(self) -> None:
        """Close the socket and be gone; a socket answers what comes then with a reset."""
        self.wire.vanish()

    def stop_reading(self) -> None:
        """Take no more bytes."""
        self.wire.pause_reading()

    def start_reading(self) -> None:
        """Take them again."""
        self.wire.resume_reading()

    # Receiving.

    async def frame(self) -> Frame:
        """The next frame; AssertionError where none comes any more."""
        while not self.frames:
            assert not self.at_eof, f"the server left, and no frame came: {self._fault}"
            await self._news.wait()
        return self.frames.popleft()

    async def message(self) -> str | bytes:
        """The next message, which must be what comes next; fragments are put together."""
        frame = await self.frame()
        assert frame.type in (DataType.TEXT, DataType.BINARY), frame
        kind = frame.type
        parts = [frame.payload]
        while not frame.last:
            frame = await self.frame()
            assert frame.type is DataType.CONTINUATION, frame
            parts.append(frame.payload)
        payload = b"".join(parts)
        return payload.decode() if kind is DataType.TEXT else payload

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the server's Close, which must be the next frame, and the last."""
        frame = await self.frame()
        assert frame.type is DataType.CLOSE, frame
        await self.eof()
        if not frame.payload:
            return 1005, ""
        return int.from_bytes(frame.payload[:2]), frame.payload[2:].decode()

    async def eof(self) -> None:
        """Return when the server has ended its half, or the connection is lost.

        Frames that nobody asked for fail the test.
        """
        while not self.at_eof:
            await self._news.wait()
        assert not self.frames, f"unexpected: {self.frames}"

    async def nothing(self) -> None:
        """The server has sent nothing but what was asked for: its pong is what comes next."""
        self.ping(b"nothing?")
        assert await self.frame() == Frame(DataType.PONG, b"nothing?")

    async def answer(self) -> Response:
        """The answer to the handshake."""
        while self.response is None:
            assert not self.at_eof, "the server left without an answer"
            await self._news.wait()
        return self.response

    def relent(self) -> None:
        """The test is over: do all that a server may wait for."""
        if not self.lost:
            self.answers_close = self.answers_eof = True
            self.start_reading()
            if self.core.owes_close:
                self.acknowledge()
            if self.at_eof:
                self.end()

    # As a sink.

    def connected(self, pipe: Pipe) -> None:
        """The stream stands; on asyncio it is told otherwise."""
        self.wire = MemoryWire(pipe)

    def waiting(self) -> int:
        """How many bytes the server has not taken yet; in memory only."""
        assert isinstance(self.wire, MemoryWire)
        return self.wire.waiting()

    def data_received(self, data: bytes | memoryview) -> None:
        """Bytes came."""
        self.reads += 1
        events = self.core.receive_data(data)
        while self.core.more:
            events += self.core.receive_data(b"")
        for event in events:
            if isinstance(event, Accepted | Refused):
                self.response = event.response
            elif isinstance(event, ConnectionFailed):
                self._fault = event
            elif isinstance(event, CloseReceived) and self.answers_close and self.core.owes_close:
                self.acknowledge()
        if not self._switched:
            self.head += data
            head, blank, data = self.head.partition(b"\r\n\r\n")
            if blank and head.startswith(b"HTTP/1.1 101 "):
                self._switched = True
                self.head = head
        if self._switched:
            self.frames.extend(self._reader.feed(bytes(data)))
        self._announce()

    def eof_received(self) -> None:
        """The server ended its half."""
        for event in self.core.receive_eof():
            if isinstance(event, Refused):
                self.response = event.response
        self.at_eof = True
        if self.answers_eof:
            self.wire.close()
        self._announce()

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is gone."""
        self.at_eof = self.lost = True
        self._announce()

    def _announce(self) -> None:
        news, self._news = self._news, running().signal()
        news.set()

    def _flush(self, data: bytes = b"") -> None:
        self._unsent += self.core.data_to_send() + data
        if self._unsent and not self._gathering:
            data, self._unsent = self._unsent, b""
            self.wire.write(data)


class Job(Protocol[Value]):
    """A coroutine on its way."""

    @property
    def done(self) -> bool:
        """Whether it has ended."""

    def cancel(self) -> object:
        """Cancel it."""

    async def wait(self) -> Value:
        """Its value, or its exception."""


class World(ABC):
    """A loop with servers and peers in it."""

    name: str
    cancelled: type[BaseException]
    """What a cancelled task sees."""
    peer_class: type[Peer] = Peer
    cancels_who_wakes = True
    """Whether a cancellation still reaches a task that is about to run."""

    def __init__(self) -> None:
        self._peers: list[Peer] = []

    @abstractmethod
    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a test to its end, for a bounded time."""

    @abstractmethod
    def server(self, **options: Any) -> WebSocketServer:
        """A server of this loop, on a free port."""

    @abstractmethod
    async def dial(self, server: WebSocketServer, **request: Any) -> Peer:
        """A peer whose stream stands, and which has sent nothing yet."""

    @abstractmethod
    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> Job[T]:
        """Run a coroutine beside the others."""

    @abstractmethod
    async def until(self, condition: Callable[[], object]) -> None:
        """Let the others run until the condition holds; fails where it never does."""

    def signal(self) -> Signal:
        """Something to wait for."""
        return running().signal()

    async def checkpoint(self) -> None:
        """Let the others run once."""
        await running().checkpoint()

    async def connect(self, server: WebSocketServer, **request: Any) -> Peer:
        """A peer that has shaken hands; `request` as for a ClientConnection."""
        peer = await self.dial(server, **request)
        peer.handshake()
        response = await peer.answer()
        assert response.status == 101, response
        return peer

    @asynccontextmanager
    async def serving(
        self, on_connection: OnConnection | None = None, **options: Any
    ) -> AsyncIterator[WebSocketServer]:
        """A server that listens."""
        server = self.server(**options)
        if on_connection is not None:
            server.connection(on_connection)
        await server.__aenter__()
        try:
            yield server
        finally:
            await self.leave(server)

    async def leave(self, server: WebSocketServer) -> None:
        """End a server's block; the peers that are left behave."""
        for peer in self._peers:
            peer.relent()
        await server.__aexit__(None, None, None)

    def _peer(self, server: WebSocketServer, **request: Any) -> Peer:
        target = request.pop("target", "/")
        peer = self.peer_class(ClientConnection(f"{server.addr}:{server.port}", target, **request))
        self._peers.append(peer)
        return peer


class MemoryWorld(World):
    """No sockets, and a clock that the test turns: the memory adapter's loop."""

    name = "memory"
    cancelled = Cancelled

    def __init__(self) -> None:
        super().__init__()
        self.runtime = MemoryRuntime()

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a test; it cannot hang, for a test that waits for nothing fails."""
        self.runtime.run(main)

    def server(self, **options: Any) -> WebSocketServer:
        """A server of this loop."""
        return WebSocketServer("127.0.0.1", 0, runtime=self.runtime, **options)

    async def dial(self, server: WebSocketServer, **request: Any) -> Peer:
        """A peer that has sent nothing yet."""
        peer = self._peer(server, **request)
        self.runtime.connect_pipe(peer, str(server.addr), server.port)
        await self.settle()
        return peer

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> Job[T]:
        """Run a coroutine beside the others."""
        return self.runtime.spawn(coroutine)

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the others run; all that can happen without the clock does within these turns."""
        for _ in range(10_000):
            if condition():
                return
            await self.checkpoint()
        assert condition()

    async def leave(self, server: WebSocketServer) -> None:
        """End a server's block, and let the time pass that this takes."""
        for peer in self._peers:
            peer.relent()
        leaving = self.spawn(server.__aexit__(None, None, None))
        await self.settle()
        if not leaving.done:
            await self.advance(1000)
        await leaving.wait()

    def now(self) -> float:
        """The clock."""
        return self.runtime.now()

    async def advance(self, seconds: float) -> None:
        """Turn the clock."""
        await self.runtime.advance(seconds)

    async def settle(self) -> None:
        """Let the others run until they all wait."""
        await self.runtime.settle()

    def work(self, seconds: float) -> None:
        """Spend time without letting anybody else run, as a computation does."""
        self.runtime._now += seconds


class AsyncioJob(Generic[T]):
    """A Job on asyncio."""

    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self.cancel = task.cancel

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.task.done()

    async def wait(self) -> T:
        """Its value, or its exception."""
        return await self.task


class AsyncioWire(asyncio.Protocol):
    """A Wire on asyncio."""

    _transport: asyncio.Transport

    def __init__(self, peer: Peer, at_once: bytes) -> None:
        self._peer = peer
        self._at_once = at_once
        self._ended = False
        self.data_received = peer.data_received  # type: ignore[method-assign]
        self.connection_lost = peer.connection_lost  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        self._peer.wire = self
        if self._at_once:
            self.write(self._at_once)

    def eof_received(self) -> bool:
        self._peer.eof_received()
        return self._transport.can_write_eof()

    def write(self, data: bytes) -> None:
        """Send; ignored once our half is ended."""
        if not self._ended:
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Take no more."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take again; TLS transports that are closing know no such thing."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """End our half, or all where the server has ended its own."""
        self._ended = True
        if self._peer.at_eof or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()

    def abort(self) -> None:
        """Reset the connection: closing without lingering makes the kernel send that."""
        if not self._transport.is_closing():
            found = self._transport.get_extra_info("socket")
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def vanish(self) -> None:
        """Close both halves at once."""
        self._transport.abort()


class AsyncioWorld(World):
    """Real sockets on asyncio's own loop, or on one that stands in for it."""

    cancelled = asyncio.CancelledError

    def __init__(
        self, name: str, new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self._new_loop = new_loop
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a test, and see that the library leaves no task behind."""
        with asyncio.Runner(loop_factory=self._new_loop) as runner:
            runner.run(self._bounded(main))

    async def _bounded(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with asyncio.timeout(PATIENCE):
            await main()
            for task in self._tasks:
                task.cancel()
            for peer in self._peers:
                if not peer.lost:
                    peer.reset()
            # Everybody has until the timeout to be gone.
            while len(asyncio.all_tasks()) > 1 or not all(peer.lost for peer in self._peers):
                await asyncio.sleep(0)

    def server(self, **options: Any) -> WebSocketServer:
        """A server of this loop, on a free port of 127.0.0.1."""
        return WebSocketServer("127.0.0.1", 0, **options)

    async def dial(self, server: WebSocketServer, **request: Any) -> Peer:
        """A peer that has sent nothing yet; `unix_path` and `tls` say how to connect, `at_once`
        is sent in the very moment when the stream stands."""
        unix_path: str | None = request.pop("unix_path", None)
        at_once: bytes = request.pop("at_once", b"")
        tls: ssl.SSLContext | None = request.pop("tls", None)
        peer = self._peer(server, **request)
        loop = asyncio.get_running_loop()
        if unix_path is not None:
            await loop.create_unix_connection(lambda: AsyncioWire(peer, at_once), unix_path)
        else:
            await loop.create_connection(
                lambda: AsyncioWire(peer, at_once), str(server.addr), server.port, ssl=tls
            )
        return peer

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> AsyncioJob[T]:
        """Run a coroutine beside the others."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        return AsyncioJob(task)

    async def until(self, condition: Callable[[], object]) -> None:
        """Turn the loop; a test that waits for nothing runs out of patience."""
        while not condition():
            await asyncio.sleep(0)


class Log(logging.Handler):
    """What was logged. A test asks for what it expects; anything else fails it at its end."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """As a Handler."""
        self.records.append(record)

    def lines(self) -> list[str]:
        """All that was logged, each a single line about one client, without saying which."""
        found = []
        for record in self._taken():
            assert record.name == "wstransports", record
            assert record.exc_info is None, record
            found.append(_about_client(record))
        return found

    def tracebacks(self) -> list[tuple[str, BaseException]]:
        """All that was logged, each an exception."""
        found = []
        for record in self._taken():
            assert record.name == "wstransports", record
            assert record.exc_info, record
            assert record.exc_info[1] is not None
            found.append((_about_client(record), record.exc_info[1]))
        return found

    def _taken(self) -> list[logging.LogRecord]:
        taken, self.records = self.records, []
        return taken


def _about_client(record: logging.LogRecord) -> str:
    message = record.getMessage()
    found = re.fullmatch(r"#\d+(?: 127\.0\.0\.1:\d+)?: (.+)", message)
    assert found is not None, message
    return found[1]


async def echo(client: Client) -> None:
    """An on_connection whose clients are sent back what they send."""

    @client.message
    async def on_message(reader: WebSocketReader) -> None:
        await client.writer.send(await reader.get())


def state_of(client: Client) -> State:
    """Its state now, which no type checker remembers for us."""
    return client.state
