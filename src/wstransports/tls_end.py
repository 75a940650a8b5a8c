"""One end of a TLS stream, without the stream: bytes in, bytes out."""

import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

READ_SIZE = 65536

# The most bytes that OpenSSL's buffers are given at once: they never shrink.
CHUNK = 65536

# The most that a record holds, in bytes (RFC 8446 section 5.1).
RECORD = 16384

# What the streams of a thread decrypt into: the longest read of an adapter, and a record, in bytes.
LARGEST = 1088 * 1024
BUFFER_SIZE = LARGEST + RECORD

# The most that TLS itself may send to a peer that takes nothing, in bytes: 2,400 answers to its
# updates of keys (RFC 8446 section 4.6.3).
MAX_OWED = 65536


class _Memory(threading.local):
    """What the thread that runs decrypts into: a loop may be run by one thread, then by another."""

    def __init__(self) -> None:
        self.buffer: memoryview = memoryview(bytearray(BUFFER_SIZE))


_memory = _Memory()


class TlsEnd:
    """One end of a TLS stream; it begins with the handshake. Nothing here waits."""

    def __init__(self, context: ssl.SSLContext, server_side: bool, host: str | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self.outgoing: ssl.MemoryBIO = ssl.MemoryBIO()
        """What TLS itself has to send, to be taken by `owed`."""
        self.ssl_object: ssl.SSLObject = context.wrap_bio(
            self._incoming, self.outgoing, server_side, host
        )
        # Looked up once: each message needs them.
        self._read: Callable[[int, memoryview], Any] = self.ssl_object.read
        self._write = self.ssl_object.write
        self._ended = False  # the peer's half
        self.owing: int = 0
        """How many bytes TLS itself has sent since the peer took all."""

    def handshake(self, data: bytes | memoryview) -> bool:
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
        if len(data) > CHUNK:
            return b"".join(self.encrypt_parts([data]))
        if data:
            self._write(data)
        return self.outgoing.read()

    def encrypt_parts(self, parts: Iterable[bytes]) -> list[bytes]:
        """What to send for `parts`, in parts."""
        encrypted = []
        for part in parts:
            for chunk in _chunks(part):
                self._write(chunk)
                encrypted.append(self.outgoing.read())
        return encrypted

    def decrypt(self, data: bytes | memoryview) -> tuple[bytes | memoryview, bool]:
        """What the peer's `data` holds, and whether it has ended its half. `owed` may have answers.

        Raises ssl.SSLError. A memoryview's memory is reused by the next call in this thread, for
        any stream.
        """
        if self._ended:  # what follows is ignored (RFC 8446 section 6.1): it could fill the memory
            return b"", True
        incoming, read, buffer = self._incoming, self._read, _memory.buffer
        before = b""  # what the buffer has no space for
        size = 0
        for chunk in (data,) if len(data) <= CHUNK else _chunks(data):
            incoming.write(chunk)
            try:
                # Each read takes a whole record. To read until nothing is left would raise.
                while incoming.pending:
                    count = read(RECORD, buffer[size:] if size else buffer)
                    if not count:
                        self._ended = True
                        break
                    size += count
                    if size > LARGEST:
                        before += bytes(buffer[:size])
                        size = 0
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                self._ended = True
            if self.outgoing.pending > MAX_OWED:  # nobody needs so many new keys in one read
                raise too_much_owed()
            if self._ended:
                incoming.read()
                break
        decrypted = buffer[:size]
        return b"".join((before, decrypted)) if before else decrypted, self._ended

    def owed(self, waiting: bool) -> bytes:
        """What TLS itself has to send: a renewed key, an alert; `waiting` if output waits already.

        Raises ssl.SSLError for a peer that asks for more and more of it, and takes none.
        """
        owed = self.outgoing.read()
        self.owing = self.owing + len(owed) if waiting else 0
        if self.owing > MAX_OWED:
            raise too_much_owed()
        return owed

    def farewell(self) -> bytes:
        """What ends our half."""
        with suppress(ssl.SSLError):  # the peer has not ended its half, and may never do that
            self.ssl_object.unwrap()
        return self.outgoing.read()


def _chunks(data: bytes | memoryview) -> Iterator[memoryview]:
    view = memoryview(data)
    for start in range(0, len(view), CHUNK):
        yield view[start : start + CHUNK]


def too_much_owed() -> ssl.SSLError:
    """The error for a peer that renews its keys and takes no answer."""
    return ssl.SSLError(ssl.SSL_ERROR_SSL, "the peer renews keys and reads nothing")
