"""The contract on trio."""

import math
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import trio

from ..address import Address
from ..batch import Batch
from ..listening_sockets import ListeningSockets
from ..runtime import Sink, register
from .proxy import through_proxy
from .socket_listener import RETRY, SocketListener, not_connected
from .stop_signals import StopSignals
from .time_limit import time_limit
from .trio_pipe import Coro, Group, TrioPipe, spawn
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
            with trio.fail_after(self._where.handshake_timeout or math.inf):
                await tls.shake_hands(sock)
            done = True
        except OSError as error:
            failure = error
        except trio.TooSlowError:
            failure = TimeoutError("the client did not complete it in time")
        finally:
            if not done:  # or it was cancelled
                not_connected(sink, peer, failure)
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
        self.signal = trio.Event
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
        return time_limit(trio.move_on_at(when))

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
        sock = await _dial(where)
        sock.setblocking(False)
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


async def _dial(where: Address) -> socket.socket:
    """A connected socket. Raises OSError, and leaves nothing open then."""
    if where.sock is not None:
        return where.sock
    if where.unix_path is not None:
        # trio.open_unix_socket() does not take abstract addresses.
        with trio.socket.socket(socket.AF_UNIX) as sock:
            await sock.connect(os.fspath(where.unix_path))
            return _taken_from(sock)
    assert where.host is not None
    if where.proxy is not None:
        return await _through_proxy(where.proxy, where.host, where.port, where.local_addr)
    if where.local_addr is not None:
        return await _dial_from(where.local_addr, where.host, where.port)
    try:
        return _taken_from((await trio.open_tcp_stream(where.host, where.port)).socket)
    except OSError as error:
        if not isinstance(error.__cause__, ExceptionGroup):  # the name is unknown
            raise
        # trio's own message names neither number nor cause.
        numbers = [one.errno or 0 for one in error.__cause__.exceptions if isinstance(one, OSError)]
        causes = dict.fromkeys(map(os.strerror, numbers))
        raise OSError(numbers[0], ", ".join(causes)) from error


def _taken_from(sock: trio.socket.SocketType) -> socket.socket:
    return socket.socket(fileno=sock.detach())


async def _dial_from(local: tuple[str, int], host: str, port: int) -> socket.socket:
    """As trio.open_tcp_stream(), which cannot choose the local port; one address after another."""
    failures: list[OSError] = []
    for family, kind, proto, _, address in await trio.socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        with trio.socket.socket(family, kind, proto) as sock:
            try:
                await sock.bind(local)
                await sock.connect(address)
                return _taken_from(sock)
            except OSError as error:
                failures.append(error)
    raise failures[0]


async def _through_proxy(
    url: str, host: str, port: int, local: tuple[str, int] | None
) -> socket.socket:
    with through_proxy():
        from python_socks.async_.trio import Proxy

        # The caller bounds the time.
        proxy = Proxy.from_url(url, rdns=True)
        sock = await proxy.connect(host, port, timeout=math.inf, local_addr=local)
        return _taken_from(sock)


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
