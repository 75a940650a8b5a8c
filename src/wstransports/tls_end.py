"""One end of a TLS stream, without the stream: bytes in, bytes out."""

import ssl
from contextlib import suppress

READ_SIZE = 65536

# The most that TLS itself may send to a peer that takes nothing, in bytes: 2,400 answers to its
# updates of keys (RFC 8446 section 4.6.3).
MAX_OWED = 65536


class TlsEnd:
    """One end of a TLS stream; it begins with the handshake. Nothing here waits."""

    def __init__(self, context: ssl.SSLContext, server_side: bool, host: str | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl_object: ssl.SSLObject = context.wrap_bio(
            self._incoming, self._outgoing, server_side, host
        )
        self._owed = 0  # bytes that TLS itself has sent since the peer took all

    def handshake(self, data: bytes) -> bool:
        """Take the peer's part of the handshake; returns whether it is complete.

        `owed` has ours, also after a failure. Raises ssl.SSLError.
        """
        self._incoming.write(data)
        try:
            self.ssl_object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

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

    def owed(self, waiting: bool) -> bytes:
        """What TLS itself has to send: a renewed key, an alert; `waiting` if output waits already.

        Raises ssl.SSLError for a peer that asks for more and more of it, and takes none.
        """
        owed = self._outgoing.read()
        self._owed = self._owed + len(owed) if waiting else 0
        if self._owed > MAX_OWED:
            raise too_much_owed()
        return owed

    def farewell(self) -> bytes:
        """What ends our half."""
        with suppress(ssl.SSLError):  # the peer has not ended its half, and may never do that
            self.ssl_object.unwrap()
        return self._outgoing.read()


def too_much_owed() -> ssl.SSLError:
    """The error for a peer that renews its keys and takes no answer."""
    return ssl.SSLError(ssl.SSL_ERROR_SSL, "the peer renews keys and reads nothing")
