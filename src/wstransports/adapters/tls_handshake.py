"""TLS over streams that an adapter connects: what waits for its handshake."""

import socket
import ssl
from collections.abc import Awaitable, Callable

from ..address import Address
from ..runtime import Runtime, Sink, wait_for
from ..tls_pipe import TlsPipe


class TlsHandshake:
    """The handshake of `pipe`, the sink of a stream, which speaks TLS there for `sink`."""

    def __init__(
        self,
        runtime: Runtime,
        sink: Sink,
        context: ssl.SSLContext,
        host: str | None = None,
        server_side: bool = False,
    ) -> None:
        self._runtime = runtime
        self._over = runtime.signal()
        self._error: OSError | None = TimeoutError("it was not completed in time")
        self.pipe: TlsPipe = TlsPipe(sink, context, host, self.end, server_side)

    async def wait(self, seconds: float) -> None:
        """Wait until it is complete, at most `seconds` (0: no limit).

        Raises OSError, and drops the stream, if it fails.
        """
        try:
            await wait_for(self._runtime, self._over, seconds)
            error, self._error = self._error, None
            if error is not None:
                try:
                    raise error
                finally:  # its traceback refers to this frame
                    del error
        except BaseException:
            self.pipe.abort()
            raise

    def end(self, error: OSError | None) -> None:
        """It is complete, or has failed."""
        self._error = error
        self._over.set()


async def join(
    runtime: Runtime,
    where: Address,
    sink: Sink,
    sock: socket.socket,
    join_plain: Callable[[socket.socket, Sink], Awaitable[object]],
) -> None:
    """Have `join_plain` connect a socket to `sink`, through TLS if `where` demands it.

    Raises OSError if the handshake fails. Whatever fails, the socket is closed.
    """
    try:
        handshake = where.tls and TlsHandshake(runtime, sink, where.tls, where.server_hostname)
        await join_plain(sock, handshake.pipe if handshake else sink)
    except BaseException:
        sock.close()
        raise
    if handshake:
        await handshake.wait(where.handshake_timeout)
