"""Accepting connections on asyncio, whichever loop implements it."""

import asyncio
import socket
from typing import Any

from ..runtime import Sink
from .asyncio_socket import AsyncioSocketPipe
from .socket_listener import RETRY, SocketListener


class AsyncioListener(SocketListener, asyncio.AbstractServer):
    """The contract's Listener. The loop's own server would set the queue of a given socket, and log
    each failure to accept."""

    _runtime: Any  # AsyncioRuntime, which imports this module

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop it runs on."""
        loop: asyncio.AbstractEventLoop = self._runtime.loop
        return loop

    def _watch(self, sock: socket.socket) -> None:
        if self._serving and sock.fileno() >= 0:  # else its owner has closed it
            self._runtime.loop.add_reader(sock, self._accept, sock)

    def _accept(self, sock: socket.socket) -> None:
        loop = self._runtime.loop
        try:
            self._accept_waiting(sock)
        except OSError:
            loop.remove_reader(sock)
            loop.call_later(RETRY, self._watch, sock)

    def _join(self, sink: Sink, accepted: socket.socket, peer: object) -> None:
        AsyncioSocketPipe(self._runtime, sink, accepted, peer).open()

    def _stop(self) -> None:
        for sock in self._listening.sockets:
            if sock.fileno() >= 0:  # else its owner has closed it
                self._runtime.loop.remove_reader(sock)
        super()._stop()
