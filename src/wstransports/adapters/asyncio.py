"""The contract on asyncio, whichever loop implements it."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import nullcontext, suppress
from contextvars import Context
from functools import cached_property, partial
from typing import Any, cast

from ..address import Address
from ..batch import Batch
from ..listening_sockets import ListeningSockets
from ..runtime import LostSink, Sink, T, Timer, register
from ..speedups import accelerated_method
from .asyncio_dial import AsyncioDialler
from .asyncio_event import AsyncioEvent
from .asyncio_idle import is_idle, shows_all
from .asyncio_listener import AsyncioListener, is_patched, loop_tls
from .asyncio_signals import AsyncioSignals
from .asyncio_socket import writable
from .asyncio_tls import TlsHandshake
from .asyncio_waiter import AsyncioWaiter
from .dialling import dial
from .far_timers import FarTimers
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

# Elsewhere, writelines() of a transport joins the parts.
_SENDS_PARTS = sys.version_info >= (3, 12) and hasattr(socket.socket, "sendmsg")


class AsyncioPipe(Room, asyncio.BaseProtocol):
    """A Pipe, and the protocol that a transport calls."""

    # The attributes that connection_made sets would give each pipe a dict of 900 bytes.
    __slots__ = (
        *("_buffer", "_closing", "_descriptor", "_ended", "_holds", "_loss"),
        *("_more_tasks", "_peername", "_runtime", "_sink", "_starting"),
        *("_task", "_transport", "_watch", "connected"),
    )

    _transport: asyncio.Transport

    def __init__(self, runtime: "AsyncioRuntime", sink: Sink) -> None:
        super().__init__(asyncio.Event)
        self.connected: bool = False
        self._runtime = runtime
        self._sink = sink
        self._buffer = runtime.read_buffer
        # What runs: most often one task. A set for it would be 216 bytes for each connection.
        self._task: asyncio.Task[None] | None = None
        self._more_tasks: set[asyncio.Task[None]] | None = None
        self._starting = False  # a task, whose first step may run
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
            self._watch = TlsWatch(self, self._runtime.loop.call_later)

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
        if not self.connected:
            return
        if _is_plain(self._transport):
            self._transport.close()  # again, for it breaks its own cycle
        else:  # asyncio's TLS keeps our methods
            self._transport.set_protocol(asyncio.BufferedProtocol())

    def drop(self, error: Exception) -> None:
        """Drop the stream because of `error`."""
        self._loss = error
        self.abort()

    # As a Pipe.

    @accelerated_method
    def write(self, data: bytes) -> None:
        """Send `data`; ignored once the stream is closed."""
        if self._closing:
            return
        transport = self._transport
        fd = self._descriptor
        if fd is not None and not (self._holds and transport.get_write_buffer_size()):
            # The transport's write() would take seven times the instructions.
            try:
                sent = os.write(fd if fd.__class__ is int else fd.fileno(), data)
            except BlockingIOError:
                sent = 0
            except OSError as error:  # the kernel reports it once: the transport would see another
                self._break(error)
                return
            self._holds = sent < len(data)
            if not self._holds:
                return
            data = data[sent:]
        if self._watch is not None:
            self._watch.count(data)
        transport.write(data)
        if transport.is_closing():  # it broke; connection_lost() follows on the next turn
            self._closing = self.full = True

    def _break(self, error: OSError) -> None:
        """Writing failed: drop the stream."""
        self._closing = self.full = True
        self.drop(error)

    def writelines(self, parts: list[bytes]) -> None:
        """Send them in one system call: 0.95 of the CPU time with 1 MiB a message."""
        if not _SENDS_PARTS:
            for part in parts:
                self.write(part)
            return
        transport = self._transport
        # writelines() of some versions, such as 3.13.0, watches the socket of a lost stream again,
        # and does not pause writing. Setting the limits again does that.
        if not self._closing:
            if self._watch is not None:
                self._watch.count(*parts)
            if not transport.is_closing():
                transport.writelines(parts)
            if transport.is_closing():
                self._closing = self.full = True
            elif transport.get_write_buffer_size():
                self._holds = True
                _, limit = transport.get_write_buffer_limits()
                transport.set_write_buffer_limits(limit)

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

    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        """Run a coroutine in a Task, its first step at once unless a task may be in `context`."""
        loop = self._runtime.loop
        # Only our tasks are in it. To ask in any case takes 0.5 % of an echo's instructions.
        starting, self._starting = self._starting, True
        mine = starting or self._task or self._more_tasks
        at_once = not mine or asyncio.current_task(loop) is None
        try:
            task = _start(coroutine, loop=loop, context=context, eager_start=at_once)
        finally:
            self._starting = starting
        if not task.done():
            # The loop itself holds tasks weakly.
            if self._task is None:
                self._task = task
            elif self._more_tasks is None:
                self._more_tasks = {task}
            else:
                self._more_tasks.add(task)
            task.add_done_callback(self._task_ended, context=context)

    def cancel(self) -> None:
        """Cancel what `start` began and still runs."""
        for task in (self._task, *(self._more_tasks or ())):
            if task is not None:
                task.cancel()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if self._more_tasks and task in self._more_tasks:
            self._more_tasks.discard(task)
        else:
            self._task = None

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
        """A Task whose first step runs now. A Task has its loop call that step soon: for a moment
        the loop has a `call_soon` that gives the step to us instead."""
        if not eager_start or asyncio.current_task(loop) is not None:
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
        # In an empty context: what calls a user's callback sets that of its client.
        self.timers: FarTimers = FarTimers(self.now, partial(loop.call_at, context=Context()))
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks weakly
        self._done: asyncio.Future[None] = loop.create_future()
        self._done.set_result(None)
        self.read_buffer: memoryview[int] = memoryview(bytearray(READ_SIZE))
        """What all pipes read into: each takes its bytes out at once."""

    @cached_property
    def large_read_buffer(self) -> memoryview:
        """For peers that send large messages."""
        return memoryview(bytearray(LARGE_READ_SIZE))

    def waiter(self) -> AsyncioWaiter:
        """A new Waiter."""
        return AsyncioWaiter(self._done)

    def stop_signals(self, stop: Callable[[], None]) -> AsyncioSignals:
        """A block in which signals call `stop`."""
        return AsyncioSignals(self.loop, stop)

    def spawn(self, coroutine: Coroutine[Any, Any, None], group: Any = None) -> asyncio.Task[None]:
        """Run a coroutine in a Task."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Run a function that blocks in another thread."""
        return await asyncio.to_thread(function)

    def is_cancellation(self, error: BaseException) -> bool:
        """Whether it is this task's own, not that of another which it awaited."""
        task = asyncio.current_task()
        return isinstance(error, asyncio.CancelledError) and bool(task and task.cancelling())

    async def listen(
        self, where: Address, make_sink: Callable[[], Sink | None], group: Any = None
    ) -> AsyncioListener:
        """Accept connections at `where`."""
        listening = await ListeningSockets.open(where, self.loop.getaddrinfo)
        begin_tls = None
        if where.tls is not None and not is_patched(self.loop):
            begin_tls = partial(TlsHandshake, self, context=where.tls, server_side=True)
        return AsyncioListener(  # type: ignore[abstract, unused-ignore]  # new in Python 3.13
            self.loop, listening, where, make_sink, self._pipe, begin_tls
        )

    async def connect(self, where: Address, sink: Sink, group: Any = None) -> None:
        """Connect to `where`, TLS and proxy included."""
        sock = await dial(where, AsyncioDialler(self.loop))
        handshake = None
        tls: dict[str, Any] = {}
        if where.tls is not None:
            if is_patched(self.loop):
                tls = {**loop_tls(where), "server_hostname": where.server_hostname}
            else:
                handshake = TlsHandshake(self, sink, where.tls, where.server_hostname)
                sink = handshake.pipe
        await self.loop.create_connection(partial(self._pipe, sink), sock=sock, **tls)
        if handshake is not None:
            try:
                await handshake.wait(where.handshake_timeout)
            except BaseException:
                handshake.pipe.abort()
                raise

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


def _is_plain(transport: asyncio.BaseTransport) -> bool:
    """Whether it is asyncio's own, over a socket, whose bytes it sends as they are."""
    return type(transport).__module__ == "asyncio.selector_events"


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
