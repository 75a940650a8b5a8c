"""Sockets that are connected, and what a test leaves open of them."""

import gc
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager

Pair = tuple[socket.socket, socket.socket]


def over_tcp() -> Pair:
    """Two sockets that are connected."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        return listening.accept()[0], theirs


def reset(sock: socket.socket) -> None:
    """Close a socket such that its peer sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def open_sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    for number in os.listdir("/dev/fd"):
        try:
            found += stat.S_ISSOCK(os.fstat(int(number)).st_mode)
        except OSError:  # the descriptor of the listing itself
            continue
    return found


@contextmanager
def leftovers_reported() -> Iterator[None]:
    """Have a transport that a test leaves unclosed warn while this test runs.

    Only what the block creates is examined: to examine all of pytest's objects would take as long
    as the tests.
    """
    gc.freeze()
    try:
        yield
        gc.collect()
    finally:
        gc.unfreeze()
