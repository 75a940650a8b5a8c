"""Keepalive: pings at half the time, silence, output that nobody takes, and paused reading."""

from typing import Any

import pytest
from harness import Frame, Log, MemoryWorld, Peer, World, echo, state_of
from test_writer import only_client

from wscore import DataType, State
from wstransports import Client, ConnectionClosed, WebSocketReader

SILENCE = "keepalive: nothing was received for 10 s"
STALL = "keepalive: no output was read for 10 s"


class Told:
    """What on_closed was told, and when."""

    def __init__(self, memory: MemoryWorld) -> None:
        self.memory = memory
        self.calls: list[tuple[int, str, float]] = []

    async def on_connection(self, client: Client) -> None:
        """An echo that listens for the end."""
        await echo(client)

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            self.calls.append((code, reason, self.memory.now()))


async def answer_pings(peer: Peer) -> int:
    """Answer the pings that came; how many these were."""
    pings = [frame for frame in peer.frames if frame.type is DataType.PING]
    peer.frames.clear()
    for ping in pings:
        peer.pong(ping.payload)
    return len(pings)


# --- Silence


async def test_a_ping_goes_out_at_half_of_the_timeout(memory: MemoryWorld) -> None:
    async with memory.serving(timeout=10) as server:
        peer = await memory.connect(server)
        await memory.advance(4.99)
        assert not peer.frames
        await memory.advance(0.01)
        assert (await peer.frame()).type is DataType.PING
        await memory.advance(4.9)
        assert not peer.frames


async def test_whoever_answers_none_is_dropped_at_the_timeout(memory: MemoryWorld) -> None:
    told = Told(memory)
    async with memory.serving(told.on_connection, timeout=10) as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        await memory.advance(9.99)
        assert state_of(client) is State.OPEN
        await memory.advance(0.01)
        assert state_of(client) is State.CLOSED
        assert peer.lost
        assert not server.clients
        assert told.calls == [(1006, SILENCE, 10)]
        assert [frame.type for frame in peer.frames] == [DataType.PING]
        with pytest.raises(ConnectionClosed, match="nothing was received") as caught:
            await client.writer.send("x")
        assert caught.value.code == 1006


async def test_over_sockets_and_their_clock(real: World) -> None:
    told: list[tuple[int, str]] = []

    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            told.append((code, reason))

    async with real.serving(on_connection, timeout=0.1) as server:
        peer = await real.connect(server)
        assert (await peer.frame()).type is DataType.PING
        await real.until(lambda: told and peer.lost)
        assert told == [(1006, "keepalive: nothing was received for 0.1 s")]


async def test_whoever_answers_stays(memory: MemoryWorld) -> None:
    async with memory.serving(timeout=10) as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        for _ in range(100):
            await memory.advance(5)
            assert await answer_pings(peer) == 1
        assert state_of(client) is State.OPEN


@pytest.mark.parametrize("life", ["pong", "another pong", "ping", "message", "part of a frame"])
async def test_any_byte_counts_as_life(memory: MemoryWorld, life: str) -> None:
    told = Told(memory)
    async with memory.serving(told.on_connection, timeout=10) as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        await memory.advance(5)
        [ping] = peer.frames
        await memory.advance(4.9)
        {
            "pong": lambda: peer.pong(ping.payload),
            "another pong": lambda: peer.pong(b"another"),
            "ping": lambda: peer.ping(),
            "message": lambda: peer.send("x"),
            "part of a frame": lambda: peer.raw(b"\x81"),
        }[life]()
        await memory.advance(4.9)
        assert state_of(client) is State.OPEN
        peer.frames.clear()
        await memory.advance(0.1)
        assert [frame.type for frame in peer.frames] == [DataType.PING]
        await memory.advance(5)
        assert state_of(client) is State.CLOSED
        assert told.calls[0][1] == SILENCE


