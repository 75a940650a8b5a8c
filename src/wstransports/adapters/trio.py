"""The contract on trio."""

import math
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

import trio

from ..address import Address
from ..batch import Batch
from ..listening_sockets import ListeningSockets
from ..runtime import Sink, register
from .dialling import dial
from .far_timers import FarTimers
from .signal_waiter import SignalWaiter
from .socket_listener import RETRY, SocketListener
from .stop_signals import StopSignals
from .time_limit import TimeLimit
from .tls_handshake import join
from .trio_pipe import Coro, Group, TrioPipe, call_at, spawn


class TrioListener(SocketListener):
    """The contract's Listener."""

    _runtime: "TrioRuntime"

    def _watch(self, sock: socket.socket) -> None:
        self._acceptors.append(self._runtime.spawn(self._accept(sock), self._group))

    async def _accept(self, sock: socket.socket) -> None:
        while sock.fileno() >= 0:
            await trio.lowlevel.wait_readable(sock)
            try:
                self._accept_waiting(sock)
            except OSError:
                await trio.sleep(RETRY)

    def _join(self, sink: Sink, accepted: socket.socket, peer: object) -> None:
        spawn(self._group, TrioPipe(accepted, sink, self._runtime, self._group).live)


class TrioRuntime:
    """The contract's Runtime: one for each trio run."""

    checkpoints = True

    def __init__(self) -> None:
        self.batch: Batch = Batch()
        self.at_checkpoint: bool = False
        # Not trio.current_time, which looks this up: 2 % of the instructions of an echo.
        self.now = trio.lowlevel.current_clock().current_time
        self.current_task = trio.lowlevel.current_task
        own_timer = partial(call_at, trio.lowlevel.spawn_system_task)
        self.timers: FarTimers = FarTimers(self.now, own_timer)
        self.signal = trio.Event
        self.waiter = partial(SignalWaiter, trio.Event)
        self.task_group = trio.open_nursery
        self.shield = partial(trio.CancelScope, shield=True)
        self.in_thread = partial(trio.to_thread.run_sync, abandon_on_cancel=True)

    def spawn(self, coroutine: Coro, group: Group = None) -> trio.CancelScope:
        """Run a coroutine in a task: the scope cancels it."""
        scope = trio.CancelScope(shield=group is not None)
        spawn(group, _run, coroutine, scope)
        return scope

    def timeout_at(self, when: float) -> AbstractAsyncContextManager[None]:
        """A block that is cancelled, and raises TimeoutError, when the clock shows `when`."""
        return TimeLimit(trio.move_on_at(when))

    def stop_signals(self, stop: Callable[[], None]) -> StopSignals:
        """A block in which signals call `stop`; trio itself has them wake the loop."""
        return StopSignals(partial(trio.lowlevel.current_trio_token().run_sync_soon, stop))

    def is_cancellation(self, error: BaseException) -> bool:
        """Whether it is the cancellation of a scope that this task is in."""
        return isinstance(error, trio.Cancelled) and trio.current_effective_deadline() == -math.inf

    def checkpoint(self) -> Awaitable[None]:
        """Let others run once."""
        self.at_checkpoint = True
        return trio.lowlevel.checkpoint()  # noqa: ASYNC105  # the caller awaits it

    async def listen(
        self, where: Address, make_sink: Callable[[], Sink | None], group: Group = None
    ) -> TrioListener:
        """Accept connections at `where`."""
        await trio.lowlevel.checkpoint()
        listening = await ListeningSockets.open(where, trio.socket.getaddrinfo)
        return TrioListener(self, listening, where, make_sink, group)

    async def connect(self, where: Address, sink: Sink, group: Group = None) -> None:
        """Connect to `where`, TLS and proxy included."""
        await trio.lowlevel.checkpoint()
        sock = await dial(where, trio.socket.getaddrinfo, _writable, "trio")
        await join(self, where, sink, sock, partial(self._join, group))

    async def _join(self, group: Group, sock: socket.socket, sink: Sink) -> None:
        pipe = TrioPipe(sock, sink, self, group)
        spawn(group, pipe.live)
        with self.shield():  # a turn of the loop
            await pipe.connected.wait()


async def _writable(socks: Sequence[socket.socket], seconds: float) -> None:

    async def wait(sock: socket.socket) -> None:
        await trio.lowlevel.wait_writable(sock)
        nursery.cancel_scope.cancel()

    with trio.move_on_after(seconds or math.inf):
        async with trio.open_nursery() as nursery:
            for sock in socks:
                nursery.start_soon(wait, sock)


@trio.lowlevel.enable_ki_protection
async def _run(coroutine: Coro, scope: trio.CancelScope) -> None:
    with scope:
        await coroutine


_running: trio.lowlevel.RunVar[TrioRuntime] = trio.lowlevel.RunVar("wstransports")


def find() -> TrioRuntime | None:
    """The one Runtime of the trio run whose task runs here."""
    if not trio.lowlevel.in_trio_task():  # the host of a guest run may run here
        return None
    try:
        return _running.get()
    except LookupError:
        runtime = TrioRuntime()
        _running.set(runtime)
        return runtime


register(find, first=True)
