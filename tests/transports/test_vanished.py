"""A peer that vanishes while its data waits unread, because a callback hangs."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from kit.certificates import client_context, server_context
from kit.frames import PING
from kit.log import Log
from kit.loops import EACH, SOCKETS, Loop, MemoryLoop, on, on_sockets, state_of
from kit.peer import Peer
from kit.sockets import open_sockets
from wscore import State
from wscore.deadlines import Deadlines
from wstransports import Client, WebSocketReader
from wstransports.sending.kernel_buffer import has_ended, unacknowledged

# Seconds of silence after which a peer counts as gone.
TIMEOUT = 0.4


class Security:
    """TLS, or none."""

    def __init__(self, tls: bool) -> None:
        self.served: dict[str, Any] = {}
        self.dialled: dict[str, Any] = {}
        if tls:
            authority = trustme.CA()
            self.served = {"certs": server_context(authority, "127.0.0.1")}
            self.dialled = {"tls": client_context(authority)}


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def security(request: pytest.FixtureRequest) -> Security:
    return Security(request.param)


class Hanging:
    """An on_connection whose first message is never done until the test says so."""

    def __init__(self, loop: Loop) -> None:
        self.go_on = loop.signal()
        self.clients: list[Client] = []
        self.messages: list[int] = []
        self.codes: list[int] = []

    async def on_connection(self, client: Client) -> None:
        """Register the callbacks."""
        self.clients.append(client)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await self.go_on.wait()
            self.messages.append(len(await reader.get()))

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            self.codes.append(code)


async def paused(loop: Loop, server: Any, hanging: Hanging, **request: Any) -> Peer:
    """A peer whose messages the server has stopped to read."""
    peer = await loop.connect(server, **request)
    for _ in range(3):
        peer.send(b"x" * 50_000)
    await loop.until(lambda: hanging.clients)
    intake = hanging.clients[-1]._session.intake
    await loop.until(lambda: intake.pause_reasons)
    return peer


@pytest.fixture
def pings(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When a server sent a keepalive ping: once in each TIMEOUT at most."""
    pings: list[float] = []
    pinged = Deadlines.pinged

    def note(deadlines: Deadlines, now: float) -> None:
        pings.append(now)
        pinged(deadlines, now)

    monkeypatch.setattr(Deadlines, "pinged", note)
    return pings


def leave(peer: Peer) -> None:
    """Close the socket: what comes is answered with a reset."""
    peer.vanish()


def crash(peer: Peer) -> None:
    """Reset the connection."""
    peer.reset()


@pytest.mark.parametrize("vanish", [leave, crash])
@on_sockets
async def test_it_is_noticed(
    loop: Loop,
    vanish: Callable[[Peer], None],
    security: Security,
    pings: list[float],
    log: Log,
) -> None:
    """It was kept for ever, with its descriptor and its place in `clients`."""
    hanging = Hanging(loop)
    async with loop.serving(
        hanging.on_connection, timeout=TIMEOUT, compression=None, **security.served
    ) as server:
        before = open_sockets()
        peer = await paused(loop, server, hanging, **security.dialled)
        pings.clear()
        vanish(peer)
        await loop.until(lambda: not server.clients)
        assert len(pings) <= 2
        await loop.until(lambda: open_sockets() == before)
        await loop.until(lambda: hanging.codes)
        assert hanging.codes == [1006]
        # asyncio's TLS does not say that its peer has left.
        assert set(log.lines()) <= {f"dropped, keepalive: no output was read for {TIMEOUT} s"}
        hanging.go_on.set()


@on(*EACH, slow={"asyncio"})
async def test_a_peer_that_stays_is_kept_and_read(loop: Loop) -> None:
    hanging = Hanging(loop)
    async with loop.serving(
        hanging.on_connection, timeout=TIMEOUT, compression=None, read_limit=60_000
    ) as server:
        peer = await paused(loop, server, hanging)
        if isinstance(loop, MemoryLoop):
            await loop.advance(5 * TIMEOUT)
        await loop.until(lambda: len(peer.frames) >= 6)  # pings, for 3 * TIMEOUT
        assert {frame.opcode for frame in peer.frames} == {PING}
        assert state_of(hanging.clients[0]) is State.OPEN
        hanging.go_on.set()
        await loop.until(lambda: len(hanging.messages) == 3)
        peer.frames.clear()
        peer.send(b"x")
        await loop.until(lambda: len(hanging.messages) == 4)
        assert hanging.messages == [50_000, 50_000, 50_000, 1]
        peer.frames.clear()


@on(*SOCKETS, slow={"asyncio"})
async def test_so_is_a_host_that_answers_nothing(
    loop: Loop,
    security: Security,
    log: Log,
    pings: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its cable is cut: nobody sends a reset, but the kernel hears of no segment any more."""
    hanging = Hanging(loop)
    async with loop.serving(
        hanging.on_connection, timeout=TIMEOUT, compression=None, **security.served
    ) as server:
        peer = await paused(loop, server, hanging, **security.dialled)
        session = hanging.clients[0]._session
        pings.clear()
        outbox = "wstransports.sending.outbox"
        monkeypatch.setattr(f"{outbox}.unacknowledged", lambda sock: 1)
        monkeypatch.setattr(f"{outbox}.unsent", lambda sock: session.outbox._written)
        await loop.until(lambda: not server.clients)
        assert len(pings) <= 3
        await loop.until(lambda: hanging.codes)
        assert hanging.codes == [1006]
        assert log.lines() == [f"dropped, keepalive: no output was read for {TIMEOUT} s"]
        hanging.go_on.set()
        peer.frames.clear()


def test_only_sockets_of_tcp_can_be_asked() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    ours.sendall(b"x")
    theirs.close()
    for _ in range(2):
        assert unacknowledged(ours) == 0
        assert not has_ended(ours)
        ours.close()


@on("asyncio", "uvloop", "trio")
async def test_what_arrives_is_acknowledged_whether_it_is_read_or_not(loop: Loop) -> None:
    async with loop.serving(Hanging(loop).on_connection, compression=None) as server:
        peer = await loop.connect(server)
        peer.stop_reading()
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        await client.writer.send(b"x" * 1000)
        await loop.until(lambda: unacknowledged(client._session.pipe.info("socket")) == 0)
        peer.start_reading()
        assert await peer.message() == b"x" * 1000