async def test_a_talking_peer_is_sent_no_pings(memory: MemoryWorld) -> None:
    async with memory.serving(echo, timeout=10) as server:
        peer = await memory.connect(server)
        for _ in range(100):
            await memory.advance(4.9)
            peer.send("still here")
            assert await peer.message() == "still here"
        assert not peer.frames


async def test_0_switches_it_off(memory: MemoryWorld) -> None:
    async with memory.serving(timeout=0) as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        await memory.advance(1_000_000)
        assert not peer.frames
        assert state_of(client) is State.OPEN


async def test_the_default_is_120_seconds(memory: MemoryWorld) -> None:
    async with memory.serving() as server:
        peer = await memory.connect(server)
        await memory.advance(59.9)
        assert not peer.frames
        await memory.advance(0.1)
        assert (await peer.frame()).type is DataType.PING
        await memory.advance(59.9)
        assert not peer.lost
        await memory.advance(0.1)
        assert peer.lost
        peer.frames.clear()


async def test_keepalive_pings_pass_a_message_in_parts(memory: MemoryWorld) -> None:
    async with memory.serving(timeout=10) as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        async with client.writer.fragment() as stream:
            await stream.send("1")
            await stream.send("2")
            assert await peer.frame() == Frame(DataType.TEXT, b"1", last=False)
            await memory.advance(5)
            assert (await peer.frame()).type is DataType.PING
            peer.pong()
        assert await peer.frame() == Frame(DataType.CONTINUATION, b"2", last=True)


async def test_the_keepalives_pongs_are_not_told(memory: MemoryWorld) -> None:
    told: list[bytes] = []

    async def on_connection(client: Client) -> None:
        @client.pong
        async def on_pong(payload: bytes, length: int) -> None:
            told.append(payload)

    async with memory.serving(on_connection, timeout=10) as server:
        peer = await memory.connect(server)
        await memory.advance(5)
        peer.pong((await peer.frame()).payload)
        peer.pong(b"another")
        await memory.settle()
        assert told == [b"another"]


async def test_a_peer_in_its_handshake_is_sent_no_pings(memory: MemoryWorld) -> None:
    async with memory.serving(timeout=10, open_timeout=0) as server:
        peer = await memory.dial(server)
        await memory.advance(1000)
        assert not peer.head
        assert not peer.lost


# --- While we have paused reading


async def test_while_reading_is_paused_that_clock_stands_still(memory: MemoryWorld) -> None:
    may_go_on = memory.signal()
    told = Told(memory)

    async def on_connection(client: Client) -> None:
        await told.on_connection(client)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await may_go_on.wait()

    async with memory.serving(on_connection, timeout=10, read_limit=1000) as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        await memory.advance(4)
        peer.send("x" * 2000)
        peer.send("x" * 2000)
        await memory.advance(1000)
        assert state_of(client) is State.OPEN
        # It starts afresh on resume.
        may_go_on.set()
        await memory.settle()
        peer.frames.clear()
        await memory.advance(4.9)
        assert not peer.frames
        await memory.advance(0.1)
        assert [frame.type for frame in peer.frames] == [DataType.PING]
        await memory.advance(4.9)
        assert state_of(client) is State.OPEN
        await memory.advance(0.1)
        assert state_of(client) is State.CLOSED
        assert told.calls[0][:2] == (1006, SILENCE)


async def test_a_pause_that_begins_while_a_ping_is_out(memory: MemoryWorld) -> None:
    may_go_on = memory.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await may_go_on.wait()

    async with memory.serving(on_connection, timeout=10, read_limit=1000) as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        await memory.advance(6)
        peer.send("x" * 2000)
        peer.send("x" * 2000)
        await memory.advance(1000)
        assert state_of(client) is State.OPEN
        may_go_on.set()
        await memory.advance(4.9)
        peer.pong()
        await memory.advance(4.9)
        assert state_of(client) is State.OPEN
        peer.frames.clear()


# --- Output that nobody takes


