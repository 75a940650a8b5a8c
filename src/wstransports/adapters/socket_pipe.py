"""A Pipe over a connected socket, but for how its loop watches that."""

import socket
import sys
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from ..runtime import WRITE_LIMIT, LostSink, Sink
from .direct_writes import DirectWrites
from .unsent import Unsent
from .write_half import LOW

# Its attributes are slots of its subclasses: of two classes with slots, none can inherit from both.
_NO_SLOTS: tuple[str, ...] = ()


class SocketPipe(DirectWrites):
    """What all pipes over sockets do. A subclass calls `_own` first.

    It calls `_write_on` when the socket is writable while `_holds`, `_end` when the peer has ended
    its half, `_break` when the stream is broken, and `_lose` after `_drop`.
    """

    __slots__ = _NO_SLOTS

    _ended: bool
    _error: Exception | None
    _limit: int
    _lost: bool
    _peername: Any
    _sink: Sink
    _sock: socket.socket
    _unsent: Unsent | None

    @abstractmethod
    def _watch_writable(self) -> None:
        """Call `_write_on` when the socket is writable, while `_holds`."""

    @abstractmethod
    def _drop(self) -> None:
        """Close the socket, which nothing watches any more, and call `_lose` soon."""

    def _own(self, sock: socket.socket, peername: Any) -> None:
        self._sock = sock
        self._descriptor = None if sys.platform == "win32" else sock.fileno()  # not a file there
        # Log lines need it after the end.
        self._peername = peername or _name(sock.getpeername)
        self._unsent = None
        self._limit = WRITE_LIMIT
        self._ended = False  # the peer's half
        self._lost = False
        self._error = None  # the cause of that

    # As a Pipe.

    def set_write_limit(self, size: int) -> None:
        """Set the high-water mark, in bytes."""
        self._limit = size

    def waiting(self) -> int:
        """How many written bytes the kernel has not taken yet."""
        return self._unsent.size if self._unsent else 0

    def close(self) -> None:
        """Send what is written, then end our half; see the contract."""
        if not self._closing:
            self._closing = True
            self._end_if_sent()

    def abort(self) -> None:
        """Drop the stream at once."""
        self._break(None)

    def info(self, name: str) -> Any:
        """ "peername", "sockname", "socket"."""
        if name == "peername":
            return self._peername
        if name == "sockname":
            return _name(self._sock.getsockname)
        return self._sock if name == "socket" else None

    # For the pipe.

    def _write_rest(self, parts: Sequence[bytes], sent: int) -> None:
        unsent = self._unsent = self._unsent or Unsent()
        for part in parts:
            unsent.append(memoryview(part)[sent:])
            sent = max(0, sent - len(part))
        self.full = self.full or unsent.size > self._limit
        if not self._holds:
            self._holds = True
            self._write_on()  # the peer may have read meanwhile, or nothing was tried yet
            if self._holds:
                self._watch_writable()

    def _write_on(self) -> None:
        """Send what waits, as far as the kernel takes it."""
        unsent = self._unsent
        if unsent is None:  # dropped, in the same turn of the loop
            return
        try:
            unsent.taken(self._sock.send(unsent.first()))
        except BlockingIOError:
            return
        except OSError as error:
            self._break(error)
            return
        if not unsent.size:
            self._holds, self._unsent = False, None
        if self.full and unsent.size <= self._limit // LOW:
            self._make_space()
        if self._closing:
            self._end_if_sent()

    def _end(self) -> None:
        """The peer has ended its half."""
        self._ended = True
        self._sink.eof_received()
        if self._closing:
            self._end_if_sent()

    def _end_if_sent(self) -> None:
        """End our half, which is closed, unless something of it waits."""
        if self._holds or self._lost:
            return
        if self._ended:
            self._break(None)
            return
        # The kernel answers with a reset when it closes a socket with unread input, and a reset
        # may overtake our Close: so only our half ends, until the peer ends its own.
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._break(error)

    def _break(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = self._closing = self.full = True
            self._error = error
            self._holds, self._unsent = False, None
            self._drop()

    def _lose(self) -> None:
        """Report the loss of the stream."""
        self._make_space()
        self._sink.connection_lost(self._error)
        self._error = None  # its traceback refers to this pipe
        self._sink = LostSink(self._sink)


def _name(look_up: Callable[[], Any]) -> Any:
    try:
        return look_up()
    except OSError:  # the socket is closed already
        return None
