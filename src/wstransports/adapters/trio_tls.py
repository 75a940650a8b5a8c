"""TLS over a socket that trio waits for: only the handshake waits."""

import errno
import socket
from contextlib import ExitStack

import trio

from ..tls_end import READ_SIZE, TlsEnd


class Tls(TlsEnd):
    """One end of a TLS stream; `shake_hands` comes first."""

    async def shake_hands(self, sock: socket.socket) -> None:
        """Raises OSError, of which ssl.SSLError is one, and closes `sock` where it does not end."""
        with ExitStack() as on_failure:
            on_failure.callback(sock.close)
            data, done = b"", False
            while not done:
                try:
                    done = self.handshake(data)
                finally:  # an alert, too
                    await _send_all(sock, self.owed(False))
                if not done:
                    data = await _receive(sock)
            on_failure.pop_all()


async def _send_all(sock: socket.socket, data: bytes) -> None:
    # It waits only if it must: the time may be up, though all that matters has arrived.
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)


async def _receive(sock: socket.socket) -> bytes:
    await trio.lowlevel.wait_readable(sock)
    try:
        data = sock.recv(READ_SIZE)
    except BlockingIOError:
        return b""
    if not data:
        raise ConnectionResetError(errno.ECONNRESET, "the server left during the TLS handshake")
    return data
