"""Who closes TCP first, and when (RFC 6455 section 7.1.1)."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from test_writer import only_client

from kit.frames import CLOSE, FIN
from kit.loops import Loop, on_sockets, state_of
from kit.raw_server import CLOSE_1000, End
from wscore import State
from wstransports import Client, Reasons, connect
from wstransports.connection.linger import FIRST_PAUSE, Linger
from wstransports.runtime import TURNS, Pipe

TIME_WAIT = "06"

BOTH_STREAMS = pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


def ended_first(server: int, client: int) -> str | None:
    """Which end of the connection between these ports waits, as the one does that closed first."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        ports = int(local.split(":")[1], 16), int(remote.split(":")[1], 16)
        if state == TIME_WAIT and ports in ((server, client), (client, server)):
            return "server" if ports[0] == server else "client"
    return None


async def end_connections(loop: Loop, closes: str, contexts: Contexts | None) -> None:
    """See which end closes TCP first, if this end closes the WebSocket."""
    for_server, for_client = contexts or (None, None)

    async def on_connection(client: Client) -> None:
        if closes == "server":
            await client.close()

    async with loop.serving(on_connection, certs=for_server) as server:
        uri = f"{'wss' if contexts else 'ws'}://127.0.0.1:{server.port}/"
        for _ in range(3):
            async with connect(uri, ssl=for_client) as client:
                port = client._session.pipe.info("sockname")[1]
                if closes == "server":
                    assert [message async for message in client] == []
            assert state_of(client) is State.CLOSED
            await loop.until(lambda port=port: ended_first(server.port, port))  # type: ignore[misc]
            assert ended_first(server.port, port) == "server"


BY_EITHER = pytest.mark.parametrize("closes", ["server", "client"])


@BY_EITHER
@on_sockets
async def test_the_server_ends_tcp_first(loop: Loop, closes: str) -> None:
    await end_connections(loop, closes, None)


@BY_EITHER
@on_sockets
async def test_also_with_tls(loop: Loop, contexts: Contexts, closes: str) -> None:
    await end_connections(loop, closes, contexts)


@BOTH_STREAMS
@on_sockets
async def test_the_server_waits_for_no_end_of_the_peers(
    loop: Loop, contexts: Contexts, tls: bool
) -> None:
    """Such as clients that leave that to the server; both have sent a Close."""
    for_server, for_client = contexts if tls else (None, None)
    for closes in ("server", "peer"):
        async with loop.serving(close_timeout=0, certs=for_server) as server:
            peer = await loop.connect(server, tls=for_client)
            peer.answers_eof = False
            client = await only_client(loop, server)
            if closes == "server":
                await client.close()
            else:
                peer.close()
            await loop.until(lambda server=server: not server._acceptor._sessions)  # type: ignore[misc]
            assert await peer.closed() == (1000, "")
            peer.end()


@on_sockets
async def test_what_is_unread_does_not_overtake_our_close(loop: Loop) -> None:
    """The kernel would answer it with a reset."""
    async with loop.serving() as server:
        for _ in range(5):
            peer = await loop.connect(server)
            peer.answers_eof = False
            with peer.in_one_write():
                peer.close()
                peer.raw(bytes(300_000))
            assert await peer.closed() == (1000, "")
            assert not peer.was_reset
            peer.end()
            await loop.until(lambda: not server._acceptor._sessions)


@BOTH_STREAMS
@on_sockets
async def test_what_is_unsent_leaves_first(loop: Loop, contexts: Contexts, tls: bool) -> None:
    """However long the peer takes for it."""
    for_server, for_client = contexts if tls else (None, None)

    async def on_connection(client: Client) -> None:
        await client.writer.send(bytes(8_000_000))

    async with loop.serving(on_connection, certs=for_server) as server:
        peer = await loop.connect(server, tls=for_client, max_message_size=None)
        peer.answers_eof = False
        peer.stop_reading()
        peer.close()
        await loop.until(lambda: not server.clients)
        peer.start_reading()
        assert len(await peer.message()) == 8_000_000
        assert await peer.closed() == (1000, "")
        peer.end()


