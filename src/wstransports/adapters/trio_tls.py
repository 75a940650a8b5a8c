"""TLS over a socket that trio waits for: bytes in, bytes out; only the handshake waits."""

import errno
import socket
import ssl
from contextlib import ExitStack, suppress

import trio

READ_SIZE = 65536


class Tls:
    """One end of a TLS stream. `handshake` first; then `encrypt` and `decrypt` never wait."""

    def __init__(self, context: ssl.SSLContext, server_side: bool, host: str | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(self._incoming, self._outgoing, server_side, host)

    async def handshake(self, sock: socket.socket) -> None:
        """Raises OSError, of which ssl.SSLError is one, and closes `sock` where it does not end."""
        with ExitStack() as on_failure:
            on_failure.callback(sock.close)
            done = False
            while not done:
                try:
                    self.ssl_object.do_handshake()
                    done = True
                except ssl.SSLWantReadError:
                    pass
                finally:  # an alert, too
                    await _send_all(sock, self._outgoing.read())
                if not done:
                    self._incoming.write(await _receive(sock))
            on_failure.pop_all()

    def encrypt(self, data: bytes) -> bytes:
        """What to send for `data`."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.ssl_object.write(rest) :]
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> tuple[bytes, bool]:
        """What the peer's `data` holds, and whether it has ended its half. Raises ssl.SSLError."""
        self._incoming.write(data)
        pieces: list[bytes] = []
        ended = True
        try:
            while piece := self.ssl_object.read(READ_SIZE):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            ended = False
        except ssl.SSLZeroReturnError:
            pass
        return b"".join(pieces), ended

    def owed(self) -> bytes:
        """What TLS itself has to send: a renewed key, an alert."""
        return self._outgoing.read()

    def farewell(self) -> bytes:
        """What ends our half."""
        with suppress(ssl.SSLError):  # the peer has not ended its half, and may never do that
            self.ssl_object.unwrap()
        return self._outgoing.read()


async def _send_all(sock: socket.socket, data: bytes) -> None:
    while data:
        await trio.lowlevel.wait_writable(sock)
        data = data[sock.send(data) :]


async def _receive(sock: socket.socket) -> bytes:
    await trio.lowlevel.wait_readable(sock)
    try:
        data = sock.recv(READ_SIZE)
    except BlockingIOError:
        return b""
    if not data:
        raise ConnectionResetError(errno.ECONNRESET, "the server left during the TLS handshake")
    return data
