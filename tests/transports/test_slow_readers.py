"""Peers that take their output slowly but steadily, which shows in the kernel's buffer alone."""

import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from test_writer import only_client

from kit.log import Log
from kit.loops import SOCKETS, Loop, on
from kit.peer import Peer
from wstransports import Client, ConnectionClosed
from wstransports.runtime import running, wait_for
from wstransports.sending.kernel_buffer import unsent

# The `timeout` of the servers, and how much a peer takes at a time, and how often.
TIMEOUT = 0.5
PIECE = 16_000
PAUSE = 0.02


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        a = socket.create_connection(listener.getsockname())
        return a, listener.accept()[0]


@pytest.fixture(params=[tcp_pair, socket.socketpair], ids=["TCP", "Unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    make: Callable[[], tuple[socket.socket, socket.socket]] = request.param
    a, b = make()
    with a, b:
        yield a, b


# The kernel's buffer.


def test_what_the_peer_has_not_read_is_unsent(pair: tuple[socket.socket, socket.socket]) -> None:
    a, b = pair
    assert unsent(a) == 0
    a.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            a.send(bytes(65536))
    before = unsent(a)
    assert before > 0
    b.setblocking(False)
    while unsent(a) == before:
        with suppress(BlockingIOError):
            b.recv(65536)
    assert unsent(a) < before


def test_a_socket_that_cannot_be_asked() -> None:
    sock = socket.socket()
    assert unsent(sock) == 0  # not connected
    sock.close()
    assert unsent(sock) == 0


# On each loop.


class Taker:
    """Takes what comes to a peer, without its event loop."""

    def __init__(self, peer: Peer) -> None:
        peer.stop_reading()
        wire: Any = peer.wire
        found = wire._pipe.info if hasattr(wire, "_pipe") else wire._transport.get_extra_info
        self._socket = socket.socket(fileno=os.dup(found("socket").fileno()))
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)

    def take(self) -> None:
        """Take a piece."""
        with suppress(BlockingIOError):
            self._socket.recv(PIECE)

    def close(self) -> None:
        """Close this descriptor of the socket."""
        self._socket.close()


@asynccontextmanager
async def sending(
    loop: Loop, server_options: dict[str, Any], how: dict[str, Any]
) -> AsyncIterator[tuple[Peer, Taker, list[float]]]:
    """A peer to which more is sent than buffers hold, and when that failed."""
    failed: list[float] = []

    async def send(client: Client) -> None:
        try:
            while True:
                await client.writer.send(bytes(100_000))
        except ConnectionClosed as closed:
            assert "no output was read" in closed.reason
            failed.append(running().now())

    async with loop.serving(timeout=TIMEOUT, **server_options) as server:
        peer = await loop.connect(server, **how)
        client = await only_client(loop, server)
        taker = Taker(peer)
        loop.spawn(send(client))
        await loop.until(lambda: client._session.pipe.full)
        try:
            yield peer, taker, failed
        finally:
            taker.close()
            peer.reset()


@pytest.mark.parametrize(
    "over",
    [
        "TCP",
        pytest.param("TLS", marks=pytest.mark.slow),
        pytest.param("Unix", marks=pytest.mark.slow),
    ],
)
@on(*SOCKETS, slow={"trio"})  # it is the kernel that is asked
async def test_a_slow_reader_stays(
    loop: Loop,
    log: Log,
    over: str,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    tmp_path: Path,
) -> None:
    for_server, for_client = contexts
    path = str(tmp_path / "socket")
    ways: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "TCP": ({}, {}),
        "TLS": ({"certs": for_server}, {"tls": for_client}),
        "Unix": ({"unix_path": path}, {"unix_path": path}),
    }
    options, how = ways[over]
    async with sending(loop, options, how) as (peer, taker, failed):
        runtime = running()
        end = runtime.now() + 3 * TIMEOUT
        while runtime.now() < end and not failed:
            taker.take()
            peer.pong()
            await wait_for(runtime, runtime.signal(), PAUSE)
        assert not failed
        since = runtime.now()
        # It takes nothing any more, but talks on.
        await loop.until(lambda: peer.pong() or failed)  # type: ignore[func-returns-value]
        [line] = log.lines()
        assert "no output was read" in line
        assert failed[0] - since > TIMEOUT / 4  # TCP announces its space in steps
