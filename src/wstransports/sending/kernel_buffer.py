"""What the kernel still holds of the bytes that were written to a socket."""

import sys
from array import array
from typing import Any

if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ

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

else:  # pragma: no cover - the tests run on Linux

    def unsent(sock: Any) -> int:
        """Elsewhere nobody can be asked: 0."""
        return 0
