"""The contract on trio."""

import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from types import TracebackType
from typing import Any

import trio

from ..batch import Batch
from ..options import Address
from ..runtime import Sink, register
from .trio_dial import dial
from .trio_pipe import TrioPipe
from .trio_tasks import Spawn, TrioBatch
from .trio_tls import Tls

logger = logging.getLogger("wstransports")

BACKLOG = 128

# How long to wait where no connection can be accepted, for want of room most of all, in seconds.
RETRY = 0.1


class TrioListener:
    """The contract's Listener; its own `server` too, for trio has no word for one."""

    def __init__(
        self,
        sockets: list[socket.socket],
        where: Address,
        make_sink: Callable[[], Sink],
        make_pipe: Callable[[socket.socket, Sink, Tls | None], TrioPipe],
    ) -> None:
        self.server = self
        self.sockets = sockets
        """The sockets that listen."""
        self._where = where
        self._make_sink = make_sink
        self._make_pipe = make_pipe
        self._scope = trio.CancelScope()

    def address(self) -> tuple[str, int]:
        """Where it listens."""
        name = self.sockets[0].getsockname()
        return (name[0], name[1]) if isinstance(name, tuple) else (str(name), 0)

    async def close(self) -> None:
        """Accept no more."""
        self._scope.cancel()
        for sock in self.sockets:
            trio.lowlevel.notify_closing(sock)
            sock.close()
        await trio.lowlevel.checkpoint()

    @trio.lowlevel.enable_ki_protection
    async def run(self, shielded: bool) -> None:
        """Accept until `close`."""
        with trio.CancelScope(shield=shielded), self._scope:
            async with trio.open_nursery() as nursery:
                for sock in self.sockets:
                    nursery.start_soon(self._accept_on, sock, nursery)

    @trio.lowlevel.enable_ki_protection
    async def _accept_on(self, sock: socket.socket, nursery: trio.Nursery) -> None:
        while sock.fileno() >= 0:
            await trio.lowlevel.wait_readable(sock)
            try:
                for _ in range(BACKLOG):
                    accepted, _ = sock.accept()
                    accepted.setblocking(False)
                    if self._where.tls is None:
                        self._open(accepted, None)
                    else:
                        nursery.start_soon(self._shake_hands, accepted, self._where.tls)
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                continue
            except OSError as error:
                logger.error("cannot accept a connection: %s", error.strerror)
                await trio.sleep(RETRY)

    @trio.lowlevel.enable_ki_protection
    async def _shake_hands(self, sock: socket.socket, context: Any) -> None:
        tls = Tls(context, server_side=True)
        try:
            with trio.fail_after(self._where.handshake_timeout or float("inf")):
                await tls.handshake(sock)
        except (OSError, trio.TooSlowError) as error:
            logger.info("a client shook no TLS hands: %s", error)
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            self._open(sock, tls)

    def _open(self, sock: socket.socket, tls: Tls | None) -> None:
        if sock.family != getattr(socket, "AF_UNIX", None):
            with suppress(OSError):  # some systems refuse it where the peer has left already
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            pipe = self._make_pipe(sock, self._make_sink(), tls)
        except Exception:
            logger.exception("cannot begin a connection")
            sock.close()
        else:
            pipe.open()


class _TimeoutAt:
    """A block that is cancelled, and raises TimeoutError, at a time."""

    def __init__(self, when: float) -> None:
        self._scope = trio.CancelScope(deadline=when)

    async def __aenter__(self) -> None:
        self._scope.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        caught = self._scope.__exit__(kind, error, traceback)
        if self._scope.cancelled_caught:
            raise TimeoutError
        return caught


class TrioRuntime:
    """The contract's Runtime: one for each trio run."""

    checkpoints = True

    def __init__(self) -> None:
        self._batch = TrioBatch()
        self.batch: Batch = self._batch
        # Not trio.current_time, which looks this up: 2 % of the instructions of an echo.
        self.now = trio.lowlevel.current_clock().current_time
        self.current_task = trio.lowlevel.current_task

    def signal(self) -> trio.Event:
        """trio's own Event does."""
        return trio.Event()

    def timeout_at(self, when: float) -> AbstractAsyncContextManager[object]:
        """A block that is cancelled, and raises TimeoutError, when the clock shows `when`."""
        return _TimeoutAt(when)

    def checkpoint(self) -> Awaitable[None]:
        """Let others run once."""
        self._batch.brief = True
        return trio.lowlevel.checkpoint()

    def task_group(self) -> AbstractAsyncContextManager[trio.Nursery]:
        """A nursery."""
        return trio.open_nursery()

    def shield(self) -> AbstractContextManager[object]:
        """A scope that no cancellation from outside reaches."""
        return trio.CancelScope(shield=True)

    async def listen(
        self, where: Address, make_sink: Callable[[], Sink], group: trio.Nursery | None = None
    ) -> TrioListener:
        """Accept connections at `where`."""
        try:
            sockets = await _listening_sockets(where)
        except OSError as error:
            raise where.cannot_listen(error) from error

        def make_pipe(sock: socket.socket, sink: Sink, tls: Tls | None) -> TrioPipe:
            return self._pipe(sock, sink, tls, group)

        listener = TrioListener(sockets, where, make_sink, make_pipe)
        _spawn_in(group)(listener.run, group is not None)
        return listener

    async def connect(self, where: Address, sink: Sink, group: trio.Nursery | None = None) -> None:
        """Connect to `where`, TLS and proxy included."""
        sock = await dial(where)
        tls = None
        try:
            sock.setblocking(False)
            if where.tls is not None:
                tls = Tls(where.tls, False, where.server_hostname)
                await tls.handshake(sock)
        except BaseException:
            sock.close()
            raise
        self._pipe(sock, sink, tls, group).open()

    def _pipe(
        self, sock: socket.socket, sink: Sink, tls: Tls | None, group: trio.Nursery | None
    ) -> TrioPipe:
        return TrioPipe(sock, sink, self._batch, _spawn_in(group), group is not None, tls)


def _spawn_in(group: trio.Nursery | None) -> Spawn:
    return trio.lowlevel.spawn_system_task if group is None else group.start_soon


async def _listening_sockets(where: Address) -> list[socket.socket]:
    """Raises OSError, and leaves nothing open then."""
    if where.sock is not None:
        where.sock.setblocking(False)
        where.sock.listen(BACKLOG)
        return [where.sock]
    if where.unix_path is not None:
        path = os.fspath(where.unix_path)
        _remove_stale(path)
        return [_listening(socket.AF_UNIX, 0, path)]
    infos = await trio.socket.getaddrinfo(
        where.host or None, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, _, proto, _, address in infos:
            sockets.append(_listening(family, proto, address, where.reuse_port))
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listening(family: int, proto: int, address: Any, reuse_port: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM, proto)
    try:
        sock.setblocking(False)
        if os.name == "posix":  # elsewhere it means another thing
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:  # IPv4 has a socket of its own
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Whoever listened there before has left its socket: as asyncio does, take its place."""
    if path.startswith("\0"):  # an abstract address goes with its socket
        return
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.remove(path)
    except FileNotFoundError:
        return


_running: trio.lowlevel.RunVar[TrioRuntime] = trio.lowlevel.RunVar("wstransports")


def find() -> TrioRuntime | None:
    """The one Runtime of the trio run whose task runs here."""
    if not trio.lowlevel.in_trio_task():  # a guest's host may run here
        return None
    try:
        return _running.get()
    except LookupError:
        runtime = TrioRuntime()
        _running.set(runtime)
        return runtime


register(find, first=True)
