"""Accepting connections on asyncio, whichever loop implements it."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from ..address import Address
from ..listening_sockets import ListeningSockets
from ..runtime import Sink
from .asyncio_socket import AsyncioSocketPipe
from .socket_listener import RETRY, SocketListener


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
        self._asyncio = runtime
        self._loop: asyncio.AbstractEventLoop = runtime.loop
        self._acceptors: list[asyncio.Task[None]] = []  # where the loop watches no sockets
        for sock in listening.sockets:
            self._watch(sock)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop it runs on."""
        return self._loop

    def _watch(self, sock: socket.socket) -> None:
        if not self._serving or sock.fileno() < 0:  # its owner has closed it
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
        if self._acceptors:
            self._runtime.spawn(self._join_soon(sink, accepted))
            return
        try:
            AsyncioSocketPipe(self._asyncio, sink, accepted, peer).open()
        except (OSError, RuntimeError) as error:  # the latter: its number is a lost transport's
            self._not_joined(sink, accepted, error)

    async def _join_soon(self, sink: Sink, accepted: socket.socket) -> None:
        try:
            await self._asyncio.join(accepted, sink)
        except OSError as error:
            self._not_joined(sink, accepted, error)

    def _not_joined(self, sink: Sink, accepted: socket.socket, error: Exception) -> None:
        accepted.close()
        sink.connection_lost(error)

    def _stop(self) -> None:
        for sock in self._listening.sockets:
            if sock.fileno() >= 0 and not self._acceptors:  # else its owner has closed it
                self._loop.remove_reader(sock)
        for acceptor in self._acceptors:
            acceptor.cancel()
        super()._stop()
