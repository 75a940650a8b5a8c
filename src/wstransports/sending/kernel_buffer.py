"""What the kernel still holds of the bytes that were written to a socket."""

import sys
from array import array
from typing import Any

if sys.platform == "linux":
    from fcntl import ioctl
    from socket import IPPROTO_TCP, TCP_INFO
    from termios import TIOCOUTQ

    _UNACKED = slice(24, 28)  # of a tcp_info

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

else:  # pragma: no cover - the tests run on Linux

    def unsent(sock: Any) -> int:
        """Elsewhere nobody can be asked: 0."""
        return 0

    def unacknowledged(sock: Any) -> int:
        """The same."""
        return 0
