"""The contract on asyncio, whichever loop implements it."""

import asyncio
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext, suppress
from contextvars import Context
from functools import cached_property, partial
from typing import Any, cast

from ..address import Address
from ..batch import Batch
from ..listening_sockets import ListeningSockets
from ..runtime import LostSink, Sink, Timer, register, wait_for
from ..speedups import accelerated_method
from .asyncio_event import AsyncioEvent
from .asyncio_idle import is_idle, shows_all
from .asyncio_listener import AsyncioListener, is_patched, loop_tls
from .asyncio_signals import AsyncioSignals
from .asyncio_socket import writable
from .asyncio_waiter import AsyncioWaiter
from .dialling import HEAD_START, dial
from .far_timers import FarTimers
from .tls_handshake import through_tls
from .tls_watch import TlsWatch
from .write_half import LOW, Room

# The most that one read takes, in bytes; and after a peer sent LARGE_READ at once. The large buffer
# holds the longest message accepted by default, in one piece: 0.8 of the CPU time.
READ_SIZE = 256 * 1024
LARGE_READ = 128 * 1024
LARGE_READ_SIZE = 1088 * 1024

# From a read of so many bytes on, uvloop no longer copies them for us.
COPIED_READ = 32 * 1024

# The most bytes that a loop's own TLS reads ahead while reading is paused, but for one read more.
# A record is less, so that a peer can complete one.
READ_AHEAD = 64 * 1024

_USUAL_TIME = asyncio.BaseEventLoop.time

# The most parts that one call writes: as many as POSIX promises.
MOST_PARTS = 16


