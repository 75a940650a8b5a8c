"""Taking the place of the program that a transport served until now, as uvicorn: `take_over`."""

import asyncio
import socket
from typing import cast

from ..runtime import Sink, running
from .asyncio import AsyncioRuntime
from .asyncio_socket import AsyncioSocketPipe
from .transport_pipe import TransportPipe

# The protocol of a transport that is not needed any more.
_NOTHING = asyncio.BaseProtocol()

# Transports that send bytes as they are, and no more than they were given.
_PLAIN = {
    ("asyncio.selector_events", "_SelectorSocketTransport"),
    ("aiofastnet.selector_transport", "SelectorSocketTransport"),
    ("uvloop.loop", "TCPTransport"),
    ("uvloop.loop", "UnixTransport"),
}


def take_over(
    transport: asyncio.Transport, sink: Sink, is_alone: bool = True
) -> asyncio.BaseProtocol:
    """Connect a sink to the stream of a transport that is connected already.

    Returns the protocol for the transport: the caller sets it, or calls its methods in the place of
    the transport. What was read before goes to `sink.data_received`. If possible the sink is
    connected to a pipe over the transport's socket, which takes fewer instructions; the transport
    is aborted then. `is_alone` says that nobody else will write to it.
    """
    runtime = cast(AsyncioRuntime, running())
    if is_alone and _joined(runtime, transport, sink):
        transport.abort()
        runtime.loop.call_soon(transport.close)  # again: asyncio's own breaks its cycle then
        return _NOTHING
    pipe = TransportPipe(runtime, sink)
    pipe.connection_made(transport)
    return pipe


def _joined(runtime: AsyncioRuntime, transport: asyncio.Transport, sink: Sink) -> bool:
    """Connect the sink to a stream over the transport's socket; returns False if that cannot be."""
    kind = type(transport)
    if (kind.__module__, kind.__name__) not in _PLAIN or transport.get_write_buffer_size():
        return False
    theirs, peer = map(transport.get_extra_info, ("socket", "peername"))
    try:
        # Another descriptor: the transport closes its own.
        ours = socket.fromfd(theirs.fileno(), theirs.family, theirs.type, theirs.proto)
    except OSError:  # no descriptor is left, or the transport has lost its own
        return False
    ours.setblocking(False)
    try:
        AsyncioSocketPipe(runtime, sink, ours, peer).open()
    except (OSError, RuntimeError):  # RuntimeError: a lost transport still has its number
        ours.close()
        return False
    return True
