"""Keepalive: pings at half the time, silence, output that nobody takes, and paused reading."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from test_writer import only_client

from kit.frames import CONTINUATION, FIN, PING, TEXT, Frame
from kit.log import Log
from kit.loops import Loop, MemoryLoop, echo, on_memory, on_sockets, state_of
from kit.peer import Peer
from wscore import State
from wstransports import Client, ConnectionClosed, WebSocketReader

SILENCE = "keepalive: nothing was received for 10 s"
STALL = "keepalive: no output was read for 10 s"


@pytest.fixture(autouse=True)
def _drops(log: Log) -> Iterator[None]:
    """Each drop is one line, about the client; the tests assert the reasons of on_closed."""
    yield
    assert all(line.startswith("dropped, keepalive: ") for line in log.lines())


class Reported:
    """What on_closed got, and when."""

    def __init__(self, loop: MemoryLoop) -> None:
        self.memory = loop
        self.calls: list[tuple[int, str, float]] = []

    async def on_connection(self, client: Client) -> None:
        """An echo that listens for the end."""
        await echo(client)

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            self.calls.append((code, reason, self.memory.now()))


async def answer_pings(peer: Peer) -> int:
    """Answer the pings that came; how many these were."""
    pings = [frame for frame in peer.frames if frame.opcode == PING]
    peer.frames.clear()
    for ping in pings:
        peer.pong(ping.payload)
    return len(pings)


# --- Silence


@on_memory
async def test_a_ping_goes_out_at_half_of_the_timeout(loop: MemoryLoop) -> None:
    async with loop.serving(timeout=10) as server:
        peer = await loop.connect(server)
        await loop.advance(4.99)
        assert not peer.frames
        await loop.advance(0.01)
        assert (await peer.frame()).opcode == PING
        await loop.advance(4.9)
        assert not peer.frames


@on_memory
async def test_a_peer_that_answers_no_ping_is_dropped_at_the_timeout(loop: MemoryLoop) -> None:
    reported = Reported(loop)
    async with loop.serving(reported.on_connection, timeout=10) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        await loop.advance(9.99)
        assert state_of(client) is State.OPEN
        await loop.advance(0.01)
        assert state_of(client) is State.CLOSED
        assert peer.lost
        assert not server.clients
        assert reported.calls == [(1006, SILENCE, 10)]
        assert [frame.opcode for frame in peer.frames] == [PING]
        with pytest.raises(ConnectionClosed, match="nothing was received") as caught:
            await client.writer.send("x")
        assert caught.value.code == 1006


@on_sockets
async def test_over_sockets_and_their_clock(loop: Loop, log: Log) -> None:
    reported: list[tuple[int, str]] = []

    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            reported.append((code, reason))

    async with loop.serving(on_connection, timeout=0.1) as server:
        peer = await loop.connect(server)
        assert (await peer.frame()).opcode == PING
        await loop.until(lambda: reported and peer.lost)
        reason = "keepalive: nothing was received for 0.1 s"
        assert reported == [(1006, reason)]
        [record] = log.records
        assert re.fullmatch(rf"#\d+ 127\.0\.0\.1:\d+: dropped, {reason}", record.getMessage())


@on_memory
async def test_a_peer_that_answers_stays(loop: MemoryLoop) -> None:
    async with loop.serving(timeout=10) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        for _ in range(100):
            await loop.advance(5)
            assert await answer_pings(peer) == 1
        assert state_of(client) is State.OPEN


@pytest.mark.parametrize("life", ["pong", "another pong", "ping", "message", "part of a frame"])
@on_memory
async def test_any_byte_counts_as_life(loop: MemoryLoop, life: str) -> None:
    reported = Reported(loop)
    async with loop.serving(reported.on_connection, timeout=10) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        await loop.advance(5)
        [ping] = peer.frames
        await loop.advance(4.9)
        {
            "pong": lambda: peer.pong(ping.payload),
            "another pong": lambda: peer.pong(b"another"),
            "ping": lambda: peer.ping(),
            "message": lambda: peer.send("x"),
            "part of a frame": lambda: peer.raw(b"\x81"),
        }[life]()
        await loop.advance(4.9)
        assert state_of(client) is State.OPEN
        peer.frames.clear()
        await loop.advance(0.1)
        assert [frame.opcode for frame in peer.frames] == [PING]
        await loop.advance(5)
        assert state_of(client) is State.CLOSED
        assert reported.calls[0][1] == SILENCE


@on_memory
async def test_a_talking_peer_is_sent_no_pings(loop: MemoryLoop) -> None:
    async with loop.serving(echo, timeout=10) as server:
        peer = await loop.connect(server)
        for _ in range(100):
            await loop.advance(4.9)
            peer.send("still here")
            assert await peer.message() == "still here"
        assert not peer.frames


@on_memory
async def test_0_switches_it_off(loop: MemoryLoop) -> None:
    async with loop.serving(timeout=0) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        await loop.advance(1_000_000)
        assert not peer.frames
        assert state_of(client) is State.OPEN


@on_memory
async def test_the_default_is_120_seconds(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        await loop.advance(59.9)
        assert not peer.frames
        await loop.advance(0.1)
        assert (await peer.frame()).opcode == PING
        await loop.advance(59.9)
        assert not peer.lost
        await loop.advance(0.1)
        assert peer.lost
        peer.frames.clear()


@on_memory
async def test_keepalive_pings_pass_a_message_in_parts(loop: MemoryLoop) -> None:
    async with loop.serving(timeout=10) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        async with client.writer.fragment() as stream:
            await stream.send("1")
            await stream.send("2")
            assert await peer.frame() == Frame(TEXT, b"1")
            await loop.advance(5)
            assert (await peer.frame()).opcode == PING
            peer.pong()
        assert await peer.frame() == Frame(FIN | CONTINUATION, b"2")


@on_memory
async def test_the_keepalives_pongs_are_not_reported(loop: MemoryLoop) -> None:
    reported: list[bytes] = []

    async def on_connection(client: Client) -> None:
        @client.pong
        async def on_pong(payload: bytes, length: int) -> None:
            reported.append(payload)

    async with loop.serving(on_connection, timeout=10) as server:
        peer = await loop.connect(server)
        await loop.advance(5)
        peer.pong((await peer.frame()).payload)
        peer.pong(b"another")
        await loop.settle()
        assert reported == [b"another"]


@on_memory
async def test_a_peer_in_its_handshake_is_sent_no_pings(loop: MemoryLoop) -> None:
    async with loop.serving(timeout=10, open_timeout=0) as server:
        peer = await loop.dial(server)
        await loop.advance(1000)
        assert not peer.head
        assert not peer.lost


# --- While we have paused reading


@on_memory
async def test_while_reading_is_paused_that_clock_stands_still(loop: MemoryLoop) -> None:
    may_go_on = loop.signal()
    reported = Reported(loop)

    async def on_connection(client: Client) -> None:
        await reported.on_connection(client)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await may_go_on.wait()

    async with loop.serving(on_connection, timeout=10, read_limit=1000) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        await loop.advance(4)
        peer.send("x" * 2000)
        peer.send("x" * 2000)
        await loop.advance(1000)
        assert state_of(client) is State.OPEN
        # It starts afresh on resume.
        may_go_on.set()
        await loop.settle()
        peer.frames.clear()
        await loop.advance(4.9)
        assert not peer.frames
        await loop.advance(0.1)
        assert [frame.opcode for frame in peer.frames] == [PING]
        await loop.advance(4.9)
        assert state_of(client) is State.OPEN
        await loop.advance(0.1)
        assert state_of(client) is State.CLOSED
        assert reported.calls[0][:2] == (1006, SILENCE)


@on_memory
async def test_a_pause_that_begins_while_a_ping_is_out(loop: MemoryLoop) -> None:
    may_go_on = loop.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await may_go_on.wait()

    async with loop.serving(on_connection, timeout=10, read_limit=1000) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        await loop.advance(6)
        peer.send("x" * 2000)
        peer.send("x" * 2000)
        await loop.advance(1000)
        assert state_of(client) is State.OPEN
        may_go_on.set()
        await loop.advance(4.9)
        peer.pong()
        await loop.advance(4.9)
        assert state_of(client) is State.OPEN
        peer.frames.clear()


# --- Output that nobody takes


async def broadcaster(client: Client, size: int, raised: list[Any], loop: MemoryLoop) -> None:
    """Send until that fails."""
    try:
        while True:
            await client.writer.send(b"x" * size)
    except ConnectionClosed as closed:
        raised.append((closed.code, closed.reason, closed.client is client, loop.now()))


@on_memory
async def test_a_peer_that_pings_but_never_reads_is_dropped(loop: MemoryLoop) -> None:
    """Another task broadcasts to it: its sends must not wait for ever."""
    reported = Reported(loop)
    raised: list[Any] = []
    async with loop.serving(reported.on_connection, timeout=10) as server:
        peer, other = await loop.connect(server), await loop.connect(server)
        client = next(iter(server.clients.values()))
        peer.stop_reading()
        await loop.advance(1)
        sending = loop.spawn(broadcaster(client, 10_000, raised, loop))
        await loop.settle()
        for _ in range(100):
            await loop.advance(0.1)
            peer.ping()
            other.pong()
        await loop.advance(0.1)
        await loop.settle()
        [(code, reason, when)] = reported.calls
        assert (code, reason) == (1006, STALL)
        assert when == pytest.approx(11)
        assert len(server.clients) == 1
        other.send("undisturbed")
        assert await other.message() == "undisturbed"
        sending.cancel()


@on_memory
async def test_also_where_it_reads_no_pings_and_nobody_waits(loop: MemoryLoop) -> None:
    """Less than the high-water mark waits, so that no send waits for room."""
    reported = Reported(loop)
    async with loop.serving(reported.on_connection, timeout=10) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        peer.stop_reading()
        await client.writer.send(b"x" * 1000)
        for _ in range(300):
            peer.ping()
            await loop.advance(0.1)
            if reported.calls:
                break
        [(code, reason, when)] = reported.calls
        assert (code, reason) == (1006, STALL)
        assert when <= 15.1  # it is looked for when a ping might be due


@on_memory
async def test_a_peer_that_reads_slowly_stays(loop: MemoryLoop) -> None:
    async with loop.serving(timeout=10) as server:
        peer = await loop.connect(server, max_message_size=None)
        client = await only_client(loop, server)
        sending = loop.spawn(client.writer.send(b"x" * 2_000_000))
        for _ in range(25):
            peer.stop_reading()
            await loop.advance(9)
            peer.pong()
            peer.start_reading()
            await loop.checkpoint()
        assert state_of(client) is State.OPEN
        await loop.settle()
        assert sending.done


@on_memory
async def test_0_switches_the_second_clock_off_too(loop: MemoryLoop) -> None:
    async with loop.serving(timeout=0) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        peer.stop_reading()
        sending = loop.spawn(client.writer.send(b"x" * 100_000))
        await loop.advance(1_000_000)
        assert state_of(client) is State.OPEN
        assert not sending.done
        peer.start_reading()
        await sending.wait()
        assert await peer.message() == b"x" * 100_000


@on_memory
async def test_a_flood_of_pings_without_reading_is_dropped_too(loop: MemoryLoop) -> None:
    """Its pongs block the output, reading stops, and the clock of the output goes on."""
    reported = Reported(loop)
    async with loop.serving(reported.on_connection, timeout=10) as server:
        peer = await loop.connect(server)
        peer.stop_reading()
        for _ in range(2000):
            peer.ping(b"x" * 125)
        await loop.advance(30)
        assert [call[:2] for call in reported.calls] == [(1006, STALL)]
        assert peer.lost


@on_memory
async def test_an_echo_to_a_peer_that_does_not_read(loop: MemoryLoop, log: Log) -> None:
    """Output is blocked, so input is: both clocks must not stand still."""
    reported = Reported(loop)
    async with loop.serving(reported.on_connection, timeout=10, read_limit=1000) as server:
        peer = await loop.connect(server)
        peer.stop_reading()
        for _ in range(100):
            peer.send(b"x" * 10_000)
        await loop.advance(30)
        assert [call[:2] for call in reported.calls] == [(1006, STALL)]
        assert peer.lost
        assert log.lines() == [f"dropped, {STALL}"]
