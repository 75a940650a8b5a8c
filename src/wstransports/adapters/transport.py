"""The contract over asyncio's transports: its loop on Windows, the Proactor, watches no sockets."""

import asyncio
import select
import socket
from collections.abc import Sequence
from functools import partial

from ..runtime import Sink, register
from .asyncio import AsyncioRuntime, find
from .dialling import HEAD_START
from .socket_listener import RETRY, SocketListener
from .transport_pipe import TransportPipe


class TransportListener(SocketListener, asyncio.AbstractServer):
    """The contract's Listener."""

    _runtime: "TransportRuntime"

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop it runs on."""
        return self._runtime.loop

    def _watch(self, sock: socket.socket) -> None:
        self._acceptors.append(self._runtime.spawn(self._accept_each(sock)))

    async def _accept_each(self, sock: socket.socket) -> None:
        while True:
            try:
                self._begin(*await self._runtime.loop.sock_accept(sock))
            except OSError as error:
                self._log(error)
                await asyncio.sleep(RETRY)

    def _join(self, sink: Sink, accepted: socket.socket, peer: object) -> None:
        self._runtime.spawn(self._join_soon(sink, accepted))

    async def _join_soon(self, sink: Sink, accepted: socket.socket) -> None:
        try:
            await self._runtime.join(accepted, sink)
        except OSError as error:
            self._not_joined(sink, accepted, error)


class TransportRuntime(AsyncioRuntime):
    """The contract's Runtime: streams are transports."""

    _listener = TransportListener

    async def join(self, sock: socket.socket, sink: Sink) -> None:
        """As AsyncioRuntime."""
        await self.loop.create_connection(partial(TransportPipe, self, sink), sock=sock)

    async def _writable(self, socks: Sequence[socket.socket], seconds: float) -> None:
        seconds = min(seconds or HEAD_START, HEAD_START)
        await asyncio.to_thread(select.select, (), socks, socks, seconds)


def _find() -> AsyncioRuntime | None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    add_reader = getattr(type(loop), "add_reader", None)
    return find(TransportRuntime) if add_reader is asyncio.AbstractEventLoop.add_reader else None


register(_find, first=True)  # or AsyncioRuntime's own would find those loops, too
