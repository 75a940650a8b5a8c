"""What a server's block yields: a listener with the methods of `asyncio.Server`, on every loop."""

import logging
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from typing import Self

from ..address import Address
from ..log import log
from ..log_limit import LogLimit
from ..runtime import Signal, Sink, T, running


class Listening(ABC):
    """A listener that users hold; adapters' listeners inherit from it.

    Nothing in it waits for connections: the server's block ends them. asyncio's own Server waits
    for them since Python 3.12, so that its `serve_forever` does not end when it is cancelled.
    """

    def __init__(
        self, where: Address, make_sink: Callable[[], Sink | None], closed: Signal
    ) -> None:
        self._where = where
        self._make_sink = make_sink
        self._closed = closed
        self._serving = True
        self._over = False
        self._limit = LogLimit()  # clients cause a line each

    @abstractmethod
    def address(self) -> tuple[str, int]:
        """The address it listens on: host and port, or the path and 0."""

    @abstractmethod
    def _stop(self) -> None:
        """Stop accepting."""

    def _drop_handshakes(self) -> None:  # noqa: B027  # only listeners over sockets have some
        """Drop the TLS handshakes in progress."""

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The sockets that listen; none once it is closed, in memory, and over byte streams."""
        return ()

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return self._serving

    def stop_accepting(self) -> None:
        """Accept no more connections. TLS handshakes in progress go on until `close`."""
        if self._serving:
            self._serving = False
            self._stop()

    def close(self) -> None:
        """Stop accepting. Open connections are left alone; the server's block ends them."""
        self.stop_accepting()
        if not self._over:
            self._over = True
            self._drop_handshakes()
            self._closed.set()

    async def wait_closed(self) -> None:
        """Return when it is closed."""
        await self._closed.wait()

    async def start_serving(self) -> None:
        """Do nothing: it serves from the start. Raises RuntimeError if it is closed."""
        self._check_serving()
        await running().checkpoint()

    async def serve_forever(self, *, signals: bool = False) -> None:
        """Wait until it is closed, or until cancelled, which closes it.

        With `signals`, SIGINT and SIGTERM close it too; a second one interrupts at once. Raises
        RuntimeError if it is closed already, or outside the main thread with `signals`.
        """
        self._check_serving()
        try:
            with running().stop_signals(self.close) if signals else nullcontext():
                await self._closed.wait()
        finally:
            self.close()

    async def __aenter__(self) -> Self:
        await running().checkpoint()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()
        if error[0] is None:
            await self.wait_closed()

    def _begun(self, begin: Callable[[], T]) -> T | None:
        """What `begin` returns; None if it raises, which is logged and ends no other connection."""
        try:
            return begin()
        except Exception as error:  # noqa: BLE001  # logged
            many = self._limit.count(logging.ERROR) is None
            level = logging.INFO if many else logging.ERROR
            log(self._where.logger, level, "cannot begin a connection", error=error)
            return None

    def _check_serving(self) -> None:
        if not self._serving:
            raise RuntimeError(
                "this server is closed: enter the block of its WebSocketServer again"
            )
