"""TLS over a socket that trio waits for: only the handshake waits."""

import errno
import socket
import ssl
from contextlib import ExitStack

import trio

from .tls_end import READ_SIZE, TlsEnd


class Tls(TlsEnd):
    """One end of a TLS stream; `handshake` comes first."""

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
