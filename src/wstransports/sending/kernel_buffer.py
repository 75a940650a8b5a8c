"""What the kernel still holds of the bytes that were written to a socket."""

import sys
from array import array
from typing import Any

if sys.platform == "linux":
    from fcntl import ioctl
    from socket import AF_UNIX, IPPROTO_TCP, TCP_INFO
    from termios import TIOCOUTQ

    # Of a tcp_info.
    _STATE = 0
    _UNACKED = slice(24, 28)

    CLOSE_WAIT = 8  # linux/tcp_states.h
    SIOCOUTQNSD = 0x894B  # linux/sockios.h

    def unsent(sock: Any) -> int:
        """How many bytes the peer has not taken, of those that the kernel has.

        Of a Unix socket, the kernel's own memory counts too. 0 if the socket is closed, or cannot
        be asked.
        """
        return _queued(sock, TIOCOUTQ)

    def not_sent(sock: Any) -> int:
        """How many of those bytes the kernel has not even sent: most often the peer has no space.

        What a hanging peer's kernel takes at once never counts. For a Unix socket as `unsent`.
        """
        return _queued(sock, SIOCOUTQNSD) or (unsent(sock) if sock.family == AF_UNIX else 0)

    def _queued(sock: Any, which: int) -> int:
        size = array("i", [0])
        try:
            ioctl(sock.fileno(), which, size)
        except (OSError, ValueError):
            return 0
        return size[0]

    def unacknowledged(sock: Any) -> int:
        """How many segments are out that the peer's kernel has not acknowledged.

        Without a loss of connectivity that is soon 0, whether the peer reads or not. 0 if the
        socket is closed, or does not use TCP.
        """
        try:
            info = sock.getsockopt(IPPROTO_TCP, TCP_INFO, _UNACKED.stop)
        except (OSError, ValueError):
            return 0
        return int.from_bytes(info[_UNACKED], sys.byteorder)

    def has_ended(sock: Any) -> bool:
        """Whether the peer has ended its half of TCP, and we have not ended ours.

        That shows even if what it sent before is unread. False if the socket is closed, or does
        not use TCP.
        """
        try:
            info: bytes = sock.getsockopt(IPPROTO_TCP, TCP_INFO, _STATE + 1)
        except (OSError, ValueError):
            return False
        return info[_STATE] == CLOSE_WAIT

else:  # pragma: no cover - the tests run on Linux

    def unsent(sock: Any) -> int:
        """Elsewhere nobody can be asked: 0."""
        return 0

    def not_sent(sock: Any) -> int:
        """The same."""
        return 0

    def unacknowledged(sock: Any) -> int:
        """The same."""
        return 0

    def has_ended(sock: Any) -> bool:
        """The same: False."""
        return False
