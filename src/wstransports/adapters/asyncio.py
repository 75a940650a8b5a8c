"""The contract on asyncio, whichever loop implements it."""

import asyncio
import select
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext, suppress
from contextvars import Context
from functools import cached_property, partial
from typing import Any, cast

from ..address import Address
from ..batch import Batch
from ..listening_sockets import ListeningSockets
from ..runtime import Sink, Timer, register, wait_for
from .asyncio_idle import is_idle, shows_all
from .asyncio_listener import AsyncioListener
from .asyncio_signals import AsyncioSignals
from .asyncio_socket import LARGE_READ_SIZE, READ_SIZE, AsyncioSocketPipe
from .asyncio_transport import BufferedPipe, TransportPipe, UnbufferedPipe
from .asyncio_waiter import AsyncioWaiter
from .dialling import HEAD_START, dial
from .far_timers import FarTimers
from .tls_handshake import through_tls

_CAN_POLL = hasattr(select, "poll")  # not on Windows
_USUAL_TIME = asyncio.BaseEventLoop.time


class AsyncioRuntime:
    """The contract's Runtime: one for each loop."""

    checkpoints = False
    signal = asyncio.Event
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
        # uvloop's way, and that of what is made from it.
        self.forgets_broken: bool = not isinstance(loop, asyncio.BaseEventLoop) and _CAN_POLL
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
        join = partial(self.join, sock)
        if where.tls is None:
            await join(sink)
        else:
            await through_tls(self, where, sink, join)

    async def join(self, sock: socket.socket, sink: Sink) -> None:
        """Connect a sink to a stream over a connected socket."""
        try:
            AsyncioSocketPipe(self, sink, sock).open()
        except NotImplementedError:  # Windows' own loop
            await self.loop.create_connection(partial(self._pipe, sink), sock=sock)
        except BaseException:
            sock.close()
            raise

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

    def take_over(self, transport: asyncio.Transport, sink: Sink) -> TransportPipe:
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

    def _pipe(self, sink: Sink, tls: bool = False) -> TransportPipe:
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
