"""Accepting connections on sockets, on any loop."""

import logging
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from ..address import Address, bound_to
from ..listening_sockets import ListeningSockets
from ..log import log
from ..runtime import Signal, Sink
from .listening import Listening

# The most connections accepted at once: what is refused or closed must be gone before more come,
# or descriptors would pile up.
AT_ONCE = 8

# Seconds to wait after a failure to accept: most often no file descriptor is left.
RETRY = 0.1

# Seconds between two log lines about that.
QUIET = 1.0

# Whether an accepted socket has the options of the one that listens: a system call less for each.
_INHERITED = sys.platform == "linux"


class SocketListener(Listening):
    """A listener over sockets: an adapter calls `_accept_waiting` when one of them is readable."""

    def __init__(
        self,
        listening: ListeningSockets,
        where: Address,
        make_sink: Callable[[], Sink | None],
        closed: Signal,
        now: Callable[[], float],
    ) -> None:
        super().__init__(where, make_sink, closed)
        self._listening = listening
        for sock in listening.sockets:
            _send_at_once(sock)
        self._address = bound_to(listening.sockets[0])
        self._now = now
        self._quiet_until = 0.0

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The sockets that listen; none once it is closed."""
        return self._listening.sockets if self._serving else ()

    def address(self) -> tuple[str, int]:
        """Where it listens, or did."""
        return self._address

    def _accept_waiting(self, sock: socket.socket) -> Iterator[tuple[Sink, socket.socket, object]]:
        """Accept what waits: sinks with their sockets and their peers' addresses.

        Raises OSError, and logs it, if the caller must wait for RETRY seconds.
        """
        for _ in range(AT_ONCE):
            try:
                accepted, peer = sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._log(error)
                raise
            sink = self._admit(accepted)
            if sink is not None:
                yield sink, accepted, peer

    def _admit(self, accepted: socket.socket) -> Sink | None:
        """The sink of an accepted socket; None if that is closed."""
        sink = self._begun(self._make_sink)
        if sink is None:
            accepted.close()
            return None
        accepted.setblocking(False)
        if not _INHERITED:
            _send_at_once(accepted)
        return sink

    def _log(self, error: OSError) -> None:
        now = self._now()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET
            log(self._where.logger, logging.ERROR, "cannot accept a connection: %s", error.strerror)

    def _stop(self) -> None:
        self._listening.close()


def _send_at_once(sock: socket.socket) -> None:
    """Have a socket, or those that it accepts, not wait for more to send."""
    with suppress(OSError):  # a Unix socket; some systems, if the peer has left
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def not_connected(sink: Sink, peer: object, error: BaseException | None) -> None:
    """Log and report that an accepted connection ended in its TLS handshake: by `error`, or because
    the listener was closed."""
    if isinstance(peer, tuple):
        sink.identity.peer = peer[:2]
    cause = "the server stopped listening" if error is None else str(error) or "the client left"
    sink.identity.log(logging.INFO, f"the TLS handshake failed: {cause}")
    sink.connection_lost(error if isinstance(error, Exception) else None)
