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


def take_over(transport: asyncio.Transport, sink: Sink) -> asyncio.BaseProtocol:
    """Connect a sink to the stream of a transport that is connected already.

    What was read before goes to `sink.data_received`. Returns the protocol that the caller sets, or
    calls in the place of the transport. A pipe over the transport's socket, which takes fewer
    instructions, may take its place: then the transport is aborted.
    """
    runtime = cast(AsyncioRuntime, running())
    if _joined(runtime, transport, sink):
        transport.abort()
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
    except OSError:  # none is left, or the peer is
        return False
    ours.setblocking(False)
    try:
        AsyncioSocketPipe(runtime, sink, ours, peer).open()
    except (OSError, RuntimeError):  # the latter: its number is a lost transport's
        ours.close()
        return False
    return True
