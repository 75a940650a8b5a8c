"""The contract on trio."""

import logging
import math
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import trio

from ..address import Address, bound_to
from ..batch import Batch
from ..runtime import Sink, register
from .proxy import through_proxy
from .trio_pipe import Group, TrioPipe, spawn
from .trio_tls import Tls

logger = logging.getLogger("wstransports")

BACKLOG = 128
# Seconds to wait after a failure to accept: most often no file descriptor is left.
RETRY = 0.1


class TrioListener:
    """The contract's Listener, which is its own `server`: trio has no class for one."""

    def __init__(
        self,
        sockets: list[socket.socket],
        where: Address,
        open_pipe: Callable[[socket.socket, Tls | None], None],
        shielded: bool,
    ) -> None:
        self.server = self
        self.sockets = sockets
        """The sockets that listen."""
        self._where = where
        self._open_pipe = open_pipe
        self._scope = trio.CancelScope(shield=shielded)

    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return bound_to(self.sockets[0])

    async def close(self) -> None:
        """Accept no more."""
        self._scope.cancel()
        for sock in self.sockets:
            sock.close()
        await trio.lowlevel.checkpoint()

    @trio.lowlevel.enable_ki_protection
    async def _run(self) -> None:
        """Accept until `close`."""
        with self._scope:
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
                    with suppress(OSError):  # a Unix socket; some systems, if the peer has left
                        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    if self._where.tls is None:
                        self._open_pipe(accepted, None)
                    else:
                        nursery.start_soon(self._shake_hands, accepted, self._where.tls)
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError as error:
                logger.error("cannot accept a connection: %s", error.strerror)
                await trio.sleep(RETRY)

    @trio.lowlevel.enable_ki_protection
    async def _shake_hands(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        tls = Tls(context, server_side=True)
        try:
            with trio.fail_after(self._where.handshake_timeout or math.inf):
                await tls.handshake(sock)
        except (OSError, trio.TooSlowError) as error:
            logger.info("a client did not complete the TLS handshake: %s", error)
        else:
            self._open_pipe(sock, tls)


class TrioRuntime:
    """The contract's Runtime: one for each trio run."""

    checkpoints = True

    def __init__(self) -> None:
        self.batch = Batch()
        self.at_checkpoint = False
        # Not trio.current_time, which looks this up: 2 % of the instructions of an echo.
        self.now = trio.lowlevel.current_clock().current_time
        self.current_task = trio.lowlevel.current_task
        self.signal = trio.Event
        self.task_group = trio.open_nursery
        self.shield = partial(trio.CancelScope, shield=True)

    @asynccontextmanager
    async def timeout_at(self, when: float) -> AsyncIterator[None]:
        """A block that is cancelled, and raises TimeoutError, when the clock shows `when`."""
        with trio.move_on_at(when) as scope:
            yield
        if scope.cancelled_caught:
            raise TimeoutError

    def checkpoint(self) -> Awaitable[None]:
        """Let others run once."""
        self.at_checkpoint = True
        return trio.lowlevel.checkpoint()  # noqa: ASYNC105  # the caller awaits it

    async def listen(
        self, where: Address, make_sink: Callable[[], Sink], group: Group = None
    ) -> TrioListener:
        """Accept connections at `where`."""
        try:
            sockets = await _listening_sockets(where)
        except OSError as error:
            raise where.cannot_listen(error) from error

        def open_pipe(sock: socket.socket, tls: Tls | None) -> None:
            try:
                spawn(group, TrioPipe(sock, make_sink(), self, group, tls).live)
            except Exception:
                logger.exception("cannot begin a connection")
                sock.close()

        listener = TrioListener(sockets, where, open_pipe, group is not None)
        spawn(group, listener._run)
        return listener

    async def connect(self, where: Address, sink: Sink, group: Group = None) -> None:
        """Connect to `where`, TLS and proxy included."""
        sock = await _dial(where)
        sock.setblocking(False)
        tls = None
        if where.tls is not None:
            tls = Tls(where.tls, False, where.server_hostname)
            await tls.handshake(sock)
        pipe = TrioPipe(sock, sink, self, group, tls)
        spawn(group, pipe.live)
        with self.shield():  # a turn of the loop
            await pipe.connected.wait()


async def _listening_sockets(where: Address) -> list[socket.socket]:
    """Raises OSError, and leaves nothing open then."""
    sockets: list[socket.socket] = []
    with ExitStack() as opened:
        if where.sock is not None:
            sockets.append(where.sock)
        elif where.unix_path is not None:
            sockets.append(opened.enter_context(socket.socket(socket.AF_UNIX)))
            path = Path(where.unix_path)
            if path.is_socket():  # noqa: ASYNC240  # left by a server that ended, as on asyncio
                path.unlink(missing_ok=True)  # noqa: ASYNC240  # no slower than bind()
            sockets[0].bind(os.fspath(where.unix_path))
        else:
            # Not trio.open_tcp_listeners(), which cannot share a port.
            for family, _, _, _, address in await trio.socket.getaddrinfo(
                where.host or None, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                sock = socket.create_server(address, family=family, reuse_port=where.reuse_port)
                sockets.append(opened.enter_context(sock))
        for sock in sockets:
            sock.setblocking(False)
            sock.listen(BACKLOG)
        opened.pop_all()
    return sockets


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
        return await _through_proxy(where.proxy, where.host, where.port)
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


async def _through_proxy(url: str, host: str, port: int) -> socket.socket:
    with through_proxy():
        from python_socks.async_.trio import Proxy

        # The caller bounds the time.
        sock = await Proxy.from_url(url, rdns=True).connect(host, port, timeout=math.inf)
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
