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
from wstransports.runtime import running
from wstransports.sending.kernel_buffer import not_sent, unsent
from wstransports.sending.outbox import Outbox

# The `timeout` of the servers, in seconds, and how many bytes a peer takes between two looks.
TIMEOUT = 0.5
SHARE = 200_000


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
    assert before >= not_sent(a) > 0
    b.setblocking(False)
    while unsent(a) == before:
        with suppress(BlockingIOError):
            b.recv(65536)
    assert unsent(a) < before


def test_what_the_peers_kernel_takes_is_sent() -> None:
    """Whether the peer reads it or not: one that hangs would seem to live."""
    a, b = tcp_pair()
    with a, b:
        a.sendall(b"x" * 1000)
        assert not_sent(a) == 0


@pytest.mark.parametrize("ask", [unsent, not_sent])
def test_a_socket_that_cannot_be_asked(ask: Callable[[Any], int]) -> None:
    sock = socket.socket()
    assert ask(sock) == 0  # not connected
    sock.close()
    assert ask(sock) == 0


# On each loop.


class Taker:
    """Takes what comes to a peer each time the server looks, without its event loop.

    So a machine that holds up the loop holds up both.
    """

    def __init__(self, peer: Peer, talks: bool) -> None:
        peer.stop_reading()
        wire: Any = peer.wire
        found = wire._pipe.info if hasattr(wire, "_pipe") else wire._transport.get_extra_info
        self._socket = socket.socket(fileno=os.dup(found("socket").fileno()))
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self._peer = peer
        self._talks = talks
        self.takes = True
        self.looks: list[float] = []
        """When the server looked how much was taken."""

    @property
    def seconds(self) -> float:
        """From the first look to the last."""
        return self.looks[-1] - self.looks[0] if self.looks else 0

    def before_a_look(self, now: float) -> None:
        """Take some, unless it is to take nothing any more; if it talks, it talks on."""
        self.looks.append(now)
        if self.takes:
            with suppress(BlockingIOError):
                self._socket.recv(SHARE)
        if self._talks:
            self._peer.pong()

    def close(self) -> None:
        """Close this descriptor of the socket."""
        self._socket.close()


@asynccontextmanager
async def sending(
    loop: Loop,
    patch: pytest.MonkeyPatch,
    server_options: dict[str, Any],
    how: dict[str, Any],
    talks: bool,
) -> AsyncIterator[tuple[Taker, list[float]]]:
    """A peer to which more is sent than buffers hold, and when that failed."""
    look = Outbox.report_progress
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
        taker = Taker(peer, talks)

        def report_progress(outbox: Outbox, now: float, paused: bool = False) -> None:
            taker.before_a_look(now)
            look(outbox, now, paused)

        patch.setattr(Outbox, "report_progress", report_progress)
        loop.spawn(send(client))
        await loop.until(lambda: client._session.pipe.full)
        try:
            yield taker, failed
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
@pytest.mark.parametrize(
    "talks",
    [
        pytest.param(True, id="it talks", marks=pytest.mark.slow),
        pytest.param(False, id="its pongs wait behind what it reads"),
    ],
)
@on(*SOCKETS, slow={"trio"})  # it is the kernel that is asked
async def test_a_slow_reader_stays(
    loop: Loop,
    log: Log,
    talks: bool,
    over: str,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for_server, for_client = contexts
    path = str(tmp_path / "socket")
    ways: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "TCP": ({}, {}),
        "TLS": ({"certs": for_server}, {"tls": for_client}),
        "Unix": ({"unix_path": path}, {"unix_path": path}),
    }
    options, how = ways[over]
    async with sending(loop, monkeypatch, options, how, talks) as (taker, failed):
        await loop.until(lambda: failed or taker.seconds > 3 * TIMEOUT)
        assert not failed
        taker.takes = False
        since = taker.looks[-1]
        await loop.until(lambda: failed)
        [line] = log.lines()
        assert "no output was read" in line
        assert failed[0] - since > TIMEOUT / 4  # TCP announces its space in steps


@on(*SOCKETS, slow={"trio"})
async def test_what_only_the_kernel_holds_counts_too(
    loop: Loop, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ping waits behind it, though nothing waits in our own buffer."""
    looks: list[float] = []
    held = 1

    def one_byte_less(sock: Any) -> int:
        looks.append(running().now())
        return 1_000_000 - len(looks)

    outbox = "wstransports.sending.outbox"
    monkeypatch.setattr(f"{outbox}.unsent", one_byte_less)
    monkeypatch.setattr(f"{outbox}.not_sent", lambda sock: held)
    async with loop.serving(timeout=TIMEOUT) as server:
        peer = await loop.connect(server)
        peer.stop_reading()
        client = await only_client(loop, server)
        await loop.until(
            lambda: looks and (client.close_code or looks[-1] - looks[0] > 3 * TIMEOUT)
        )
        assert client.close_code is None
        held = 0  # the peer's kernel has it all
        await loop.until(lambda: client.close_code)
        assert log.lines() == [f"dropped, keepalive: nothing was received for {TIMEOUT} s"]
        peer.reset()
