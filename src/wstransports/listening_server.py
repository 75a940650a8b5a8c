"""What a server's block yields, as users see it: `ListeningServer`."""

import socket
from typing import Protocol, Self

from .runtime import Listener


class ListeningServer(Listener, Protocol):
    """What `async with server` and `with server` yield: the methods of asyncio's Server.

    None of them waits for connections: the server's block ends those (RFC 6455 section 7.1.1).
    Your own adapters may yield a `Listener` with fewer methods.
    """

    def stop_accepting(self) -> None:
        """Accept no more connections. TLS handshakes in progress go on until `close`."""

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The sockets that listen; none once it is closed, in memory, and over byte streams."""

    async def wait_closed(self) -> None:
        """Return when it is closed."""

    async def start_serving(self) -> None:
        """Do nothing: it serves from the start. Raises RuntimeError if it is closed."""

    async def serve_forever(self, *, signals: bool = False) -> None:
        """Wait until it is closed, or until cancelled, which closes it.

        With `signals`, SIGINT and SIGTERM close it too; a second one interrupts at once. Raises
        RuntimeError if it is closed already, or outside the main thread with `signals`.
        """

    async def __aenter__(self) -> Self:
        """A block whose end closes it."""

    async def __aexit__(self, *error: object) -> None:
        """Close it, and wait for that."""
