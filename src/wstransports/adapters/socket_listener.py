"""Accepting connections on sockets, on any loop."""

import logging
import socket
import sys
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from ..address import Address, bound_to
from ..listening_sockets import ListeningSockets
from ..log import log
from ..runtime import Runtime, Sink, Task
from .dialling import send_at_once
from .listening import Listening
from .tls_handshake import TlsHandshake

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
    """A listener over sockets.

    An adapter calls `_accept_waiting` when one of them is readable, or keeps a task that accepts in
    `_acceptors` for each.
    """

    def __init__(
        self,
        runtime: Runtime,
        listening: ListeningSockets,
        where: Address,
        make_sink: Callable[[], Sink | None],
        group: Any = None,
    ) -> None:
        super().__init__(where, make_sink, runtime.signal())
        self._runtime = runtime
        self._listening = listening
        self._inherited = _INHERITED and all(map(_sends_at_once, listening.sockets))
        self._address = bound_to(listening.sockets[0])
        self._group = group
        self._handshakes: set[TlsHandshake] = set()  # in progress
        self._quiet_until = 0.0
        self._acceptors: list[Task] = []
        for sock in listening.sockets:
            self._watch(sock)

    @abstractmethod
    def _watch(self, sock: socket.socket) -> None:
        """Accept connections at a socket from now on."""

    @abstractmethod
    def _join(self, sink: Sink, accepted: socket.socket, peer: object) -> None:
        """Connect a sink to a stream over an accepted socket."""

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The sockets that listen; none once it is closed."""
        return self._listening.sockets if self._serving else ()

    def address(self) -> tuple[str, int]:
        """Where it listens, or did."""
        return self._address

    # A function of its own, so that what waits for the next connection does not keep the last one.
    def _accept_waiting(self, sock: socket.socket) -> None:
        """Begin the connections that wait.

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
            self._begin(accepted, peer)

    def _begin(self, accepted: socket.socket, peer: object) -> None:
        sink = self._begun(self._make_sink)
        if sink is None:
            accepted.close()
            return
        accepted.setblocking(False)
        if not self._inherited:
            send_at_once(accepted)
        if self._where.tls is not None:
            handshake = TlsHandshake(self._runtime, sink, self._where.tls, server_side=True)
            self._handshakes.add(handshake)
            self._runtime.spawn(self._shake_hands(handshake, sink, peer), self._group)
            sink = handshake.pipe
        try:
            self._join(sink, accepted, peer)
        except (OSError, RuntimeError) as error:  # RuntimeError: a lost transport has its number
            self._not_joined(sink, accepted, error)

    def _not_joined(self, sink: Sink, accepted: socket.socket, error: Exception) -> None:
        accepted.close()
        sink.connection_lost(error)

    async def _shake_hands(self, handshake: TlsHandshake, sink: Sink, peer: object) -> None:
        try:
            await handshake.wait(self._where.handshake_timeout)
        except OSError as error:
            not_connected(sink, peer, error)
        except BaseException:
            if not handshake.pipe.established:  # else the stream reports its end
                not_connected(sink, peer, ConnectionAbortedError("the event loop ended"))
            raise
        finally:
            self._handshakes.discard(handshake)

    def _drop_handshakes(self) -> None:
        for handshake in self._handshakes:
            if not handshake.pipe.established:
                handshake.end(stopped())

    def _log(self, error: OSError) -> None:
        now = self._runtime.now()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET
            log(self._where.logger, logging.ERROR, "cannot accept a connection: %s", error.strerror)

    def _stop(self) -> None:
        for acceptor in self._acceptors:
            acceptor.cancel()
        self._listening.close()


def _sends_at_once(sock: socket.socket) -> bool:
    """Whether a socket, and what it accepts, does not wait for more to send."""
    try:
        return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    except OSError:  # a Unix socket
        return True


def stopped() -> ConnectionAbortedError:
    """The error of what the end of the listener drops."""
    return ConnectionAbortedError("the server stopped listening")


def not_connected(sink: Sink, peer: object, error: Exception) -> None:
    """Log and report that an accepted connection ended in its TLS handshake."""
    if isinstance(peer, tuple):
        sink.identity.peer = peer[:2]
    cause = str(error) or "the client left"
    sink.identity.log(logging.INFO, f"the TLS handshake failed: {cause}")
    sink.connection_lost(error)