@on_sockets
async def test_the_end_of_the_block_takes_no_longer_than_the_closes(loop: Loop) -> None:
    """Nobody ends the stream but the server; without a limit for that, it still ends."""
    server = loop.server(close_timeout=0, shutdown_timeout=0)
    async with server:
        peers = [await loop.connect(server) for _ in range(20)]
        for peer in peers:
            peer.answers_eof = False
        await loop.until(lambda: len(server.clients) == 20)
    for peer in peers:
        assert await peer.closed() == (1001, "")
        peer.end()


@on_sockets
async def test_a_peer_that_does_not_answer_has_until_shutdown_timeout(loop: Loop) -> None:
    server = loop.server(close_timeout=0, shutdown_timeout=0.1)
    async with server:
        peer = await loop.connect(server)
        peer.answers_close = False
        await only_client(loop, server)
    await loop.until(lambda: peer.lost)
    assert peer.frames.popleft().first == FIN | CLOSE


# The client.


@BY_EITHER
@on_sockets
async def test_the_client_waits_for_the_servers_end(loop: Loop, closes: str) -> None:
    order: list[str] = []

    async def talk(end: End) -> None:
        end.ends_too = False
        await end.accept()
        if closes == "server":
            end.write(CLOSE_1000)
        assert (await end.frame()).first == FIN | CLOSE
        if closes == "client":
            end.write(CLOSE_1000)
        for _ in range(50):
            await loop.checkpoint()
        order.append("client first" if end.ended else "server first")
        end.pipe.close()
        await end.gone()

    async with loop.listening(talk) as server, connect(server.uri) as client:
        if closes == "server":
            assert [message async for message in client] == []
        else:
            await client.close()
    assert order == ["server first"]


@on_sockets
async def test_the_client_waits_for_it_no_longer_than_close_timeout(loop: Loop) -> None:
    async def talk(end: End) -> None:
        end.ends_too = False
        await end.accept(CLOSE_1000)
        await end.gone()

    async with loop.listening(talk) as server:
        async with connect(server.uri, close_timeout=0.1) as client:
            await client.close(Reasons.GOING_AWAY)
        assert client.state is State.CLOSED


class LostBelow:
    """A pipe over TLS whose socket is lost, which it will say in the loop's next turn."""

    def __init__(self) -> None:
        self.socket: object = self
        self.calls: list[Callable[[], None]] = []
        self.when: list[float] = []
        self.aborted = False

    def info(self, name: str) -> object:
        return self.socket if name == "socket" else self

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        self.calls.append(call)
        self.when.append(when)

    def close(self) -> None:
        self.socket = self

    def waiting(self) -> int:
        return 0

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize("closed", [False, True])
def test_a_socket_that_is_lost_below_tls_is_not_asked(closed: bool) -> None:
    """Our own pipes still have it then, closed."""
    pipe = LostBelow()
    Linger(cast(Pipe, pipe), lambda: 0.0)
    pipe.socket = None
    if closed:
        with socket.socket() as pipe.socket:
            pass
    while pipe.calls:
        pipe.calls.pop()()
    assert pipe.aborted
    # Our half of TCP ends at once; by the next look, a client that is near has closed.
    assert pipe.when[:2] == [0.0, FIRST_PAUSE]


class Waiting(LostBelow):
    """A pipe without TLS, from which the peer takes nothing at first."""

    left = 1

    def info(self, name: str) -> object:
        return self if name == "socket" else None

    def waiting(self) -> int:
        return self.left


def test_what_waits_is_looked_at_after_ever_longer_pauses() -> None:
    pipe = Waiting()
    Linger(cast(Pipe, pipe), lambda: 0.0)
    for _ in range(TURNS + 2):
        pipe.calls.pop()()
    first = FIRST_PAUSE
    assert pipe.when == [first, *[0.0] * (TURNS - 1), first, 2 * first, 4 * first]
    pipe.left = 0
    pipe.calls.pop()()
    assert pipe.aborted


@BOTH_STREAMS
@on_sockets
async def test_a_stream_that_was_closed_twice_can_still_be_dropped(
    loop: Loop, contexts: Contexts, tls: bool
) -> None:
    for_server, for_client = contexts if tls else (None, None)
    async with loop.serving(certs=for_server, close_timeout=0) as server:
        peer = await loop.connect(server, tls=for_client)
        peer.stop_reading()  # so that it answers no end of TLS
        pipe = (await only_client(loop, server))._session.pipe
        pipe.close()
        pipe.close()
        pipe.abort()
        await loop.until(lambda: not server._acceptor._sessions)
        peer.reset()
