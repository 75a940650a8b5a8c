"""How much a client may send in a second, and what happens to one that sends more."""

from typing import Any

import pytest

from kit.frames import FIN, PONG, Frame
from kit.log import Log
from kit.loops import Loop, MemoryLoop, echo, on_each_loop, on_memory
from wstransports import Client, WebSocketReader, WebSocketServer
from wstransports.connection.session import Session
from wstransports.connection.token_bucket import TokenBucket


class Received:
    """An on_connection that keeps what arrives."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.closes: list[int] = []

    async def __call__(self, client: Client) -> None:
        """As an on_connection."""

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            self.messages.append(await reader.get())

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            self.closes.append(code)


@on_memory
async def test_messages_a_second(loop: MemoryLoop) -> None:
    """However they arrive: here in one read."""
    received = Received()
    async with loop.serving(received, max_messages_per_second=5) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            for number in range(20):
                peer.send(str(number))
        await loop.settle()
        assert len(received.messages) == 5
        await loop.advance(0.19)
        assert len(received.messages) == 5
        await loop.advance(0.02)
        assert len(received.messages) == 6
        await loop.advance(1)
        assert len(received.messages) == 11
        await loop.advance(2)
        assert received.messages == [str(number) for number in range(20)]
        await loop.advance(100)  # no more than a second's worth is saved up
        for number in range(20):
            peer.send(str(number))
        await loop.settle()
        assert len(received.messages) == 25


@on_memory
async def test_messages_a_second_in_a_read_each(loop: MemoryLoop) -> None:
    """The shortcut in C of a read counts nothing, so it must not serve these."""
    received = Received()
    async with loop.serving(received, max_messages_per_second=5, compression=None) as server:
        peer = await loop.connect(server)
        for number in range(20):
            peer.send(str(number))
            await loop.settle()
        assert len(received.messages) == 5


@on_memory
async def test_less_than_one_message_a_second(loop: MemoryLoop) -> None:
    received = Received()
    async with loop.serving(received, max_messages_per_second=0.1) as server:
        peer = await loop.connect(server)
        for number in range(3):
            peer.send(str(number))
        for count in (1, 2, 3):
            await loop.settle()
            assert len(received.messages) == count
            await loop.advance(10.001)


@on_memory
async def test_fragments_are_one_message(loop: MemoryLoop) -> None:
    received = Received()
    async with loop.serving(received, max_messages_per_second=2) as server:
        peer = await loop.connect(server)
        for _ in range(10):
            peer.part("x")
        peer.part("x", last=True)
        await loop.settle()
        assert received.messages == ["x" * 11]


@on_memory
async def test_pings_a_second(loop: MemoryLoop) -> None:
    async with loop.serving(echo, max_pings_per_second=3) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            for number in range(9):
                peer.ping(b"%d" % number)
        for count in (3, 6, 9):
            await loop.settle()
            assert len(peer.frames) == count
            await loop.advance(1.001)
        assert list(peer.frames) == [Frame(FIN | PONG, b"%d" % number) for number in range(9)]
        peer.frames.clear()


@on_memory
async def test_bytes_a_second(loop: MemoryLoop) -> None:
    """The handshake is free, and a read counts as a whole."""
    received = Received()
    async with loop.serving(received, max_bytes_per_second=100, compression=None) as server:
        peer = await loop.connect(server, headers={"X": "y" * 1000})
        for _ in range(3):
            peer.send(bytes(124))  # 130 bytes
            await loop.settle()
        assert len(received.messages) == 1
        await loop.advance(0.30)
        assert len(received.messages) == 1
        await loop.advance(0.02)
        assert len(received.messages) > 1
        await loop.advance(10)
        assert len(received.messages) == 3


@on_each_loop
async def test_what_comes_too_fast_takes_its_time(loop: Loop) -> None:
    if isinstance(loop, MemoryLoop):
        return  # above, by its clock
    async with loop.serving(echo, max_messages_per_second=40) as server:
        peer = await loop.connect(server)
        since = server._runtime.now() if server._runtime is not None else 0
        for number in range(56):
            peer.send(str(number))
        assert [await peer.message() for _ in range(56)] == [str(number) for number in range(56)]
        assert server._runtime is not None
        assert server._runtime.now() - since >= 0.35


LIMITS = {
    "messages": {"max_messages_per_second": 4},
    "pings": {"max_pings_per_second": 4},
    "bytes": {"max_bytes_per_second": 30},
}


@pytest.mark.parametrize("what", LIMITS)
@on_each_loop
async def test_policy_close(loop: Loop, log: Log, what: str) -> None:
    received = Received()
    options: dict[str, Any] = {**LIMITS[what], "rate_policy": "close"}
    async with loop.serving(received, **options) as server:
        peer, other = await loop.connect(server), await loop.connect(server)
        with peer.in_one_write():
            for number in range(20):
                if what == "pings":
                    peer.ping(b"?")
                else:
                    peer.send(str(number))
        await loop.until(lambda: received.closes == [1008])
        await loop.until(lambda: peer.at_eof)
        pongs = [frame for frame in peer.frames if frame.opcode == PONG]
        peer.frames = type(peer.frames)([one for one in peer.frames if one.opcode != PONG])
        assert await peer.closed() == (1008, f"too many {what} a second")
        assert len(pongs) <= 4
        assert len(received.messages) <= 4
        assert log.lines() == [f"closed with 1008, more {what} a second than allowed"]
        await other.nothing()


@on_memory
async def test_policy_close_below_the_limit(loop: MemoryLoop) -> None:
    options: dict[str, Any] = {"max_messages_per_second": 2, "rate_policy": "close"}
    async with loop.serving(echo, **options) as server:
        peer = await loop.connect(server)
        for _ in range(20):
            peer.send("x")
            assert await peer.message() == "x"
            await loop.advance(0.5)
        peer.close()
        await peer.closed()


@on_memory
async def test_our_close_ends_the_pause(loop: MemoryLoop) -> None:
    """Or the peer's could not be read."""
    received = Received()
    async with loop.serving(received, max_messages_per_second=0.001) as server:
        peer = await loop.connect(server)
        peer.send("x")
        await loop.settle()
        [client] = server.clients.values()
        closing = loop.spawn(client.close(4000, "enough"))
        await loop.settle()
        assert closing.done
        assert received.closes == [4000]
        assert await peer.closed() == (4000, "enough")


