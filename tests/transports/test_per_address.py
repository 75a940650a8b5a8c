"""`max_connections_per_address`: what counts as one address, and what others get."""

import socket

import pytest

from kit.log import Log
from kit.loops import SOCKETS, Loop, MemoryLoop, echo, on, on_memory, on_sockets
from wstransports import WebSocketServer
from wstransports.admission import ADDRESS_FULL
from wstransports.network import network


@on_sockets
async def test_more_connections_of_one_address_are_refused(loop: Loop, log: Log) -> None:
    async with loop.serving(echo, max_connections_per_address=2) as server:
        first, second = [await loop.connect(server) for _ in range(2)]
        for _ in range(10):
            third = await loop.dial(server)
            answer = await third.answer()
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert answer.body == b"too many connections from one address\n"
            await third.eof()
        assert set(log.lines()) == {f"refused with 503: {ADDRESS_FULL}"}
        with socket.socket() as elsewhere:
            elsewhere.setblocking(False)
            elsewhere.bind(("127.0.0.2", 0))
            elsewhere.connect_ex(("127.0.0.1", server.port))
            await loop.until(lambda: len(server._acceptor._sessions._per_network) == 2)
        first.close()
        await first.closed()
        await loop.until(lambda: len(server._acceptor._sessions) == 1)
        peer = await loop.connect(server)
        peer.send("room again")
        assert await peer.message() == "room again"
        second.reset()
        peer.reset()
        await loop.until(lambda: not server._acceptor._sessions)
        assert not server._acceptor._sessions._per_network  # nothing is kept
        assert not server._acceptor._sessions._networks


@on(*SOCKETS, slow={"trio"})
async def test_those_refused_take_no_place_and_leave_soon(loop: Loop, log: Log) -> None:
    options = {"max_connections_per_address": 1, "max_connections": 2, "close_timeout": 1000}
    async with loop.serving(echo, **options) as server:
        await loop.connect(server)
        refused = [await loop.dial(server) for _ in range(3)]
        for peer in refused:
            peer.answers_eof = False  # it stays
            assert (await peer.answer()).body == f"{ADDRESS_FULL}\n".encode()
        await loop.until(lambda: len(server._acceptor._sessions) == 1)  # a second later
        assert len(log.lines()) == 3


@on_memory
async def test_clients_without_an_address_do_not_count(loop: MemoryLoop) -> None:
    async with loop.serving(echo, max_connections_per_address=1) as server:
        for _ in range(3):
            peer = await loop.connect(server)
            peer.send("in")
            assert await peer.message() == "in"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("::1", "127.0.0.1", False),
    ],
)
def test_an_ipv6_network_is_one_client(one: str, other: str, same: bool) -> None:
    assert (network(one) == network(other)) is same


@pytest.mark.parametrize("most", [0, -1, 1.5, "3"])
def test_it_is_checked(most: int) -> None:
    with pytest.raises(ValueError, match="max_connections_per_address must be an int of at least"):
        WebSocketServer("127.0.0.1", 0, max_connections_per_address=most)
