"""Accepting connections on asyncio, whichever loop implements it."""

import asyncio
import math
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from ..address import Address
from ..listening_sockets import ListeningSockets
from ..runtime import Sink
from .socket_listener import RETRY, SocketListener, not_connected, stopped


class AsyncioListener(SocketListener, asyncio.AbstractServer):
    """The contract's Listener.

    It accepts by itself: the loop's own server would set the queue of a given socket, and log each
    failure to accept.
    """

    def __init__(
        self,
        runtime: Any,
        listening: ListeningSockets,
        where: Address,
        make_sink: Callable[[], Sink | None],
    ) -> None:
        super().__init__(runtime, listening, where, make_sink)
        self._loop: asyncio.AbstractEventLoop = runtime.loop
        if is_patched(self._loop):
            self._tls = None
        self._connect = _connect_accepted(self._loop, where)
        self._make_transport = _transport_maker(self._loop, where)
        self._make_pipe: Callable[[Sink], Any] = runtime._pipe
        self._opening: dict[asyncio.Task[Any], Any] = {}  # their pipes
        self._acceptors: list[asyncio.Task[None]] = []  # where the loop watches no sockets
        for sock in listening.sockets:
            self._watch(sock)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop it runs on."""
        return self._loop

    def _watch(self, sock: socket.socket) -> None:
        if not self._serving:
            return
        try:
            self._loop.add_reader(sock, self._accept, sock)
        except NotImplementedError:  # Windows' own loop
            self._acceptors.append(self._loop.create_task(self._accept_each(sock)))

    def _accept(self, sock: socket.socket) -> None:
        try:
            self._accept_waiting(sock)
        except OSError:
            self._loop.remove_reader(sock)
            self._loop.call_later(RETRY, self._watch, sock)

    async def _accept_each(self, sock: socket.socket) -> None:
        while True:
            try:
                self._begin(*await self._loop.sock_accept(sock))
            except OSError as error:
                self._log(error)
                await asyncio.sleep(RETRY)

    def _join(self, sink: Sink, accepted: socket.socket, peer: object) -> None:
        pipe = self._make_pipe(sink)
        if self._make_transport is not None:
            try:
                self._make_transport(accepted, pipe, peer)
            except OSError as error:  # some systems refuse an option once the peer has left
                accepted.close()
                sink.connection_lost(error)
            return
        opening = self._loop.create_task(self._connect(lambda: pipe, accepted))
        self._opening[opening] = pipe
        opening.add_done_callback(partial(self._opened, sink, peer))

    def _opened(self, sink: Sink, peer: object, task: asyncio.Task[Any]) -> None:
        if self._opening.pop(task).connected:
            return
        error = stopped() if task.cancelled() else task.exception()
        error = error if isinstance(error, Exception) else ConnectionResetError()
        if self._where.tls is not self._tls:
            not_connected(sink, peer, error)
        else:
            sink.connection_lost(error)

    def _stop(self) -> None:
        for sock in self._listening.sockets:
            if sock.fileno() >= 0 and not self._acceptors:  # else its owner has closed it
                self._loop.remove_reader(sock)
        for acceptor in self._acceptors:
            acceptor.cancel()
        super()._stop()

    def _drop_handshakes(self) -> None:
        super()._drop_handshakes()
        for task, pipe in self._opening.items():
            if not pipe.connected:
                # Soon, when it has begun: only then it closes its socket.
                self._loop.call_soon(task.cancel)


MakeTransport = Callable[[socket.socket, asyncio.BaseProtocol, object], object]
"""Makes the transport of an accepted socket, for a protocol, with the peer's address."""


def _transport_maker(loop: asyncio.AbstractEventLoop, where: Address) -> MakeTransport | None:
    """What the servers of asyncio and aiofastnet call: without a task for each connection, a
    handshake takes 0.93 of the instructions."""
    if not isinstance(loop, asyncio.SelectorEventLoop):
        return None
    if is_patched(loop):
        fast = sys.modules.get("aiofastnet.selector_transport")
        kind = getattr(fast, "SelectorSocketTransport", None)
        if kind is None or where.tls is not None:  # its own TLS
            return None
        return lambda accepted, pipe, peer: kind(loop, accepted, pipe)
    make = getattr(loop, "_make_socket_transport", None)
    return make and (lambda accepted, pipe, peer: make(accepted, pipe, extra={"peername": peer}))


def _connect_accepted(loop: asyncio.AbstractEventLoop, where: Address) -> Callable[..., Any]:
    """aiofastnet's patch_loop() replaces the methods that open connections, but this one."""
    if is_patched(loop):
        connect = sys.modules["aiofastnet"].connect_accepted_socket
        return partial(connect, loop, **loop_tls(where))
    return loop.connect_accepted_socket


def is_patched(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether aiofastnet's patch_loop() replaced its methods."""
    fast = sys.modules.get("aiofastnet")
    return fast is not None and getattr(loop.create_server, "func", None) is fast.create_server


def loop_tls(where: Address) -> dict[str, Any]:
    """What a loop is given that does TLS itself: aiofastnet's is compiled."""
    if where.tls is None:
        return {}
    return {"ssl": where.tls, "ssl_handshake_timeout": where.handshake_timeout or math.inf}