async def broadcaster(client: Client, size: int, raised: list[Any], memory: MemoryWorld) -> None:
    """Send until that fails."""
    try:
        while True:
            await client.writer.send(b"x" * size)
    except ConnectionClosed as closed:
        raised.append((closed.code, closed.reason, closed.client is client, memory.now()))


async def test_a_peer_that_pings_but_never_reads_is_dropped(memory: MemoryWorld) -> None:
    """Another task broadcasts to it: its sends must not wait for ever."""
    told = Told(memory)
    raised: list[Any] = []
    async with memory.serving(told.on_connection, timeout=10) as server:
        peer, other = await memory.connect(server), await memory.connect(server)
        client = next(iter(server.clients.values()))
        peer.stop_reading()
        await memory.advance(1)
        sending = memory.spawn(broadcaster(client, 10_000, raised, memory))
        await memory.settle()
        for _ in range(100):
            await memory.advance(0.1)
            peer.ping()
            other.pong()
        await memory.advance(0.1)
        await memory.settle()
        [(code, reason, when)] = told.calls
        assert (code, reason) == (1006, STALL)
        assert when == pytest.approx(11)
        assert len(server.clients) == 1
        other.send("undisturbed")
        assert await other.message() == "undisturbed"
        sending.cancel()


async def test_also_where_it_reads_no_pings_and_nobody_waits(memory: MemoryWorld) -> None:
    """Less than the high-water mark waits, so that no send waits for room."""
    told = Told(memory)
    async with memory.serving(told.on_connection, timeout=10) as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        peer.stop_reading()
        await client.writer.send(b"x" * 1000)
        for _ in range(300):
            peer.ping()
            await memory.advance(0.1)
            if told.calls:
                break
        [(code, reason, when)] = told.calls
        assert (code, reason) == (1006, STALL)
        assert when <= 15.1  # it is looked for when a ping might be due


async def test_a_peer_that_reads_slowly_stays(memory: MemoryWorld) -> None:
    async with memory.serving(timeout=10) as server:
        peer = await memory.connect(server, max_message_size=None)
        client = await only_client(memory, server)
        sending = memory.spawn(client.writer.send(b"x" * 2_000_000))
        for _ in range(25):
            peer.stop_reading()
            await memory.advance(9)
            peer.pong()
            peer.start_reading()
            await memory.checkpoint()
        assert state_of(client) is State.OPEN
        await memory.settle()
        assert sending.done


async def test_0_switches_the_second_clock_off_too(memory: MemoryWorld) -> None:
    async with memory.serving(timeout=0) as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        peer.stop_reading()
        sending = memory.spawn(client.writer.send(b"x" * 100_000))
        await memory.advance(1_000_000)
        assert state_of(client) is State.OPEN
        assert not sending.done
        peer.start_reading()
        await sending.wait()
        assert await peer.message() == b"x" * 100_000


async def test_a_flood_of_pings_without_reading_is_dropped_too(memory: MemoryWorld) -> None:
    """Its pongs block the output, reading stops, and the clock of the output goes on."""
    told = Told(memory)
    async with memory.serving(told.on_connection, timeout=10) as server:
        peer = await memory.connect(server)
        peer.stop_reading()
        for _ in range(2000):
            peer.ping(b"x" * 125)
        await memory.advance(30)
        assert [call[:2] for call in told.calls] == [(1006, STALL)]
        assert peer.lost


async def test_an_echo_to_a_peer_that_does_not_read(memory: MemoryWorld, log: Log) -> None:
    """Output is blocked, so input is: both clocks must not stand still."""
    told = Told(memory)
    async with memory.serving(told.on_connection, timeout=10, read_limit=1000) as server:
        peer = await memory.connect(server)
        peer.stop_reading()
        for _ in range(100):
            peer.send(b"x" * 10_000)
        await memory.advance(30)
        assert [call[:2] for call in told.calls] == [(1006, STALL)]
        assert peer.lost
        assert log.lines() == []
