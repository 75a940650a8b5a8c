"""The contract on trio."""

import math
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import trio

from ..address import Address
from ..batch import Batch
from ..listening_sockets import ListeningSockets
from ..runtime import Sink, register
from .dialling import dial
from .far_timers import FarTimers
from .signal_waiter import SignalWaiter
from .socket_listener import RETRY, SocketListener, not_connected
from .stop_signals import StopSignals
from .time_limit import TimeLimit
from .trio_pipe import Coro, Group, TrioPipe, call_at, spawn
from .trio_tls import Tls


class TrioListener(SocketListener):
    """The contract's Listener."""

    def __init__(
        self,
        listening: ListeningSockets,
        where: Address,
        make_sink: Callable[[], Sink | None],
        runtime: "TrioRuntime",
        group: Group,
    ) -> None:
        super().__init__(listening, where, make_sink, trio.Event(), runtime.now)
        self._runtime = runtime
        self._group = group
        self._scope = trio.CancelScope(shield=group is not None)
        self._accepting = trio.CancelScope()

    def _stop(self) -> None:
        self._accepting.cancel()
        super()._stop()

    def _drop_handshakes(self) -> None:
        self._scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _run(self) -> None:
        """Accept until `stop_accepting`; TLS handshakes go on until `close`."""
        with self._scope:
            async with trio.open_nursery() as handshakes:
                with self._accepting:
                    async with trio.open_nursery() as nursery:
                        for sock in self.sockets:
                            nursery.start_soon(self._accept_on, sock, handshakes)

    @trio.lowlevel.enable_ki_protection
    async def _accept_on(self, sock: socket.socket, handshakes: trio.Nursery) -> None:
        while sock.fileno() >= 0:
            await trio.lowlevel.wait_readable(sock)
            try:
                self._begin_waiting(sock, handshakes)
            except OSError:
                await trio.sleep(RETRY)

    # A function of its own, so that the loop above does not keep the last connection alive.
    def _begin_waiting(self, sock: socket.socket, handshakes: trio.Nursery) -> None:
        for sink, accepted, peer in self._accept_waiting(sock):
            if self._where.tls is None:
                self._begin(sink, accepted, None)
            else:
                tls = Tls(self._where.tls, server_side=True)
                handshakes.start_soon(self._shake_hands, sink, accepted, peer, tls)

    @trio.lowlevel.enable_ki_protection
    async def _shake_hands(self, sink: Sink, sock: socket.socket, peer: object, tls: Tls) -> None:
        failure: Exception | None = None
        done = False
        try:
            with trio.move_on_after(self._where.handshake_timeout or math.inf) as limit:
                await tls.shake_hands(sock)
                done = True
            if limit.cancelled_caught:
                failure = TimeoutError("the client did not complete it in time")
        except OSError as error:
            failure = error
        finally:
            if not done:  # or it was cancelled
                not_connected(sink, peer, failure)
            del failure  # its traceback refers to this frame
        if done:
            self._begin(sink, sock, tls)

    def _begin(self, sink: Sink, sock: socket.socket, tls: Tls | None) -> None:
        spawn(self._group, TrioPipe(sock, sink, self._runtime, self._group, tls).live)


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
        listener = TrioListener(listening, where, make_sink, self, group)
        spawn(group, listener._run)
        return listener

    async def connect(self, where: Address, sink: Sink, group: Group = None) -> None:
        """Connect to `where`, TLS and proxy included."""
        await trio.lowlevel.checkpoint()
        sock = await dial(where, TrioDialler())
        tls = None
        if where.tls is not None:
            tls = Tls(where.tls, False, where.server_hostname)
            await tls.shake_hands(sock)
        pipe = TrioPipe(sock, sink, self, group, tls)
        spawn(group, pipe.live)
        with self.shield():  # a turn of the loop
            await pipe.connected.wait()


@trio.lowlevel.enable_ki_protection
async def _run(coroutine: Coro, scope: trio.CancelScope) -> None:
    with scope:
        await coroutine


class TrioDialler:
    """A Dialler."""

    look_up = staticmethod(trio.socket.getaddrinfo)

    async def writable(self, socks: Sequence[socket.socket], seconds: float) -> list[socket.socket]:
        """As `Dialler.writable`."""
        ready: list[socket.socket] = []

        async def wait(sock: socket.socket) -> None:
            await trio.lowlevel.wait_writable(sock)
            ready.append(sock)
            nursery.cancel_scope.cancel()

        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for sock in socks:
                    nursery.start_soon(wait, sock)
        return ready

    def proxies(self) -> Any:
        """As `Dialler.proxies`."""
        from python_socks.async_.trio import Proxy

        return Proxy


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
