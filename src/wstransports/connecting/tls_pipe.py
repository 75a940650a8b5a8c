"""TLS inside of a byte stream that is there already: a Pipe over a Pipe."""

import ssl
from collections.abc import Callable, Coroutine
from contextvars import Context
from errno import ECONNRESET
from typing import Any, cast

from ..identity import Identity
from ..runtime import Pipe, Sink, Timer
from ..tls_end import TlsEnd

Failed = Callable[[OSError], None]


class TlsPipe:
    """The client's end of TLS: the `Sink` of the stream beneath, and the `Pipe` of `sink`.

    `failed` is called at most once, instead of `sink.connected`, if the handshake fails.
    """

    _pipe: Pipe

    def __init__(
        self, sink: Sink, context: ssl.SSLContext, host: str | None, failed: Failed
    ) -> None:
        self._sink = sink
        self._tls = TlsEnd(context, False, host)
        self._failed: Failed | None = failed  # None once the handshake is over
        self._established = False
        self._closed = False  # our half
        self._ended = False  # the server's half
        self._error: Exception | None = None

    # As the Sink of the stream beneath.

    @property
    def identity(self) -> Identity:
        """That of the sink."""
        return self._sink.identity

    def connected(self, pipe: Pipe) -> None:
        """The stream beneath is connected: shake hands."""
        self._pipe = pipe
        self._shake_hands(b"")

    def data_received(self, data: bytes | memoryview) -> None:
        """Encrypted data arrived."""
        if self._established:
            self._take(bytes(data))
        elif self._failed is not None:
            self._shake_hands(bytes(data))

    def eof_received(self) -> None:
        """The server ended the stream beneath."""
        if self._failed is not None:
            self._fail(_left())
        elif not self._ended:
            self._ended = True
            self._sink.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream beneath is lost."""
        if self._failed is not None:
            self._fail(exc if isinstance(exc, OSError) else _left())
        elif self._established:
            self._sink.connection_lost(self._error or exc)

    # As a Pipe.

    @property
    def full(self) -> bool:
        """Whether senders should `await drain()`."""
        return self._pipe.full

    def set_write_limit(self, size: int) -> None:
        """Set the high-water mark, in bytes as they are encrypted."""
        self._pipe.set_write_limit(size)

    def write(self, data: bytes) -> None:
        """Send `data`; ignored once the stream is closed."""
        if not self._closed:
            self._pipe.write(self._tls.encrypt(data))

    def writelines(self, parts: list[bytes]) -> None:
        """Send `parts` in order."""
        self.write(b"".join(parts))

    def waiting(self) -> int:
        """How many encrypted bytes are waiting to be sent."""
        return self._pipe.waiting()

    async def drain(self) -> None:
        """Wait until `full` is False or the connection is lost."""
        await self._pipe.drain()

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`."""
        self._pipe.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._pipe.resume_reading()

    def close(self) -> None:
        """Send what is written, then end our half."""
        if not self._closed:
            self._closed = True
            self._pipe.write(self._tls.farewell())
            self._pipe.close()

    def abort(self) -> None:
        """Drop the stream."""
        self._closed = True
        self._pipe.abort()

    def info(self, name: str) -> Any:
        """As of the stream beneath, but our own "ssl_object"."""
        return self._tls.ssl_object if name == "ssl_object" else self._pipe.info(name)

    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        """Run a coroutine in a task of the stream beneath."""
        self._pipe.start(coroutine, context)

    def cancel(self) -> None:
        """Cancel all tasks that `start` made."""
        self._pipe.cancel()

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        """Call `call` when the loop's clock reaches `when`."""
        return self._pipe.call_at(when, call)

    # Inside.

    def _shake_hands(self, data: bytes) -> None:
        try:
            done = self._tls.handshake(data)
        except ssl.SSLError as error:
            self._pipe.write(self._tls.owed(False))  # an alert
            self._fail(error)
            return
        self._pipe.write(self._tls.owed(False))
        if done:
            self._failed = None
            self._established = True
            self._sink.connected(cast(Pipe, self))  # whose `full` can be set
            self._take(b"")  # what came with the end of the handshake

    def _take(self, data: bytes) -> None:
        try:
            data, ended = self._tls.decrypt(data)
            self._pipe.write(self._tls.owed(self._pipe.waiting() > 0))
        except ssl.SSLError as error:
            self._error = error
            self.abort()
            return
        if data:
            self._sink.data_received(data)
        if ended and not self._ended:
            self._ended = True
            self._sink.eof_received()

    def _fail(self, error: OSError) -> None:
        failed, self._failed = self._failed, None
        self._closed = self._ended = True
        assert failed is not None
        failed(error)


def _left() -> ConnectionResetError:
    return ConnectionResetError(ECONNRESET, "the server left during the TLS handshake")
