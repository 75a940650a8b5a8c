"""On trio, by which of a name's addresses `connect()` gets there; the clock jumps."""

# the whole module is left out first

import errno
import os
import socket
from typing import Any

import pytest

pytest.importorskip("trio", reason="trio is not installed")

import trio

from kit.connecting import failure, talk_with
from kit.loops import Loop, echo, on
from kit.nowhere import Where, closed_address, silent_address
from wstransports import connect
from wstransports.adapters.dialling import HEAD_START

on_trio = on("trio with a clock that jumps")

NAME = "ws://many.example/"

silent = pytest.fixture(silent_address)
closed = pytest.fixture(closed_address)


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