@on_memory
async def test_a_callback_that_closes_ends_the_limit(loop: MemoryLoop) -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.close(4000)

    async with loop.serving(on_connection, max_messages_per_second=1) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            for _ in range(5):
                peer.send("x")
        assert await peer.closed() == (4000, "")
        await loop.until(lambda: not server._acceptor._sessions)


@on_memory
async def test_the_peers_close_waits_for_the_messages_before_it(loop: MemoryLoop) -> None:
    received = Received()
    async with loop.serving(received, max_messages_per_second=1) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            for number in range(3):
                peer.send(str(number))
            peer.close(4001)
        await loop.advance(1.5)
        assert (len(received.messages), received.closes) == (2, [])
        await loop.advance(3)
        assert (len(received.messages), received.closes) == (3, [4001])
        await peer.closed()


@on_each_loop
async def test_a_connection_that_is_lost_during_the_pause_is_over(loop: Loop) -> None:
    received = Received()
    async with loop.serving(received, max_messages_per_second=0.5, timeout=0) as server:
        peer = await loop.connect(server)
        for number in range(5):
            peer.send(str(number))
        await loop.until(lambda: received.messages)
        assert received.messages == ["0"]
        [session] = server._acceptor._sessions
        session.abort()
        await loop.until(lambda: received.closes)
        assert received.closes == [1006]
        await loop.until(lambda: not server._acceptor._sessions)


@on_memory
async def test_a_limit_that_is_off_costs_nothing(loop: MemoryLoop) -> None:
    async with loop.serving(echo, rate_policy="close") as server:
        await loop.connect(server)
        [session] = server._acceptor._sessions
        assert session.__class__ is Session
        assert session.core.max_frames == 256


def test_a_token_bucket() -> None:
    bucket = TokenBucket(4, now=100)
    assert (bucket.tokens, bucket.wait() <= 0) == (4, True)
    bucket.tokens -= 6
    assert bucket.wait() == 0.75
    bucket.refill(100.5)
    assert (bucket.tokens, bucket.wait()) == (0, 0.25)
    bucket.refill(1000)
    assert bucket.tokens == 4
    assert TokenBucket(0.5, now=0).tokens == 1


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan"), "5", True])
@pytest.mark.parametrize(
    "name", ["max_messages_per_second", "max_pings_per_second", "max_bytes_per_second"]
)
def test_rates_are_checked(name: str, rate: Any) -> None:
    options: dict[str, Any] = {name: rate}
    with pytest.raises(ValueError, match=f"{name} must be a number above 0 or None"):
        WebSocketServer("127.0.0.1", 0, **options)


def test_the_policy_is_checked() -> None:
    options: dict[str, Any] = {"rate_policy": "drop"}
    with pytest.raises(ValueError, match='must be "pause" or "close", not \'drop\''):
        WebSocketServer("127.0.0.1", 0, **options)
