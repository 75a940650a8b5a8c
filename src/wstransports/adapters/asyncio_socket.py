"""The socket of one of asyncio's transports, where it may be written to without the transport."""

import asyncio
import sys
from typing import Any

# Transports that send bytes as they are, and close their socket only after connection_lost(): while
# they hold no bytes, their socket may be written to without them.
_PLAIN = {
    ("asyncio.selector_events", "_SelectorSocketTransport"),
    ("aiofastnet.selector_transport", "SelectorSocketTransport"),
    ("uvloop.loop", "TCPTransport"),
    ("uvloop.loop", "UnixTransport"),
}


def writable(transport: asyncio.BaseTransport) -> Any:
    """The descriptor of a transport's socket, or the socket itself; None for other transports."""
    kind = type(transport)
    if (kind.__module__, kind.__name__) not in _PLAIN or sys.platform == "win32":
        return None  # on Windows, sockets are not files
    sock = transport.get_extra_info("socket")
    # uvloop closes its sockets with the loop. Then another may have the number.
    return sock if kind.__module__ == "uvloop.loop" else sock.fileno()
