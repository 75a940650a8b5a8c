"""The end of the byte stream, once the closing handshake is complete: who closes it, and when."""

from collections.abc import Callable
from contextlib import suppress
from socket import SHUT_WR, SO_SNDBUF, SOL_SOCKET, fromfd

from wscore import ClientConnection, ServerConnection

from ..runtime import TURNS, Pipe, Timer
from ..sending.kernel_buffer import unsent

# Seconds until the first check that all is sent: by then, a client nearby has closed the stream.
# The first pause between further checks is as long, and each next one twice as long.
FIRST_PAUSE = 0.01


def awaits_end(core: ServerConnection | ClientConnection) -> bool:
    """Whether the server is to close the stream, and we are not (RFC 6455 section 7.1.1)."""
    closed = core.closes_exchanged and not core.input_ended
    return closed and isinstance(core, ClientConnection)


def close_stream(
    core: ServerConnection | ClientConnection, pipe: Pipe, now: Callable[[], float]
) -> "Linger | None":
    """End our half of the stream; after both Closes, a server then closes all of it."""
    if core.closes_exchanged and not core.input_ended:
        return Linger(pipe, now)
    pipe.close()
    return None


class Linger:
    """Closes the stream as soon as all is sent and nothing is unread, whatever the peer does.

    The server closes first (RFC 6455 section 7.1.1). The kernel answers with a reset when it closes
    a socket with unread input, and a reset may overtake our Close: so our half ends first, and what
    has arrived is read.
    """

    __slots__ = ("_at_once", "_now", "_pause", "_pipe", "_timer", "_turns")

    def __init__(self, pipe: Pipe, now: Callable[[], float]) -> None:
        self._pipe = pipe
        self._now = now
        self._turns = 0
        self._pause = FIRST_PAUSE
        self._timer: Timer | None = None
        self._at_once: Timer | None = None
        pipe.close()
        if pipe.info("socket") is not None:  # other streams may lose what is on its way
            if pipe.info("ssl_object") is not None:
                self._at_once = pipe.call_at(0.0, self._end_below_tls)
            self._timer = pipe.call_at(now() + FIRST_PAUSE, self)

    def stop(self) -> None:
        """The stream is lost."""
        for timer in (self._timer, self._at_once):
            if timer is not None:
                timer.cancel()

    def __call__(self) -> None:
        """As the timer's callback."""
        self._turns += 1
        when = self._now()
        if self._turns >= TURNS:
            if self._all_sent():
                self._pipe.abort()
                return
            when += self._pause
            self._pause *= 2
        self._timer = self._pipe.call_at(when, self)

    def _end_below_tls(self) -> None:
        """End our half of TCP right after that of TLS, whose end has the client end both.

        Most adapters have done that already; a loop's own TLS may not.
        """
        sock = self._pipe.info("socket")
        with suppress(OSError):  # it is closed, or reset
            if sock is not None and self._all_sent():
                with fromfd(sock.fileno(), sock.family, sock.type) as same:
                    same.shutdown(SHUT_WR)

    def _all_sent(self) -> bool:
        pipe = self._pipe
        if pipe.waiting():
            return False
        if pipe.info("ssl_object") is None:
            return True
        # Below TLS asyncio has another buffer, and does not show it: it is empty by this turn if
        # the kernel's has space.
        sock = pipe.info("socket")
        # Lost below TLS: nothing is sent any more, and the adapter is about to say so.
        if sock is None or sock.fileno() < 0:
            return True
        space: int = sock.getsockopt(SOL_SOCKET, SO_SNDBUF)
        return unsent(sock) < space / 4
