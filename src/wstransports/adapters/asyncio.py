"""The contract on asyncio, whichever loop implements it."""

import asyncio
import errno
import math
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, cast

from ..batch import Batch
from ..options import Address
from ..runtime import Sink, register
from .asyncio_dial import dial

# What one read takes at most, in bytes; and of a peer that sent as much as LARGE_READ at once. That
# holds the longest message let in by default, which then comes in one piece: 0.8 of the CPU time.
READ_SIZE = 256 * 1024
LARGE_READ = 128 * 1024
LARGE_READ_SIZE = 1088 * 1024

# Python 3.11 joins them, and so does it where there is no sendmsg.
_SENDS_PARTS = sys.version_info >= (3, 12) and hasattr(socket.socket, "sendmsg")


class AsyncioPipe(asyncio.BaseProtocol):
    """A Pipe, and the protocol that a transport calls."""

    __slots__ = (
        "_closing",
        "_drainers",
        "_ended",
        "_loop",
        "_peername",
        "_sink",
        "_tasks",
        "_transport",
        "full",
    )

    _transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, sink: Sink) -> None:
        self.full = False
        self._loop = loop
        self._sink = sink
        self._drainers: list[asyncio.Future[None]] | None = None
        self._tasks: set[asyncio.Task[None]] | None = None
        self._closing = False
        self._ended = False  # the peer ended its half

    # As a protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses of it
        # uvloop and TLS streams forget it at their end, when it is logged.
        self._peername = transport.get_extra_info("peername")
        self._sink.connected(self)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._wake_drainers()

    def eof_received(self) -> bool:
        self._ended = True
        self._sink.eof_received()
        # Our half stays open for what we still owe; TLS has no such thing.
        return not self._closing and self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self.full = False
        self._wake_drainers()
        self._sink.connection_lost(exc)

    # As a Pipe.

    def write(self, data: bytes) -> None:
        """Send `data`; ignored once the stream is closed."""
        transport = self._transport
        if not self._closing:
            transport.write(data)
            if transport.is_closing():  # it broke, and we are told on the loop's next turn
                self._closing = self.full = True

    def writelines(self, parts: list[bytes]) -> None:
        """Send them in one system call: 0.95 of the CPU time with 1 MiB a message."""
        if not _SENDS_PARTS:
            for part in parts:
                self.write(part)
            return
        transport = self._transport
        # Some versions, such as 3.13.0, watch the socket of a lost stream again, and do not look
        # whether too much waits. To set the limits, the same again, has them look.
        if not self._closing:
            if not transport.is_closing():
                transport.writelines(parts)
            if transport.is_closing():
                self._closing = self.full = True
            elif transport.get_write_buffer_size():
                transport.set_write_buffer_limits()

    def waiting(self) -> int:
        """How many written bytes the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    async def drain(self) -> None:
        """Return when `full` is False, or when the connection is lost."""
        while self.full:
            drainer = self._loop.create_future()
            if self._drainers is None:
                self._drainers = []
            self._drainers.append(drainer)
            await drainer

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        self._transport.resume_reading()

    def close(self) -> None:
        """Send what is written, then end our half; see the contract."""
        self._closing = True
        if not self._ended and self._transport.can_write_eof():
            # The kernel answers with a reset when it closes a socket with unread input, and a
            # reset may overtake our Close: so only our half ends, until the peer ends its own.
            try:
                self._transport.write_eof()
            except OSError:  # it is reset already, and the loop will tell
                self._transport.abort()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Drop the stream at once."""
        self._transport.abort()

    def info(self, name: str) -> Any:
        """What the transport knows by that name."""
        if name == "peername":
            return self._peername
        try:
            return self._transport.get_extra_info(name)
        except ValueError:  # uvloop's, once it is lost
            return None

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in a Task, its first step at once."""
        task = _start(coroutine, loop=self._loop, eager_start=True)
        if not task.done():
            # The loop itself holds tasks weakly.
            if self._tasks is None:
                self._tasks = set()
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Cancel whatever `start` began and still runs."""
        for task in tuple(self._tasks or ()):
            task.cancel()

    def call_at(self, when: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        """Call `call` when the loop's clock shows `when`."""
        return self._loop.call_at(when, call)

    def _wake_drainers(self) -> None:
        drainers, self._drainers = self._drainers, None
        for drainer in drainers or ():
            if not drainer.done():
                drainer.set_result(None)


class Rooms:
    """What all pipes of a loop read into: it is taken out at once."""

    def __init__(self) -> None:
        self.usual = memoryview(bytearray(READ_SIZE))

    @cached_property
    def large(self) -> memoryview:
        """For peers that send large messages."""
        return memoryview(bytearray(LARGE_READ_SIZE))


class BufferedPipe(AsyncioPipe, asyncio.BufferedProtocol):
    """For asyncio's own transports, which else make 256 KiB of room anew for each read: with
    256 bytes a message, 10 us of CPU instead of 30 for a bare echo."""

    __slots__ = ("_received", "_room", "_rooms")

    def __init__(self, loop: asyncio.AbstractEventLoop, sink: Sink, rooms: Rooms) -> None:
        super().__init__(loop, sink)
        self._rooms = rooms
        self._room = rooms.usual
        self._received = sink.data_received

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read into."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """So much was read."""
        data = self._room[:nbytes]
        if nbytes >= LARGE_READ:
            self._room = self._rooms.large
        self._received(data)  # as it lies there: 0.83 of the CPU time with 1 MiB a message


class UnbufferedPipe(AsyncioPipe, asyncio.Protocol):
    """For uvloop, which makes just the room that a read needs: 7 us instead of 8."""

    __slots__ = ("_received", "_room", "_rooms")

    def __init__(self, loop: asyncio.AbstractEventLoop, sink: Sink, rooms: Rooms) -> None:
        super().__init__(loop, sink)
        self._rooms = rooms
        self._received = sink.data_received

    def data_received(self, data: bytes) -> None:
        """This was read: if it is much, become a BufferedPipe, for uvloop copies what it reads for
        us. With 1 MiB a message that is 0.82 of the CPU time."""
        if len(data) >= LARGE_READ:
            self._room = self._rooms.large
            self.__class__ = BufferedPipe  # type: ignore[assignment]  # it has the same slots
            self._transport.set_protocol(self)
        self._received(data)


if sys.version_info >= (3, 12):
    _start = asyncio.Task

else:

    def _start(
        coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, eager_start: bool
    ) -> asyncio.Task[None]:
        """A Task whose first step runs now. It asks its loop to call that step soon: for that
        moment the loop has a `call_soon` that hands the step to us instead."""
        if asyncio.current_task(loop) is not None:
            return asyncio.Task(coroutine, loop=loop)
        steps: list[tuple[Callable[..., None], Any]] = []

        def call_soon(step: Callable[..., None], *, context: Any) -> None:
            steps.append((step, context))

        loop.call_soon = call_soon  # type: ignore[method-assign,assignment]
        try:
            task = asyncio.Task(coroutine, loop=loop)
        finally:
            del loop.call_soon
        step, context = steps[0]
        context.run(step)
        return task


class AsyncioSignal:
    """The contract's Signal."""

    __slots__ = ("_loop", "_set", "_waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._set = False
        self._waiters: list[asyncio.Future[None]] = []

    def set(self) -> None:
        """Wake who waits, now or later."""
        self._set = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def wait(self) -> None:
        """Return when `set` has been called."""
        if not self._set:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter


class AsyncioListener:
    """The contract's Listener."""

    def __init__(self, server: asyncio.Server) -> None:
        self.server = server

    def address(self) -> tuple[str, int]:
        """Where it listens."""
        name = self.server.sockets[0].getsockname()
        return (name[0], name[1]) if isinstance(name, tuple) else (str(name), 0)

    async def close(self) -> None:
        """Accept no more."""
        self.server.close()
        await asyncio.sleep(0)  # who was accepted just now is on the way to connection_made


class AsyncioRuntime:
    """The contract's Runtime: one for each loop."""

    checkpoints = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.batch = Batch()
        self.now = loop.time
        self._loop = loop
        self._rooms = Rooms()

    def signal(self) -> AsyncioSignal:
        """A new Signal."""
        return AsyncioSignal(self._loop)

    def timeout_at(self, when: float) -> AbstractAsyncContextManager[object]:
        """asyncio's own."""
        return asyncio.timeout_at(when)

    async def checkpoint(self) -> None:
        """Let others run once."""
        await asyncio.sleep(0)

    def current_task(self) -> object:
        """The Task that runs now."""
        return asyncio.current_task(self._loop)

    def task_group(self) -> AbstractAsyncContextManager[Any]:
        """asyncio's tasks need none."""
        return nullcontext()

    def shield(self) -> AbstractContextManager[object]:
        """asyncio cancels once, and then lets its tasks wait."""
        return nullcontext()

    async def listen(
        self, where: Address, make_sink: Callable[[], Sink], group: Any = None
    ) -> AsyncioListener:
        """Accept connections at `where`."""
        loop = self._loop

        def make_pipe() -> AsyncioPipe:
            return self._pipe(make_sink())

        tls: dict[str, Any] = {}
        if where.tls is not None:
            tls = {"ssl": where.tls, "ssl_handshake_timeout": where.handshake_timeout or None}
        try:
            if where.unix_path is not None:
                server = await loop.create_unix_server(make_pipe, where.unix_path, **tls)
            elif where.sock is not None:
                server = await loop.create_server(make_pipe, sock=where.sock, **tls)
            else:
                server = await loop.create_server(
                    make_pipe, where.host, where.port, reuse_port=where.reuse_port or None, **tls
                )
        except OSError as error:
            raise where.cannot_listen(error) from error
        return AsyncioListener(server)

    async def connect(self, where: Address, sink: Sink, group: Any = None) -> None:
        """Connect to `where`, TLS and proxy included."""
        tls: dict[str, Any] = {}
        if where.tls is not None:
            tls = {
                "ssl": where.tls,
                "server_hostname": where.server_hostname,
                "ssl_handshake_timeout": where.handshake_timeout or math.inf,
            }
        sock = await dial(where)
        pipe = self._pipe(sink)
        try:
            await self._loop.create_connection(lambda: pipe, sock=sock, **tls)
        except ConnectionResetError:  # asyncio says no more
            raise ConnectionResetError(
                errno.ECONNRESET, "the server left amid the TLS handshake"
            ) from None

    def _pipe(self, sink: Sink) -> AsyncioPipe:
        if isinstance(self._loop, asyncio.BaseEventLoop):
            return BufferedPipe(self._loop, sink, self._rooms)
        return UnbufferedPipe(self._loop, sink, self._rooms)


_runtimes: dict[asyncio.AbstractEventLoop, AsyncioRuntime] = {}


def runtime_of(loop: asyncio.AbstractEventLoop) -> AsyncioRuntime:
    """The one Runtime of a loop."""
    runtime = _runtimes.get(loop)
    if runtime is None:
        for old in [old for old in _runtimes if old.is_closed()]:
            del _runtimes[old]
        runtime = _runtimes[loop] = AsyncioRuntime(loop)
    return runtime


def _find() -> AsyncioRuntime | None:
    try:
        return runtime_of(asyncio.get_running_loop())
    except RuntimeError:
        return None


register(_find)
