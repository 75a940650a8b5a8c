"""Addresses at which nobody serves: make a fixture of one."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

Where = tuple[str, int]


def silent_address() -> Iterator[Where]:
    """Where nobody answers: as many wait to be accepted as may."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()


def closed_address() -> Iterator[Where]:
    """Where nobody listens, and nobody will."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()