class AsyncioPipe(Room, asyncio.BaseProtocol):
    """A Pipe, and the protocol that a transport calls."""

    # The attributes that connection_made sets would give each pipe a dict of 900 bytes.
    __slots__ = (
        *("_buffer", "_closing", "_descriptor", "_ended", "_holds", "_loss"),
        *("_peername", "_runtime", "_sink", "_tasks", "_transport", "_watch", "connected"),
    )

    _transport: asyncio.Transport

    def __init__(self, runtime: "AsyncioRuntime", sink: Sink) -> None:
        super().__init__(asyncio.Event)
        self.connected: bool = False
        self._runtime = runtime
        self._sink = sink
        self._buffer = runtime.read_buffer
        # What runs, for the loop holds it weakly. A set would be 216 bytes for each connection.
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._closing = False
        self._ended = False  # the peer ended its half
        self._watch: TlsWatch | None = None  # while the stream is full
        self._loss: Exception | None = None
        self._descriptor: Any = None  # what `write` may write to without the transport
        self._holds = True  # the transport may hold bytes that precede those of a write

    # As a protocol.

    def connection_made(self, transport: asyncio.BaseTransport, peername: Any = None) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it
        # Log lines need it after the end, when uvloop and TLS streams have forgotten it.
        self._peername = peername or transport.get_extra_info("peername")
        self._descriptor = writable(transport)
        if self._descriptor is None and hasattr(transport, "set_read_buffer_limits"):
            transport.set_read_buffer_limits(READ_AHEAD)  # a loop's own TLS, under uvicorn
        self.connected = True
        self._sink.connected(self)

    def pause_writing(self) -> None:
        self.full = True
        if self.info("ssl_object") is not None:
            self._watch = TlsWatch(self.waiting, self._break, self._runtime.loop.call_later)

    def resume_writing(self) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        self._make_room()

    def eof_received(self) -> bool:
        self._ended = True
        self._sink.eof_received()
        # Our half stays open for what is still to be sent; TLS has no halves.
        return not self._closing and self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self.resume_writing()
        self._sink.connection_lost(exc or self._loss)
        self._loss = None  # its traceback refers to this pipe
        self._sink = LostSink(self._sink)
        if self._transport.can_write_eof():
            self._transport.close()  # again: asyncio's own breaks its cycle then
        else:  # asyncio's TLS keeps our methods
            self._transport.set_protocol(asyncio.BufferedProtocol())

    # As a Pipe.

    @accelerated_method
    def write(self, data: bytes) -> None:
        """Send `data`; ignored once the stream is closed."""
        fd = self._descriptor
        if fd is None or self._closing or self._holds:
            return self.writelines((data,))
        try:  # not as one of several parts: 0.74 of a broadcast's instructions in pure Python
            sent = os.write(fd if fd.__class__ is int else fd.fileno(), data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._break(error)
            return
        if sent < len(data):
            self._write_rest((data,), sent)

    def writelines(self, parts: Sequence[bytes]) -> None:
        """Send them in one system call: 0.95 of the CPU time with 1 MiB a message."""
        if self._closing:
            return
        fd, sent = self._descriptor, 0
        if fd is not None and not (self._holds and self._transport.get_write_buffer_size()):
            # The transport's write() would take seven times the instructions.
            try:
                sent = os.writev(fd if fd.__class__ is int else fd.fileno(), parts[:MOST_PARTS])
            except BlockingIOError:
                pass
            except OSError as error:  # the kernel reports it once: the transport would see another
                self._break(error)
                return
            self._holds = False
        self._write_rest(parts, sent)

    def _write_rest(self, parts: Sequence[bytes], sent: int) -> None:
        """Give the transport what follows the first `sent` bytes."""
        for part in parts:
            if sent < len(part):
                self._holds = True
                if self._watch is not None:
                    self._watch.count(part)
                self._transport.write(memoryview(part)[sent:] if sent else part)
            sent = max(0, sent - len(part))
        if self._holds and self._transport.is_closing():
            # It broke; connection_lost() follows on the next turn.
            self._closing = self.full = True

    def _break(self, error: Exception) -> None:
        """Drop the stream because of `error`."""
        self._closing = self.full = True
        self._loss = error
        self.abort()

    def set_write_limit(self, size: int) -> None:
        """Set the high-water mark, which otherwise is eight times as much with asyncio's TLS."""
        transport = self._transport
        if transport.get_write_buffer_limits() != (size // LOW, size):  # asking is cheaper
            transport.set_write_buffer_limits(size)

    def waiting(self) -> int:
        """How many written bytes the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`, and then no large reads at first: what one of them
        brought is held until it is handled."""
        self._buffer = self._runtime.read_buffer
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
            except OSError:  # it is reset already; connection_lost() follows
                self._transport.abort()
        elif not self._transport.is_closing():  # closed again, asyncio's TLS cannot be aborted
            self._transport.close()

    def abort(self) -> None:
        """Drop the stream at once."""
        self._descriptor = None
        self._transport.abort()

    def info(self, name: str) -> Any:
        """What the transport knows by that name."""
        if name == "peername":
            return self._peername
        try:
            return self._transport.get_extra_info(name)
        except ValueError:  # uvloop's, once it is lost
            return None

    @accelerated_method
    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        """Run a coroutine in a Task, its first step at once unless a task may be in `context`."""
        loop = self._runtime.loop
        at_once = asyncio.current_task(loop) is None  # else that may be in `context`
        task = _start(coroutine, loop=loop, context=context, eager_start=at_once)
        if not task.done():
            self._keep(task, context)

    def _keep(self, task: asyncio.Task[None], context: Context) -> None:
        self._tasks += (task,)
        task.add_done_callback(self._task_ended, context=context)

    def cancel(self) -> None:
        """Cancel what `start` began and still runs."""
        for task in self._tasks:
            task.cancel()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks = tuple([other for other in self._tasks if other is not task])

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        """Call `call` when the loop's clock shows `when`."""
        return self._runtime.timers.call_at(when, call)


class BufferedPipe(AsyncioPipe, asyncio.BufferedProtocol):
    """For asyncio's own transports, which otherwise allocate 256 KiB for each read: with 256 bytes
    a message, a bare echo takes 10 us of CPU instead of 30."""

    __slots__ = ()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read, where it lies: 0.83 of the CPU time with 1 MiB a message."""
        data = self._buffer[:nbytes]
        if nbytes >= LARGE_READ:
            self._buffer = self._runtime.large_read_buffer
        self._sink.data_received(data)


class UnbufferedPipe(AsyncioPipe, asyncio.Protocol):
    """For uvloop, which allocates only what a read needs: 7 us instead of 8. Its own TLS allocates
    256 KiB, too: under uvicorn, an echo of 256 bytes over it would take twice the CPU time."""

    __slots__ = ()

    @accelerated_method
    def data_received(self, data: bytes) -> None:
        """Pass on what was read; after a longer read, become a BufferedPipe, for uvloop copies what
        it reads for us: 0.82 of the CPU time with 1 MiB a message, 0.9 with four of 16 KiB."""
        if len(data) >= COPIED_READ:
            self.__class__ = BufferedPipe  # type: ignore[assignment]
            self._transport.set_protocol(self)
        self._sink.data_received(data)


if sys.version_info >= (3, 12):
    _start = asyncio.Task

else:  # pragma: no cover - only Python 3.11 comes here

    def _start(
        coroutine: Coroutine[Any, Any, None], loop: Any, context: Context, eager_start: bool
    ) -> asyncio.Task[None]:
        """A Task has its loop call its first step soon: where that is to run now, for a moment the
        loop has a `call_soon` that gives the step to us instead."""
        if not eager_start:
            return asyncio.Task(coroutine, loop=loop, context=context)
        steps: list[Callable[..., None]] = []
        loop.call_soon = lambda step, *, context: steps.append(step)
        try:
            task = asyncio.Task(coroutine, loop=loop, context=context)
        finally:
            del loop.call_soon
        context.run(steps[0])
        return task


class AsyncioRuntime:
    """The contract's Runtime: one for each loop."""

    checkpoints = False
    signal = AsyncioEvent
    timeout_at = staticmethod(asyncio.timeout_at)
    current_task = staticmethod(asyncio.current_task)
    checkpoint = staticmethod(partial(asyncio.sleep, 0))
    # asyncio's tasks need no group, and a task that was cancelled once can wait again.
    task_group = shield = nullcontext

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.batch: Batch = Batch(partial(is_idle, loop)) if shows_all(loop) else Batch()
        self.now = _clock(loop)
        self.loop = loop
        self.in_thread = asyncio.to_thread
        self.stop_signals = partial(AsyncioSignals, loop)
        self.timers: FarTimers = FarTimers(self.now, self._call_at)
        self._context = Context()  # empty: what calls a user's callback sets that of its client
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks weakly
        done: asyncio.Future[None] = loop.create_future()
        done.set_result(None)
        self.waiter = partial(AsyncioWaiter, done)
        self.read_buffer: memoryview[int] = memoryview(bytearray(READ_SIZE))
        """What all pipes read into: each takes its bytes out at once."""

    @cached_property
    def large_read_buffer(self) -> memoryview:
        """For peers that send large messages."""
        return memoryview(bytearray(LARGE_READ_SIZE))

    def spawn(self, coroutine: Coroutine[Any, Any, None], group: Any = None) -> asyncio.Task[None]:
        """Run a coroutine in a Task."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _call_at(self, when: float, call: Callable[[], None]) -> Timer:
        if when <= self.now():  # with a timer for these, a handshake takes 12 k instructions more
            return self.loop.call_soon(call, context=self._context)
        return self.loop.call_at(when, call, context=self._context)

    def is_cancellation(self, error: BaseException) -> bool:
        """Whether it is this task's own, not that of another which it awaited."""
        task = asyncio.current_task()
        return isinstance(error, asyncio.CancelledError) and bool(task and task.cancelling())

    async def listen(
        self, where: Address, make_sink: Callable[[], Sink | None], group: Any = None
    ) -> AsyncioListener:
        """Accept connections at `where`."""
        listening = await ListeningSockets.open(where, self.loop.getaddrinfo)
        return AsyncioListener(  # type: ignore[abstract, unused-ignore]  # new in Python 3.13
            self, listening, where, make_sink
        )

    async def connect(self, where: Address, sink: Sink, group: Any = None) -> None:
        """Connect to `where`, TLS and proxy included."""
        sock = await dial(where, self.loop.getaddrinfo, self._writable, "asyncio")
        if where.tls is None:
            await self._join(sock, sink)
        elif is_patched(self.loop):
            name = where.server_hostname
            await self._join(sock, sink, **loop_tls(where), server_hostname=name)
        else:
            await through_tls(self, where, sink, partial(self._join, sock))

    async def _join(self, sock: socket.socket, sink: Sink, **tls: Any) -> None:
        await self.loop.create_connection(partial(self._pipe, sink), sock=sock, **tls)

    async def _writable(self, socks: Sequence[socket.socket], seconds: float) -> None:
        some = asyncio.Event()
        try:
            for sock in socks:
                self.loop.add_writer(sock, some.set)
        except NotImplementedError:  # Windows' own loop
            seconds = min(seconds or HEAD_START, HEAD_START)
            await asyncio.to_thread(select.select, (), socks, socks, seconds)
            return
        try:
            await wait_for(self, some, seconds)
        finally:
            for sock in socks:
                self.loop.remove_writer(sock)

    def take_over(self, transport: asyncio.Transport, sink: Sink) -> AsyncioPipe:
        """A pipe over a transport that is connected already, and calls `sink.connected`.

        The caller then sets it as the transport's protocol, or calls its methods in the place of
        the transport. What was read before goes to `sink.data_received`.
        """
        pipe = self._pipe(sink, tls=transport.get_extra_info("ssl_object") is not None)
        name = None
        with suppress(OSError, AttributeError):  # the peer has left, or there is no socket
            # uvloop's sockets keep the name; its transports return another copy each time.
            name = transport.get_extra_info("socket").getpeername()
        pipe.connection_made(transport, name)
        return pipe

    def _pipe(self, sink: Sink, tls: bool = False) -> AsyncioPipe:
        buffered = tls or isinstance(self.loop, asyncio.BaseEventLoop)
        return (BufferedPipe if buffered else UnbufferedPipe)(self, sink)


def _clock(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """The loop's clock; where that is `time.monotonic`, called without the loop: uvloop's stands
    still while a callback computes, and asyncio's takes twice the instructions."""
    own = isinstance(loop, asyncio.BaseEventLoop) and type(loop).time is not _USUAL_TIME
    return loop.time if own or abs(loop.time() - time.monotonic()) > 1 else time.monotonic


def find() -> AsyncioRuntime | None:
    """The one Runtime of the loop that runs in this thread."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    # An attribute of the loop ends with it, and no other thread comes here.
    attributes: dict[str, Any] = vars(loop)
    if "_wstransports" not in attributes:
        attributes.setdefault("_wstransports", AsyncioRuntime(loop))  # a signal handler was first
    return cast(AsyncioRuntime, attributes["_wstransports"])


register(find)
