"""What connecting needs of asyncio, whichever loop implements it."""

import asyncio
import select
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ..address import LookUp
from .dialling import HEAD_START


class AsyncioDialler:
    """A Dialler."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.look_up: LookUp = loop.getaddrinfo

    async def writable(self, socks: Sequence[socket.socket], seconds: float) -> set[socket.socket]:
        """As `Dialler.writable`."""
        ready: set[socket.socket] = set()
        some = asyncio.Event()

        def note(sock: socket.socket) -> None:
            ready.add(sock)
            some.set()

        try:
            for sock in socks:
                self._loop.add_writer(sock, note, sock)
        except NotImplementedError:  # Windows' own loop
            seconds = min(seconds, HEAD_START)
            _, done, failed = await asyncio.to_thread(select.select, (), socks, socks, seconds)
            return {*done, *failed}
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await some.wait()
        finally:
            for sock in socks:
                self._loop.remove_writer(sock)
        return ready

    def proxies(self) -> Any:
        """As `Dialler.proxies`."""
        from python_socks.async_.asyncio import Proxy

        return Proxy
