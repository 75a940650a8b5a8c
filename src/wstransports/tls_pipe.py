"""TLS inside of a byte stream that is there already: a Pipe over a Pipe."""

import ssl
from collections.abc import Callable, Coroutine
from contextvars import Context
from errno import ECONNRESET
from typing import Any, cast

from .identity import Identity
from .runtime import LostSink, Pipe, Sink, Timer
from .tls_end import CHUNK, TlsEnd

Over = Callable[[OSError | None], None]


class TlsPipe:
    """One end of TLS: the `Sink` of the stream beneath, and the `Pipe` of `sink`.

    `over` is called once: with None after `sink.connected`, or, if the handshake fails, with the
    error, and then the sink is not called at all.
    """

    __slots__ = (
        *("_closed", "_ended", "_error", "_over", "_pipe", "_server_side", "_sink", "_tls"),
        "established",
    )

    _pipe: Pipe

    def __init__(
        self,
        sink: Sink,
        context: ssl.SSLContext,
        host: str | None,
        over: Over,
        server_side: bool = False,
    ) -> None:
        self._sink = sink
        self._tls = TlsEnd(context, server_side, host)
        self._server_side = server_side
        self._over: Over | None = over  # None once the handshake is over
        self.established: bool = False
        """The handshake is complete."""
        self._closed = False  # our half
        self._ended = False  # the peer's half
        self._error: Exception | None = None

    # As the Sink of the stream beneath.

    @property
    def identity(self) -> Identity:
        """That of the sink."""
        return self._sink.identity

    def connected(self, pipe: Pipe) -> None:
        """The stream beneath is connected: shake hands."""
        self._pipe = pipe
        if self._closed:
            pipe.abort()
        else:
            self._shake_hands(b"")

    def data_received(self, data: bytes | memoryview) -> None:
        """Encrypted data arrived."""
        tls = self._tls
        if not self.established:
            if self._over is not None:
                self._shake_hands(data)
            return
        if self._ended:
            return
        try:
            data, ended = tls.decrypt(data)
            if tls.outgoing.pending or tls.owing:
                self._pipe.write(tls.owed(self._pipe.waiting() > 0))
        except ssl.SSLError as error:
            self._pipe.write(tls.owed(False))  # an alert
            self._break(error)
            return
        if data:
            self._sink.data_received(data)
        if ended and not self._ended:
            self._ended = True
            self._sink.eof_received()

    def eof_received(self) -> None:
        """The peer ended the stream beneath."""
        if self._over is not None:
            self._fail(self._left())
        elif not self._ended:
            self._ended = True
            self._sink.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream beneath is lost."""
        if self._over is not None:
            self._fail(exc if isinstance(exc, OSError) else self._left())
        elif self.established:
            self._sink.connection_lost(self._error or exc)
            self._error = None  # its traceback refers to this pipe
        self._sink = LostSink(self._sink)

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
            try:
                encrypted = self._tls.encrypt(data)
            except ssl.SSLError as error:
                self._break(error)
            else:
                self._pipe.write(encrypted)

    def writelines(self, parts: list[bytes]) -> None:
        """Send `parts` in order."""
        if not self._closed:
            try:
                encrypted = self._tls.encrypt_parts(parts)
            except ssl.SSLError as error:
                self._break(error)
            else:
                self._pipe.writelines(encrypted)

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
        """Drop the stream; the sink gets no more of it."""
        self._closed = self._ended = True
        if hasattr(self, "_pipe"):  # else it is aborted when it is connected
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

    def _shake_hands(self, data: bytes | memoryview) -> None:
        try:
            done = self._tls.handshake(data[:CHUNK])
        except ssl.SSLError as error:
            self._pipe.write(self._tls.owed(False))  # an alert
            self._fail(error)
            return
        self._pipe.write(self._tls.owed(False))
        if done:
            over, self._over = self._over, None
            assert over is not None
            self.established = True
            self._sink.connected(cast(Pipe, self))  # whose `full` can be set
            over(None)
            self.data_received(b"")  # what came with the end of the handshake
        if len(data) > CHUNK:
            self.data_received(data[CHUNK:])

    def _break(self, error: ssl.SSLError) -> None:
        """Drop the stream because of `error`. Nothing can be written while a peer of TLS 1.2 that
        asked for another handshake does not go on with it."""
        self._error = error
        self.abort()

    def _fail(self, error: OSError) -> None:
        over, self._over = self._over, None
        self._closed = self._ended = True
        assert over is not None
        over(error)

    def _left(self) -> ConnectionResetError:
        who = "client" if self._server_side else "server"
        return ConnectionResetError(ECONNRESET, f"the {who} left during the TLS handshake")
