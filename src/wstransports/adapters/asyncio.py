"""The contract on asyncio, whichever loop implements it."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, cast

from ..address import Address
from ..batch import Batch
from ..listening_sockets import ListeningSockets
from ..runtime import Sink, register, wait_for
from .asyncio_listener import AsyncioListener
from .asyncio_loop import Loop, is_idle, shows_all
from .asyncio_signals import stop_signals
from .asyncio_socket import AsyncioSocketPipe
from .asyncio_waiter import AsyncioWaiter
from .dialling import dial
from .socket_listener import SocketListener
from .tls_handshake import join


class AsyncioRuntime(Loop):
    """The contract's Runtime: one for each loop."""

    _listener: Callable[..., SocketListener] = AsyncioListener
    checkpoints = False
    signal = asyncio.Event
    timeout_at = staticmethod(asyncio.timeout_at)
    current_task = staticmethod(asyncio.current_task)
    checkpoint = staticmethod(partial(asyncio.sleep, 0))
    # asyncio's tasks need no group, and a task that was cancelled once can wait again.
    task_group = shield = nullcontext

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.batch: Batch = Batch(partial(is_idle, loop)) if shows_all(loop) else Batch()
        self.in_thread = asyncio.to_thread
        self.stop_signals = partial(stop_signals, loop)
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks weakly
        done: asyncio.Future[None] = loop.create_future()
        done.set_result(None)
        self.waiter = partial(AsyncioWaiter, done)

    def spawn(self, coroutine: Coroutine[Any, Any, None], group: Any = None) -> asyncio.Task[None]:
        """Run a coroutine in a Task."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def is_cancellation(self, error: BaseException) -> bool:
        """Whether it is this task's own, not that of another which it awaited."""
        task = asyncio.current_task()
        return isinstance(error, asyncio.CancelledError) and bool(task and task.cancelling())

    async def listen(
        self, where: Address, make_sink: Callable[[], Sink | None], group: Any = None
    ) -> SocketListener:
        """Accept connections at `where`."""
        listening = await ListeningSockets.open(where, self.loop.getaddrinfo)
        return self._listener(self, listening, where, make_sink)

    async def connect(self, where: Address, sink: Sink, group: Any = None) -> None:
        """Connect to `where`, TLS and proxy included."""
        sock = await dial(where, self.loop.getaddrinfo, self._writable, "asyncio")
        await join(self, where, sink, sock, self.join)

    async def join(self, sock: socket.socket, sink: Sink) -> None:
        """Connect a sink to a stream over a connected socket."""
        AsyncioSocketPipe(self, sink, sock).open()

    async def _writable(self, socks: Sequence[socket.socket], seconds: float) -> None:
        some = asyncio.Event()
        try:
            for sock in socks:
                self.loop.add_writer(sock, some.set)
            await wait_for(self, some, seconds)
        finally:
            for sock in socks:
                self.loop.remove_writer(sock)


def find(kind: type[AsyncioRuntime] = AsyncioRuntime) -> AsyncioRuntime | None:
    """The one Runtime of the loop that runs in this thread; a new one is of this kind."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    # An attribute of the loop ends with it, and no other thread comes here.
    attributes: dict[str, Any] = vars(loop)
    if "_wstransports" not in attributes:
        attributes.setdefault("_wstransports", kind(loop))  # a signal handler was first
    return cast(AsyncioRuntime, attributes["_wstransports"])


register(find)
