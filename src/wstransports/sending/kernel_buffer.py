"""What the kernel still holds of the bytes that were written to a socket."""

import sys
from array import array
from typing import Any

if sys.platform == "linux":
    from fcntl import ioctl
    from socket import IPPROTO_TCP, TCP_INFO
    from termios import TIOCOUTQ

    # Of a tcp_info.
    _STATE = 0
    _UNACKED = slice(24, 28)

    CLOSE_WAIT = 8  # linux/tcp_states.h

    def unsent(sock: Any) -> int:
        """How many bytes the peer has not taken, of those that the kernel has.

        A Unix socket counts the kernel's own memory in. 0 if the socket is closed, or is none that
        can be asked.
        """
        size = array("i", [0])
        try:
            ioctl(sock.fileno(), TIOCOUTQ, size)
        except (OSError, ValueError):
            return 0
        return size[0]

    def unacknowledged(sock: Any) -> int:
        """How many segments are out that the peer's kernel has not acknowledged.

        Without a loss of connectivity that is soon 0, whether the peer reads or not. 0 if the
        socket is closed, or is none of TCP's.
        """
        try:
            info = sock.getsockopt(IPPROTO_TCP, TCP_INFO, _UNACKED.stop)
        except (OSError, ValueError):
            return 0
        return int.from_bytes(info[_UNACKED], sys.byteorder)

    def has_ended(sock: Any) -> bool:
        """Whether the peer has ended its half of TCP, and we have not ended ours.

        That shows even if what it sent before is unread. False if the socket is closed, or is none
        of TCP's.
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

    def unacknowledged(sock: Any) -> int:
        """The same."""
        return 0

    def has_ended(sock: Any) -> bool:
        """The same: False."""
        return False
