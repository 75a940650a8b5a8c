"""Client: its callbacks, their order, and what exceptions in them do."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from kit.frames import CLOSE, FIN, PING, PONG, Frame, masked
from kit.log import Log
from kit.loops import (
    Loop,
    MemoryLoop,
    echo,
    on_each_loop,
    on_memory,
    on_sockets,
)
from kit.peer import Peer
from wscore import DataType, State
from wstransports import Client, ConnectionClosed, WebSocketReader

# --- What it is


@on_sockets
async def test_its_attributes(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server, target="/room")
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        assert client.state is State.OPEN
        assert client.request.path == "/room"
        assert client.subprotocol is None
        assert client.latency is None
        assert client.max_message_size == 2**20
        assert not client.writer.closed
        assert repr(client) == f"<Client #{client.id} 127.0.0.1:{client.port} OPEN>"
        peer.close()
        await peer.closed()
        await loop.until(lambda: client.state is State.CLOSED)
        assert client.writer.closed
        assert repr(client) == f"<Client #{client.id} 127.0.0.1:{client.port} CLOSED>"


@on_each_loop
async def test_users_may_set_attributes_of_their_own(loop: Loop) -> None:
    names: list[str] = []

    async def on_connection(client: Client) -> None:
        client.name = "ann"  # type: ignore[attr-defined]

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            names.append(client.name)  # type: ignore[attr-defined]

    async with loop.serving(on_connection) as server:
        await loop.connect(server)
    assert names == ["ann"]


# --- Decorators


@pytest.mark.parametrize("which", ["message", "ping", "pong", "closed"])
@on_each_loop
async def test_decorators_return_the_function_and_refuse_what_is_not_async_def(
    loop: Loop, which: str
) -> None:
    tried: list[bool] = []

    async def on_connection(client: Client) -> None:
        register: Callable[[Any], Any] = getattr(client, which)

        async def callback(*arguments: Any) -> None:
            """Does nothing."""

        def plain(*arguments: Any) -> None:
            """Is not async."""

        assert register(callback) is callback
        for wrong in (plain, lambda *arguments: None, None, "callback"):
            with pytest.raises(TypeError, match=f"on_{which} must be `async def`"):
                register(wrong)
        tried.append(True)

    async with loop.serving(on_connection) as server:
        await loop.connect(server)
        await loop.until(lambda: tried)


# --- on_message


@on_each_loop
async def test_it_is_given_a_reader(loop: Loop) -> None:
    readers: list[Any] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            readers.append((isinstance(reader, WebSocketReader), reader.data_type))

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("text")
        peer.send(b"binary")
        await peer.nothing()
        assert readers == [
            (True, DataType.TEXT),
            (True, DataType.BINARY),
        ]


@on_each_loop
async def test_it_is_called_when_the_first_bytes_are_here(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send("it begins")
            await client.writer.send(await reader.get())

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.part("Hello ")
        assert await peer.message() == "it begins"
        await peer.nothing()
        peer.part("World!", last=True)
        assert await peer.message() == "Hello World!"


@on_each_loop
async def test_it_is_called_during_a_frame(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send(await reader.read(3))
            await client.writer.send(await reader.get())

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        frame = masked(0x82, b"abcdef")
        peer.raw(frame[:10])
        assert await peer.message() == b"abc"
        peer.raw(frame[10:])
        assert await peer.message() == b"def"


@on_each_loop
async def test_messages_come_one_at_a_time_and_in_order(loop: Loop) -> None:
    may_go_on = loop.signal()
    story: list[str] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            name = str(await reader.get())
            story.append(f"{name} begins")
            if name == "1":
                await may_go_on.wait()
            else:
                await loop.checkpoint()
            story.append(f"{name} ends")
            await client.writer.send(name)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        for name in "123":
            peer.send(name)
        await peer.nothing()
        assert story == ["1 begins"]
        may_go_on.set()
        assert [await peer.message() for _ in range(3)] == ["1", "2", "3"]
        assert story == [f"{name} {what}" for name in "123" for what in ("begins", "ends")]


@on_each_loop
async def test_messages_of_one_read_come_in_order(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            for number in range(1000):
                peer.send(str(number))
        assert [await peer.message() for _ in range(1000)] == [str(n) for n in range(1000)]


@on_each_loop
async def test_concurrent_messages_overlap(loop: Loop) -> None:
    may_go_on = {name: loop.signal() for name in "1234"}
    running: set[str] = set()
    most = 0

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            nonlocal most
            name = str(await reader.get())
            running.add(name)
            most = max(most, len(running))
            await may_go_on[name].wait()
            running.discard(name)
            await client.writer.send(name)

    async with loop.serving(on_connection, concurrent_messages=3) as server:
        peer = await loop.connect(server)
        for name in "1234":
            peer.send(name)
        await peer.nothing()
        await loop.until(lambda: running == {"1", "2", "3"})
        may_go_on["2"].set()
        assert await peer.message() == "2"
        await loop.until(lambda: running == {"1", "3", "4"})
        for name in "431":
            may_go_on[name].set()
            assert await peer.message() == name
        assert most == 3


@on_memory
async def test_a_slow_callback_pushes_back_on_its_own_peer_only(loop: MemoryLoop) -> None:
    may_go_on = loop.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            if await reader.get() == "wait":
                await may_go_on.wait()
            await client.writer.send("done")

    async with loop.serving(on_connection, read_limit=1000) as server:
        slow, quick = await loop.connect(server), await loop.connect(server)
        slow.send("wait")
        await loop.settle()
        for _ in range(100):
            slow.send("x" * 5000)
            await loop.settle()
        # Some of it is not taken any more.
        assert slow.waiting() > 400_000
        quick.send("at once")
        assert await quick.message() == "done"
        may_go_on.set()
        for _ in range(101):
            assert await slow.message() == "done"


@on_memory
async def test_what_waits_is_bounded(loop: MemoryLoop) -> None:
    may_go_on = loop.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await may_go_on.wait()

    loop.runtime.chunk = 100
    async with loop.serving(on_connection, read_limit=10_000) as server:
        peer = await loop.connect(server)
        [client] = server.clients.values()
        for _ in range(10_000):
            peer.send("")  # 6 bytes, and much more in the bookkeeping
        await loop.settle()
        taken = 60_000 - peer.waiting()
        assert taken < 10_000 / 250 * 6 + 200
        assert client.state is State.OPEN
        may_go_on.set()
        await peer.nothing()


@on_each_loop
async def test_what_a_callback_leaves_unread_is_discarded(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send(await reader.read(2))

    async with loop.serving(on_connection, read_limit=1000) as server:
        peer = await loop.connect(server)
        for letter in (b"a", b"b", b"c"):
            peer.part(letter * 5)
            assert await peer.message() == letter * 2
            for _ in range(10):
                peer.part(letter * 2000)
            peer.part(letter, last=True)
        peer.send(b"whole")
        assert await peer.message() == b"wh"


@on_each_loop
async def test_a_callback_registered_late_is_given_what_waited(loop: Loop) -> None:
    may_register = loop.signal()

    async def on_connection(client: Client) -> None:
        await may_register.wait()
        await echo(client)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("early")
        peer.send(b"birds")
        await peer.nothing()
        may_register.set()
        assert [await peer.message(), await peer.message()] == ["early", b"birds"]


@on_each_loop
async def test_it_is_not_called_before_on_connection_suspends_or_ends(loop: Loop) -> None:
    story: list[str] = []
    may_register, may_end = loop.signal(), loop.signal()

    async def on_connection(client: Client) -> None:
        await may_register.wait()

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            story.append(str(await reader.get()))
            await client.writer.send("called")

        story.append("registered")
        story.append("still running")
        await may_end.wait()
        story.append("ended")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("message")
        await peer.nothing()
        may_register.set()
        assert await peer.message() == "called"
        assert story == ["registered", "still running", "message"]
        may_end.set()
        await loop.until(lambda: len(server.clients) == 1)


@on_memory
async def test_what_waits_for_a_callback_is_bounded(loop: MemoryLoop) -> None:
    may_register = loop.signal()

    async def on_connection(client: Client) -> None:
        await may_register.wait()
        await echo(client)

    async with loop.serving(on_connection, read_limit=1000) as server:
        peer = await loop.connect(server)
        for _ in range(20):
            peer.send("x" * 10_000)
            await loop.settle()
        assert peer.waiting() > 180_000
        may_register.set()
        for _ in range(20):
            assert await peer.message() == "x" * 10_000


@on_each_loop
async def test_the_rest_of_a_read_counts_while_the_callback_waits(loop: Loop) -> None:
    """Also where it has come to our own checkpoints before, on a loop that has them."""
    may_go_on = loop.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send(await reader.get())
            await may_go_on.wait()

    async with loop.serving(on_connection, read_limit=1000) as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        inbox = client._session.inbox
        with peer.in_one_write():
            for _ in range(3):
                peer.send("x" * 1000)
        assert await peer.message() == "x" * 1000
        assert 2 * 1000 < inbox.unread < 2 * 2000
        peer.ping(b"unread")
        may_go_on.set()
        for _ in range(2):
            assert await peer.message() == "x" * 1000
        assert (await peer.frame()).payload == b"unread"
        assert inbox.unread == 0


@on_each_loop
async def test_without_a_callback_messages_are_discarded_with_one_line(
    loop: Loop, log: Log
) -> None:
    async def on_connection(client: Client) -> None:
        """Registers nothing."""

    async with loop.serving(on_connection, read_limit=1000) as server:
        peer = await loop.connect(server)
        for _ in range(5):
            peer.send("x" * 2000)
            await peer.nothing()
        peer.part("begun")
        await peer.nothing()
        peer.part("x" * 5000)
        peer.part("ended", last=True)
        await peer.nothing()
        assert log.lines() == ["messages are discarded, because no on_message is registered"]


@on_each_loop
async def test_a_callback_registered_after_that_is_called(loop: Loop, log: Log) -> None:
    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        clients.append(client)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("lost")
        await peer.nothing()
        await echo(clients[0])
        peer.send("heard")
        assert await peer.message() == "heard"
        assert len(log.lines()) == 1


@pytest.mark.parametrize("in_one_read", [False, True])
@on_each_loop
async def test_a_callback_that_replaces_itself_is_given_no_more(
    loop: Loop, in_one_read: bool
) -> None:
    """First a name, then messages: how these fall into reads must not matter."""

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_name(reader: WebSocketReader) -> None:
            name = await reader.get(str)

            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                await client.writer.send(f"{name}: {await reader.get(str)}")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        if in_one_read:
            with peer.in_one_write():
                peer.send("ann")
                peer.send("hello")
        else:
            peer.send("ann")
            await peer.nothing()
            peer.send("hello")
        assert await peer.message() == "ann: hello"


# --- on_ping, on_pong


@on_each_loop
async def test_pings_are_answered(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        for payload in (b"", b"hello", b"\x00\xff" * 62):
            peer.ping(payload)
            assert await peer.frame() == Frame(FIN | PONG, payload)


@on_each_loop
async def test_pings_are_answered_while_a_callback_runs(loop: Loop) -> None:
    may_go_on = loop.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send("begun")
            await may_go_on.wait()
            await client.writer.send("done")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("")
        assert await peer.message() == "begun"
        peer.ping(b"alive?")
        assert await peer.frame() == Frame(FIN | PONG, b"alive?")
        peer.part("also within a message")
        peer.ping(b"still?")
        assert await peer.frame() == Frame(FIN | PONG, b"still?")
        may_go_on.set()
        assert await peer.message() == "done"


@on_each_loop
async def test_on_ping_replaces_the_automatic_pong(loop: Loop) -> None:
    reported: list[tuple[bytes, int]] = []

    async def on_connection(client: Client) -> None:
        @client.ping
        async def on_ping(payload: bytes, length: int) -> None:
            reported.append((payload, length))
            if payload != b"silence":
                await client.writer.pong(length, payload)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.ping(b"silence")
        await loop.until(lambda: reported)
        peer.ping(b"answer")
        assert await peer.frame() == Frame(FIN | PONG, b"answer")
        peer.ping()
        assert await peer.frame() == Frame(FIN | PONG, b"")
        assert reported == [(b"silence", 7), (b"answer", 6), (b"", 0)]


@on_each_loop
async def test_while_on_ping_runs_only_the_latest_waits(loop: Loop) -> None:
    may_go_on = loop.signal()
    reported: list[bytes] = []

    async def on_connection(client: Client) -> None:
        await echo(client)

        @client.ping
        async def on_ping(payload: bytes, length: int) -> None:
            reported.append(payload)
            await client.writer.pong(length, payload)
            if payload == b"1":
                await may_go_on.wait()

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.ping(b"1")
        await loop.until(lambda: reported)
        for payload in (b"2", b"3", b"4"):
            peer.ping(payload)
        peer.send("messages go on")
        assert await peer.frame() == Frame(FIN | PONG, b"1")
        assert await peer.message() == "messages go on"
        may_go_on.set()
        assert await peer.frame() == Frame(FIN | PONG, b"4")
        assert reported == [b"1", b"4"]


@on_memory
async def test_a_flood_of_pings_while_on_ping_runs_takes_no_memory(loop: MemoryLoop) -> None:
    may_go_on = loop.signal()
    reported = 0

    async def on_connection(client: Client) -> None:
        @client.ping
        async def on_ping(payload: bytes, length: int) -> None:
            nonlocal reported
            reported += 1
            await may_go_on.wait()

    async with loop.serving(on_connection, read_limit=1000) as server:
        peer = await loop.connect(server)
        for _ in range(5000):
            peer.ping(b"x" * 125)
        await loop.settle()
        assert peer.waiting() == 0
        may_go_on.set()
        await loop.settle()
        assert reported == 2


@on_each_loop
async def test_on_pong(loop: Loop) -> None:
    reported: list[tuple[bytes, int]] = []

    async def on_connection(client: Client) -> None:
        @client.pong
        async def on_pong(payload: bytes, length: int) -> None:
            reported.append((payload, length))

        await client.writer.ping(b"there?")
        await client.writer.ping(b"")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        for payload in (b"there?", b""):
            assert await peer.frame() == Frame(FIN | PING, payload)
            peer.pong(payload)
        peer.pong(b"unasked")
        await peer.nothing()
        assert reported == [(b"there?", 6), (b"", 0), (b"unasked", 7)]


@on_memory
async def test_pongs_that_wait_for_on_pong_push_back(loop: MemoryLoop) -> None:
    may_go_on = loop.signal()
    reported = 0

    async def on_connection(client: Client) -> None:
        @client.pong
        async def on_pong(payload: bytes, length: int) -> None:
            nonlocal reported
            reported += 1
            await may_go_on.wait()

    loop.runtime.chunk = 1000
    async with loop.serving(on_connection, read_limit=1000) as server:
        peer = await loop.connect(server)
        for _ in range(5000):
            peer.pong(b"x" * 125)
        await loop.settle()
        assert peer.waiting() > 600_000
        may_go_on.set()
        await peer.nothing()
        assert reported == 5000


@on_each_loop
async def test_without_on_pong_pongs_are_ignored(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        peer.pong(b"unasked")
        await peer.nothing()


# --- on_closed


async def tell(client: Client, reported: list[tuple[Any, str]]) -> None:
    """Register an on_closed that records its arguments."""

    @client.closed
    async def on_closed(code: int, reason: str) -> None:
        reported.append((code, reason))


def lose(peer: Peer) -> None:
    peer.reset()


def close(peer: Peer) -> None:
    peer.close(1000, "bye")


def close_without_a_code(peer: Peer) -> None:
    peer.close(None)


def close_privately(peer: Peer) -> None:
    peer.close(4000, "see you")


def half_close(peer: Peer) -> None:
    peer.end()


def violate(peer: Peer) -> None:
    peer.raw(masked(0x83))


def be_too_long(peer: Peer) -> None:
    peer.raw(masked(0x82, bytes(2**20 + 1))[:14])


def be_no_text(peer: Peer) -> None:
    peer.raw(masked(0x81, b"\xff"))


ENDS: list[tuple[Callable[[Peer], None], int, str, list[str]]] = [
    (lose, 1006, "the connection was lost", []),
    (close, 1000, "bye", []),
    (close_without_a_code, 1005, "", []),
    (close_privately, 4000, "see you", []),
    (half_close, 1006, "the peer disconnected without a Close", []),
    (violate, 1002, "unknown opcode 3", ["failed with 1002, unknown opcode 3"]),
    (
        be_too_long,
        1009,
        "a message is longer than 1048576 bytes",
        ["failed with 1009, a message is longer than 1048576 bytes"],
    ),
    (
        be_no_text,
        1007,
        "a text message is not valid UTF-8",
        ["failed with 1007, a text message is not valid UTF-8"],
    ),
]


@pytest.mark.parametrize(("end", "code", "reason", "lines"), ENDS)
@on_each_loop
async def test_on_closed_is_called_once_whatever_the_peer_does(
    loop: Loop, log: Log, end: Callable[[Peer], None], code: int, reason: str, lines: list[str]
) -> None:
    reported: list[tuple[Any, str]] = []

    async def on_connection(client: Client) -> None:
        await tell(client, reported)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        end(peer)
        await loop.until(lambda: reported)
        assert reported == [(code, reason)]
        if code != 1006 or end is half_close:
            frames = list(peer.frames)
            assert [frame.opcode for frame in frames] == ([] if code == 1006 else [CLOSE])
            peer.frames.clear()
    assert reported == [(code, reason)]
    assert log.lines() == lines


@on_each_loop
async def test_on_closed_when_we_close(loop: Loop) -> None:
    reported: list[tuple[Any, str]] = []

    async def on_connection(client: Client) -> None:
        await tell(client, reported)
        await client.close(1001, "off")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        assert await peer.closed() == (1001, "off")
        await loop.until(lambda: reported)
    assert reported == [
        (1001, "off")
    ]  # what the peer's Close said (RFC 6455 sections 7.1.5, 7.1.6)


@on_each_loop
async def test_codes_are_reasons_where_there_is_one(loop: Loop) -> None:
    reported: list[tuple[Any, str]] = []

    async def on_connection(client: Client) -> None:
        await tell(client, reported)

    async with loop.serving(on_connection) as server:
        for code in (1000, 3999):
            peer = await loop.connect(server)
            peer.close(code)
            await peer.closed()
        await loop.until(lambda: len(reported) == 2)
    assert [repr(code) for code, _ in reported] == ["<Reasons.NORMAL: 1000>", "3999"]


@on_each_loop
async def test_on_closed_does_not_wait_for_message_callbacks(loop: Loop) -> None:
    may_go_on = loop.signal()
    reported: list[tuple[Any, str]] = []
    ended: list[bool] = []

    async def on_connection(client: Client) -> None:
        await tell(client, reported)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send("begun")
            await may_go_on.wait()
            ended.append(True)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("")
        assert await peer.message() == "begun"
        peer.reset()
        await loop.until(lambda: reported)
        assert not ended
        may_go_on.set()
        await loop.until(lambda: ended)


@on_each_loop
async def test_on_closed_may_wait_itself_and_the_block_waits_for_it(loop: Loop) -> None:
    ended: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            for _ in range(5):
                await loop.checkpoint()
            ended.append(code)

    async with loop.serving(on_connection) as server:
        await loop.connect(server)
    assert ended == [1001]


@on_each_loop
async def test_on_closed_tells_the_others(loop: Loop, log: Log) -> None:
    """What a chat does: the client has left `clients`, and its own sends end the callback."""
    names = iter("abc")
    counts: list[int] = []

    async with loop.serving() as server:

        @server.connection
        async def on_connection(client: Client) -> None:
            name = next(names)

            @client.closed
            async def on_closed(code: int, reason: str) -> None:
                counts.append(len(server.clients))
                assert client not in server.clients.values()
                for other in server.clients.values():
                    await other.writer.send(f"{name} has left")
                await client.writer.send("never sent")
                pytest.fail("not reached")

        leaver, second, third = [await loop.connect(server) for _ in range(3)]
        await loop.until(lambda: len(server.clients) == 3)
        leaver.close()
        assert await leaver.closed() == (1000, "")
        assert [await peer.message() for peer in (second, third)] == ["a has left"] * 2
        second.reset()
        assert await third.message() == "b has left"
        assert counts == [2, 1]
        assert log.lines() == []


@on_each_loop
async def test_on_closed_registered_too_late_is_not_called(loop: Loop) -> None:
    may_register = loop.signal()
    reported: list[tuple[Any, str]] = []
    states: list[State] = []

    async def on_connection(client: Client) -> None:
        await may_register.wait()
        states.append(client.state)
        await tell(client, reported)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.close()
        await peer.closed()
        other = await loop.connect(server)
        await other.nothing()
        may_register.set()
        await loop.until(lambda: len(states) == 2)
        other.close()
        await other.closed()
        await loop.until(lambda: reported)
    assert set(states) == {State.CLOSED, State.OPEN}  # trio wakes in any order
    assert reported == [(1000, "")]


# --- Exceptions


@pytest.mark.parametrize("callback", ["connection", "message", "ping", "pong", "closed"])
@pytest.mark.parametrize("suspended", [False, True], ids=["at once", "later"])
@on_each_loop
async def test_an_exception_closes_that_client_with_1011_and_touches_nobody_else(
    loop: Loop, log: Log, callback: str, suspended: bool
) -> None:
    error = ZeroDivisionError("mine")
    reported: list[tuple[Any, str]] = []

    calls = 0

    async def fail(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if suspended:
            await loop.checkpoint()
        raise error

    async def on_connection(client: Client) -> None:
        if client.request.path == "/good":
            await echo(client)
            return
        await tell(client, reported)
        if callback == "connection":
            await fail()
        else:
            getattr(client, callback)(fail)

    async with loop.serving(on_connection) as server:
        good = await loop.connect(server, target="/good")
        bad = await loop.connect(server)
        code = 1011
        if callback == "message":
            with bad.in_one_write():
                bad.send("")
                bad.send("what follows is not delivered")
        elif callback == "ping":
            bad.ping()
        elif callback == "pong":
            bad.pong()
        elif callback == "closed":
            bad.close()
            code = 1000
        assert await bad.closed() == (code, "")
        good.send("undisturbed")
        assert await good.message() == "undisturbed"
        await loop.until(lambda: callback == "closed" or reported)
        await loop.until(lambda: log.records)
        assert log.tracebacks() == [(f"on_{callback} raised", error)]
        assert reported == ([] if callback == "closed" else [(1011, "")])
        assert calls == 1


@on_each_loop
async def test_what_comes_after_an_exception_is_not_delivered(loop: Loop, log: Log) -> None:
    """The peer has not seen our Close yet, and goes on."""
    calls = 0

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            nonlocal calls
            calls += 1
            raise KeyError

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.answers_close = False
        peer.send("first")
        assert (await peer.frame()).opcode == CLOSE
        peer.send("second")
        peer.part("third")
        peer.acknowledge()
        await peer.eof()
        assert calls == 1
        assert len(log.tracebacks()) == 1


@on_each_loop
async def test_an_exception_after_the_peers_close_is_logged_too(loop: Loop, log: Log) -> None:
    may_go_on = loop.signal()
    error = ZeroDivisionError("mine")

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await may_go_on.wait()
            raise error

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("")
        peer.close()
        await loop.until(lambda: server.clients == {})
        may_go_on.set()
        assert await peer.closed() == (1011, "")
        assert log.tracebacks() == [("on_message raised", error)]


def group(*errors: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("of a task group", errors)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("callback", ["message", "ping", "pong", "connection"])
@on_each_loop
async def test_connection_closed_about_its_own_client_just_ends_the_callback(
    loop: Loop, log: Log, grouped: bool, callback: str
) -> None:
    ended: list[bool] = []
    begun: list[bool] = []

    async def on_connection(client: Client) -> None:
        async def work(*arguments: object) -> None:
            begun.append(True)
            try:
                while True:
                    await client.writer.send("more")
                    await loop.checkpoint()
            except ConnectionClosed as closed:
                ended.append(closed.client is client)
                if grouped:
                    raise group(closed, group(closed)) from None
                raise

        if callback == "connection":
            await work()
        else:
            getattr(client, callback)(work)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        if callback != "connection":
            peer.raw(masked({"message": 0x82, "ping": 0x89, "pong": 0x8A}[callback]))
        await loop.until(lambda: begun)
        peer.reset()
        await loop.until(lambda: ended)
        assert ended == [True]
        assert log.lines() == []


@pytest.mark.parametrize("grouped", [False, True])
@on_each_loop
async def test_connection_closed_about_another_client_closes_nobody(
    loop: Loop, log: Log, grouped: bool
) -> None:
    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        clients.append(client)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            try:
                await clients[0].writer.send(await reader.get())
            except ConnectionClosed as closed:
                if grouped:
                    raise group(closed) from None
                raise

    async with loop.serving(on_connection) as server:
        gone, staying = await loop.connect(server), await loop.connect(server)
        gone.close(1000, "bye")
        await gone.closed()
        staying.send("x")
        await staying.nothing()
        assert log.lines() == [
            "on_message ended because another client is closed: 1000 (normal closure): bye"
        ]


@on_each_loop
async def test_a_peers_reason_forges_no_log_line(loop: Loop, log: Log) -> None:
    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        clients.append(client)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await clients[0].writer.send(await reader.get())

    async with loop.serving(on_connection) as server:
        gone, staying = await loop.connect(server), await loop.connect(server)
        gone.close(1000, "bye\n#1 127.0.0.1:1: forged\x1b[2J\u2028")
        await gone.closed()
        staying.send("x")
        await staying.nothing()
        assert log.lines() == [
            "on_message ended because another client is closed:"
            r" 1000 (normal closure): bye\n#1 127.0.0.1:1: forged\x1b[2J\u2028"
        ]


@on_each_loop
async def test_a_group_with_anything_else_in_it_is_an_exception(loop: Loop, log: Log) -> None:
    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        clients.append(client)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            try:
                await clients[0].writer.send("")
            except ConnectionClosed as closed:
                raise group(closed, KeyError()) from None

    async with loop.serving(on_connection) as server:
        gone, peer = await loop.connect(server), await loop.connect(server)
        gone.close()
        await gone.closed()
        peer.send("x")
        assert await peer.closed() == (1011, "")
        assert len(log.tracebacks()) == 1


@on_each_loop
async def test_on_connection_ended_by_another_client_leaves_its_own_open(
    loop: Loop, log: Log
) -> None:
    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        clients.append(client)
        if len(clients) == 2:
            await clients[0].writer.send("too late")

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            """Is not registered for the second one."""

    async with loop.serving(on_connection) as server:
        gone = await loop.connect(server)
        gone.close()
        await gone.closed()
        peer = await loop.connect(server)
        await loop.until(lambda: len(server.clients) == 1)
        peer.send("nobody hears this")
        await peer.nothing()
        assert log.lines() == [
            "on_connection ended because another client is closed: 1000 (normal closure)",
            "messages are discarded, because no on_message is registered",
        ]


@on_each_loop
async def test_when_a_connection_ends_callbacks_are_not_cancelled(loop: Loop) -> None:
    may_go_on = loop.signal()
    story: list[str] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await may_go_on.wait()
            story.append("went on")
            for call in (
                lambda: reader.get(),
                lambda: client.writer.send("x"),
                lambda: client.writer.ping(),
                lambda: client.writer.pong(0, b""),
            ):
                try:
                    await call()
                except ConnectionClosed as closed:
                    story.append(f"{closed.code:d}")
            await client.close()
            story.append("closed")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.part("begun")
        await peer.nothing()
        peer.reset()
        await loop.until(lambda: not server.clients)
        may_go_on.set()
        await loop.until(lambda: len(story) == 6)
        assert story == ["went on", "1006", "1006", "1006", "1006", "closed"]


@on_sockets
async def test_nothing_is_kept_of_a_client_that_is_gone(loop: Loop) -> None:
    kept: list[weakref.ref[Any]] = []

    async def on_connection(client: Client) -> None:
        kept.append(weakref.ref(client))
        await echo(client)

    async with loop.serving(on_connection) as server:
        for end in (Peer.close, Peer.reset, Peer.end):
            peer = await loop.connect(server)
            peer.send("x")
            assert await peer.message() == "x"
            end(peer)
            await loop.until(lambda: not server._acceptor._sessions)

        def gone() -> bool:
            gc.collect()
            return [reference() for reference in kept] == [None] * 3

        await loop.until(gone)  # tasks of theirs may be about to end


# --- latency


@on_memory
async def test_latency_is_that_of_the_last_keepalive_ping(loop: MemoryLoop) -> None:
    async with loop.serving(echo, timeout=10) as server:
        peer = await loop.connect(server)
        [client] = server.clients.values()
        assert client.latency is None
        for seconds in (1.5, 0.5):
            await loop.advance(5)
            frame = await peer.frame()
            assert frame.opcode == PING
            await loop.advance(seconds)
            peer.pong(frame.payload)
            await loop.settle()
            assert client.latency == pytest.approx(seconds)


# --- max_message_size of one client


@on_each_loop
async def test_max_message_size_of_one_client(loop: Loop, log: Log) -> None:
    async def on_connection(client: Client) -> None:
        if client.request.path == "/trusted":
            client.max_message_size = 3000
        await echo(client)

    async with loop.serving(on_connection, max_message_size=1000) as server:
        trusted = await loop.connect(server, target="/trusted")
        anybody = await loop.connect(server)
        for peer in (trusted, anybody):
            peer.send("x" * 1000)
            assert await peer.message() == "x" * 1000
        trusted.send("x" * 3000)
        assert await trusted.message() == "x" * 3000
        anybody.send("x" * 1001)
        assert await anybody.closed() == (1009, "a message is longer than 1000 bytes")
        trusted.send("x" * 3001)
        assert await trusted.closed() == (1009, "a message is longer than 3000 bytes")
        assert len(log.lines()) == 2


@on_each_loop
async def test_it_holds_for_what_came_with_the_request_too(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        client.max_message_size = 3000
        await echo(client)

    async with loop.serving(on_connection, max_message_size=1000) as server:
        peer = await loop.dial(server)
        with peer.in_one_write():
            peer.handshake()
            peer.raw(masked(0x82, b"x" * 3000))
        assert await peer.message() == b"x" * 3000


@pytest.mark.parametrize("size", [-1, 1.5, "1"])
@on_each_loop
async def test_a_mistaken_max_message_size_raises(loop: Loop, size: Any) -> None:
    async with loop.serving(echo) as server:
        await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        with pytest.raises(ValueError, match="max_message_size"):
            client.max_message_size = size
        assert client.max_message_size == 2**20
