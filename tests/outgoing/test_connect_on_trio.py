"""On trio, by which of a name's addresses `connect()` gets there; the clock jumps."""

# the whole module is left out first

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

pytest.importorskip("trio", reason="trio is not installed")

import trio

from kit.connecting import failure, talk_with
from kit.loops import Loop, echo, on
from wstransports import connect

on_trio = on("trio with a clock that jumps")

# How long trio waits for one address before it tries the next as well, in seconds (RFC 8305).
HEAD_START = 0.25

NAME = "ws://many.example/"

Where = tuple[str, int]


class Names(trio.abc.HostnameResolver):
    """Finds the same addresses for every name."""

    def __init__(self, *found: Where) -> None:
        self._found = found

    async def getaddrinfo(self, *arguments: Any, **more: Any) -> Any:
        """As the system's."""
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", where) for where in self._found]

    async def getnameinfo(self, *arguments: Any) -> Any:
        """Nobody asks for it."""
        raise NotImplementedError


def resolving(*found: Where) -> None:
    """Have every name lead to these, until this run of trio ends."""
    trio.socket.set_custom_hostname_resolver(Names(*found))


@pytest.fixture
def silent() -> Iterator[Where]:
    """Where nobody answers: as many wait to be accepted as may."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()


@pytest.fixture
def closed() -> Iterator[Where]:
    """Where nobody listens, and nobody will."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


@on_trio
async def test_an_address_that_never_answers_holds_up_no_other(loop: Loop, silent: Where) -> None:
    async with loop.serving(echo) as server:
        resolving(silent, silent, ("127.0.0.1", server.port))
        begun = trio.current_time()
        async with connect(NAME, proxy=None) as client:
            assert trio.current_time() - begun == pytest.approx(2 * HEAD_START)
            assert client.port == server.port
            await talk_with(client)


@on_trio
async def test_after_an_address_that_refuses_the_next_is_tried_at_once(
    loop: Loop, closed: Where
) -> None:
    async with loop.serving(echo) as server:
        resolving(closed, closed, ("127.0.0.1", server.port))
        begun = trio.current_time()
        async with connect(NAME, proxy=None) as client:
            assert trio.current_time() == begun
            assert client.port == server.port
            await talk_with(client)


@on_trio
async def test_an_address_that_refuses_does_not_end_the_wait_for_another(
    loop: Loop, closed: Where, silent: Where
) -> None:
    resolving(silent, closed)
    begun = trio.current_time()
    error = await failure(connect(NAME, proxy=None, open_timeout=3))
    assert isinstance(error, TimeoutError)
    assert str(error) == f"opening {NAME} took longer than 3 s"
    assert trio.current_time() - begun == pytest.approx(3)


@on_trio
async def test_where_no_address_answers_all_causes_are_named(loop: Loop, closed: Where) -> None:
    resolving(("224.0.0.1", 1), closed, closed)  # TCP leads to no group
    error = await failure(connect(NAME, proxy=None))
    assert isinstance(error, OSError)
    assert error.errno == errno.ENETUNREACH
    causes = f"{os.strerror(errno.ENETUNREACH)}, {os.strerror(errno.ECONNREFUSED)}"
    assert str(error).endswith(f"cannot connect to {NAME}: {causes}")
