"""Closing: from either side, in order, from anywhere, and how long each step may take."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from test_writer import only_client

from kit.frames import CLOSE, FIN, PING, PONG, Frame, masked
from kit.jobs import Job
from kit.log import Log
from kit.loops import Loop, MemoryLoop, echo, on_each_loop, on_memory, state_of
from kit.peer import Peer
from wscore import Reasons, State
from wstransports import Client, ConnectionClosed, WebSocketReader, WebSocketServer

# --- A close takes effect in order


@pytest.mark.parametrize("end", [lambda peer: peer.close(), lambda peer: peer.raw(masked(0x83))])
@on_each_loop
async def test_answers_to_earlier_messages_of_the_same_read_go_out_before(
    loop: Loop, log: Log, end: Callable[[Peer], None]
) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            for number in range(300):
                peer.send(str(number))
            end(peer)
        assert [await peer.message() for _ in range(300)] == [str(n) for n in range(300)]
        code, _ = await peer.closed()
        assert code in (1000, 1002)
        assert len(log.lines()) == (code == 1002)


@on_each_loop
async def test_after_our_close_no_message_is_missing_between_others(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading does not pause then, for the peer's Close must be read."""
    caplog.set_level(logging.INFO, "wstransports")
    got: list[str] = []
    go_on = loop.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            got.append((await reader.get(str))[:1])
            await go_on.wait()

    async with loop.serving(on_connection, read_limit=3000) as server:
        peer = await loop.connect(server)
        peer.answers_close = False
        client = await only_client(loop, server)
        closing = loop.spawn(client.close())
        assert (await peer.frame()).opcode == CLOSE
        peer.send("0")
        await loop.until(lambda: got)
        for number in range(1, 6):
            peer.send(str(number) * 1000)
        peer.part("6")
        await loop.until(lambda: "messages after our Close are discarded" in caplog.text)
        await peer.nothing()
        go_on.set()
        await loop.until(lambda: len(got) == 4)
        peer.part("", last=True)
        peer.send("7")
        peer.acknowledge()
        await closing.wait()
        await peer.eof()
    assert got == ["0", "1", "2", "3"]
    assert caplog.text.count("are discarded") == 1


@pytest.mark.parametrize("concurrent", [1, 2])
@on_memory
async def test_also_where_the_answers_take_their_time(loop: MemoryLoop, concurrent: int) -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            message = await reader.get()
            await loop.runtime.sleep(2)
            await client.writer.send(message)

    async with loop.serving(on_connection, concurrent_messages=concurrent) as server:
        peer = await loop.connect(server)
        [client] = server.clients.values()
        with peer.in_one_write():
            for number in range(4):
                peer.send(str(number))
            peer.close()
        await loop.settle()
        assert state_of(client) is State.CLOSING
        assert not server.clients
        await loop.advance(8 / concurrent - 0.1)
        assert not peer.at_eof
        await loop.advance(0.2)
        assert [await peer.message() for _ in range(4)] == ["0", "1", "2", "3"]
        assert await peer.closed() == (1000, "")
        assert state_of(client) is State.CLOSED


@on_memory
async def test_at_most_close_timeout_later(loop: MemoryLoop) -> None:
    sent: list[Any] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await loop.runtime.sleep(2)
            await client.writer.send("in time")
            await loop.runtime.sleep(2)
            with pytest.raises(ConnectionClosed) as caught:
                await client.writer.send("too late")
            sent.append((loop.now(), caught.value.code, caught.value.client is client))

    async with loop.serving(on_connection, close_timeout=3) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            peer.send("")
            peer.close(1000, "bye")
        await loop.advance(2.9)
        assert await peer.message() == "in time"
        assert not peer.at_eof
        await loop.advance(0.2)
        assert await peer.closed() == (1000, "bye")
        await loop.advance(1)
        assert sent == [(4, 1000, True)]


@on_each_loop
async def test_state_is_closing_at_once_and_sends_still_work(loop: Loop) -> None:
    may_go_on = loop.signal()
    states: list[State] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            states.append(client.state)
            await may_go_on.wait()
            states.append(client.state)
            assert not client.writer.closed
            await client.writer.send("by send")
            async with client.writer.fragment() as stream:
                await stream.send("by ")
                await stream.send("fragment")
            await client.writer.feed(["by ", "feed"])
            await client.writer.ping(b"ping")
            states.append(client.state)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        peer.send("")
        await peer.nothing()
        peer.close()
        await loop.until(lambda: state_of(client) is State.CLOSING)
        may_go_on.set()
        for answer in ("by send", "by fragment", "by feed"):
            assert await peer.message() == answer
        assert await peer.frame() == Frame(FIN | PING, b"ping")
        assert await peer.closed() == (1000, "")
        assert states == [State.OPEN, State.CLOSING, State.CLOSING]


@on_each_loop
async def test_once_our_close_is_sent_everything_raises_but_pong(loop: Loop) -> None:
    raised: list[str] = []

    async def on_connection(client: Client) -> None:
        writer = client.writer
        await writer.send("last")

        async def by_fragment() -> None:
            async with writer.fragment() as stream:
                await stream.send("x")

        closing = loop.spawn(client.close(4000, "done"))
        await loop.until(lambda: writer.closed)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "send": lambda: writer.send("x"),
            "send with force": lambda: writer.send("x", force=True),
            "ping": lambda: writer.ping(),
            "fragment": by_fragment,
            "feed": lambda: writer.feed(["x"]),
        }
        for name, call in calls.items():
            with pytest.raises(ConnectionClosed) as caught:
                await call()
            assert caught.value.client is client
            assert (caught.value.code, caught.value.reason) == (4000, "done")
            raised.append(name)
        await closing.wait()

    async with loop.serving(on_connection) as server:
        peer = await loop.dial(server)
        peer.answers_close = False  # for what it answers counts from then on
        peer.handshake()
        assert await peer.message() == "last"
        assert await peer.frame() == Frame(FIN | CLOSE, (4000).to_bytes(2) + b"done")
        await loop.until(lambda: len(raised) == 5)
        peer.acknowledge()
        await peer.eof()


async def close_unanswered(loop: Loop, server: WebSocketServer) -> tuple[Peer, Client, Job[None]]:
    """Begin to close a client that got "ready"; its peer has our Close, and does not answer it."""
    peer = await loop.connect(server)
    peer.answers_close = False
    assert await peer.message() == "ready"
    await loop.until(lambda: server.clients)
    [client] = server.clients.values()
    closing = loop.spawn(client.close())
    assert (await peer.frame()).opcode == CLOSE
    return peer, client, closing


@on_each_loop
async def test_messages_after_our_close_are_still_delivered(loop: Loop) -> None:
    """They were on their way when the peer had not seen it yet (RFC 6455 section 1.4)."""
    got: list[Any] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            got.append(await reader.get())

        await client.writer.send("ready")

    async with loop.serving(on_connection) as server:
        peer, _, closing = await close_unanswered(loop, server)
        peer.send("one more")
        peer.acknowledge()
        await closing.wait()
        assert got == ["one more"]


@pytest.mark.parametrize("answered_by", ["us", "on_ping"])
@on_each_loop
async def test_a_ping_after_our_close_is_answered(loop: Loop, answered_by: str) -> None:
    """RFC 6455 section 5.5.2: unless a Close was received."""

    async def on_connection(client: Client) -> None:
        if answered_by == "on_ping":

            @client.ping
            async def on_ping(payload: bytes, length: int) -> None:
                await client.writer.pong(length, payload)
                if payload == b"last":
                    with pytest.raises(ConnectionClosed):
                        await client.writer.ping(payload)

        await client.writer.send("ready")

    async with loop.serving(on_connection) as server:
        peer, client, closing = await close_unanswered(loop, server)
        for payload in (b"first", b"last"):
            peer.ping(payload)
            assert await peer.frame() == Frame(FIN | PONG, payload)
        with peer.in_one_write():
            peer.ping(b"and a Close")
            peer.acknowledge()
        if answered_by == "us":  # a callback may be too late
            assert await peer.frame() == Frame(FIN | PONG, b"and a Close")
        await closing.wait()
        peer.frames.clear()
        await peer.eof()
        with pytest.raises(ConnectionClosed):
            await client.writer.pong(0, b"")


@pytest.mark.parametrize(("code", "reason"), [(1001, "bye"), (4321, "caf\u00e9"), (None, "")])
@on_each_loop
async def test_our_answer_echoes_code_and_reason(loop: Loop, code: int | None, reason: str) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        peer.close(code, reason)
        assert await peer.closed() == (code or 1005, reason)


# --- client.close


@on_memory
async def test_close_waits_for_the_closing_handshake(loop: MemoryLoop) -> None:
    async with loop.serving(echo, close_timeout=5) as server:
        peer = await loop.connect(server)
        peer.answers_close = False
        [client] = server.clients.values()
        closing = loop.spawn(client.close(1001, "for today"))
        await loop.advance(4)
        assert await peer.frame() == Frame(FIN | CLOSE, b"\x03\xe9for today")
        assert not closing.done
        assert state_of(client) is State.CLOSING
        assert not server.clients
        peer.acknowledge()
        await loop.settle()
        assert closing.done
        assert state_of(client) is State.CLOSED


@on_memory
async def test_but_at_most_close_timeout(loop: MemoryLoop) -> None:
    reported: list[tuple[int, str]] = []

    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            reported.append((code, reason))

    async with loop.serving(on_connection, close_timeout=5) as server:
        peer = await loop.connect(server)
        peer.answers_close = False
        [client] = server.clients.values()
        closing = loop.spawn(client.close())
        await loop.advance(4.9)
        assert not closing.done
        await loop.advance(0.2)
        assert closing.done
        assert peer.lost
        assert reported == [(1006, "the Close was not answered within 5 s")]


@on_memory
async def test_a_peer_that_closes_and_stays_is_dropped(loop: MemoryLoop) -> None:
    """RFC 6455 section 7.1.1: the server ends the stream, and does not wait for ever."""
    async with loop.serving(echo, close_timeout=5) as server:
        peer = await loop.connect(server)
        peer.answers_eof = False
        [client] = server.clients.values()
        peer.close()
        assert await peer.closed() == (1000, "")
        await loop.advance(4.9)
        assert not peer.lost
        await loop.advance(0.2)
        assert peer.lost
        assert state_of(client) is State.CLOSED


@on_each_loop
async def test_what_a_peer_sends_after_its_close_is_dropped(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            peer.close()
            peer.raw(masked(0x81, b"after the Close") + b"and garbage" * 1000)
        assert await peer.closed() == (1000, "")


@on_each_loop
async def test_close_from_a_message_callback(loop: Loop) -> None:
    story: list[str] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            story.append(str(await reader.get()))
            await client.close(4000, "enough")
            story.append(client.state.name)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            peer.send("1")
            peer.send("2")
        assert await peer.closed() == (4000, "enough")
        await loop.until(lambda: len(story) == 4)
        assert story == ["1", "CLOSED", "2", "CLOSED"]


@pytest.mark.parametrize("callback", ["ping", "pong", "closed", "connection"])
@on_each_loop
async def test_close_from_every_other_callback(loop: Loop, callback: str) -> None:
    story: list[State] = []

    async def on_connection(client: Client) -> None:
        async def close(*arguments: object) -> None:
            await client.close()
            story.append(client.state)

        if callback == "connection":
            await close()
        else:
            getattr(client, callback)(close)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        if callback == "closed":
            peer.close()
        elif callback != "connection":
            peer.raw(masked({"ping": 0x89, "pong": 0x8A}[callback]))
        assert await peer.closed() == (1000, "")
        await loop.until(lambda: story)
        assert story == [State.CLOSED]


@on_memory
async def test_close_from_a_callback_while_the_backlog_is_full(loop: MemoryLoop) -> None:
    """Reading was paused, and the peer's answer must be seen all the same."""
    story: list[float] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            if not story:
                await loop.runtime.sleep(1)
                await client.close()
                story.append(loop.now())

    async with loop.serving(on_connection, read_limit=1000) as server:
        peer = await loop.connect(server)
        for _ in range(100):
            peer.send("x" * 10_000)
        await loop.settle()
        assert peer.waiting() > 500_000
        await loop.advance(1)
        assert await peer.closed() == (1000, "")
        await loop.settle()
        assert story == [1]


@on_each_loop
async def test_close_twice_and_from_two_tasks(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        first = loop.spawn(client.close(4001, "first"))
        second = loop.spawn(client.close(4002, "second"))
        await first.wait()
        await second.wait()
        await client.close(4003, "third")
        assert await peer.closed() == (4001, "first")


@on_each_loop
async def test_close_simultaneously_with_the_peers(loop: Loop) -> None:
    reported: list[tuple[int, str]] = []

    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            reported.append((code, reason))

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        peer.close(4001, "mine")
        await client.close(4002, "yours")
        code = await peer.closed()
        # Whether the peer's was here before ours was sent depends on the loop.
        assert code in ((4001, ""), (4002, "yours"))
        await loop.until(lambda: reported)
        assert reported == [(4001, "mine")]


@on_each_loop
async def test_close_in_our_own_words_after_the_peers(loop: Loop) -> None:
    may_go_on = loop.signal()
    reported: list[tuple[int, str]] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await may_go_on.wait()
            await client.close(4002, "I know")

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            reported.append((code, reason))

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("")
        peer.close(4001, "bye")
        await loop.until(lambda: not server.clients)
        may_go_on.set()
        assert await peer.closed() == (4002, "I know")
        await loop.until(lambda: reported)
        assert reported == [(4001, "bye")]


@on_each_loop
async def test_writer_close_is_the_same(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        await client.writer.close(Reasons.POLICY_VIOLATION, "no")
        assert state_of(client) is State.CLOSED
        assert await peer.closed() == (1008, "no")


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (1005, "", ValueError),
        (1006, "", ValueError),
        (1015, "", ValueError),
        (1004, "", ValueError),
        (999, "", ValueError),
        (5000, "", ValueError),
        (2999, "", ValueError),
        ("1000", "", ValueError),
        (1000, "x" * 124, ValueError),
        (1000, "é" * 62, ValueError),
        (1000, b"bytes", TypeError),
        (1000, 5, TypeError),
    ],
)
@on_each_loop
async def test_a_mistaken_code_or_reason_raises_and_closes_nothing(
    loop: Loop, code: Any, reason: Any, error: type[Exception]
) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        for call in (client.close, client.writer.close):
            with pytest.raises(error):
                await call(code, reason)
        with pytest.raises(error):
            await server.disconnect_client(client, code, reason)
        assert state_of(client) is State.OPEN
        peer.send("undisturbed")
        assert await peer.message() == "undisturbed"


@on_each_loop
async def test_the_longest_reason(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        await client.close(1000, "é" * 61 + "x")
        assert await peer.closed() == (1000, "é" * 61 + "x")


@on_each_loop
async def test_a_cancelled_close_has_sent_its_close_all_the_same(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        peer.answers_close = False
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        closing = loop.spawn(client.close())
        assert (await peer.frame()).opcode == CLOSE
        closing.cancel()
        with pytest.raises(loop.cancelled):
            await closing.wait()
        peer.acknowledge()
        await loop.until(lambda: state_of(client) is State.CLOSED)
        await client.close()


@on_memory
async def test_close_of_a_peer_that_reads_nothing(loop: MemoryLoop) -> None:
    async with loop.serving(echo, close_timeout=5, timeout=0) as server:
        peer = await loop.connect(server)
        [client] = server.clients.values()
        peer.stop_reading()
        sending = loop.spawn(client.writer.send(b"x" * 500_000))
        await loop.settle()
        assert not sending.done
        closing = loop.spawn(client.close())
        await loop.advance(4.9)
        assert not closing.done
        await loop.advance(0.2)
        assert closing.done
        with pytest.raises(ConnectionClosed):
            await sending.wait()


@on_each_loop
async def test_messages_that_wait_hold_the_answer_until_a_callback_has_had_them(
    loop: Loop,
) -> None:
    may_register = loop.signal()

    async def on_connection(client: Client) -> None:
        await may_register.wait()
        await echo(client)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("early")
        peer.close()
        await loop.checkpoint()
        may_register.set()
        assert await peer.message() == "early"
        assert await peer.closed() == (1000, "")


@on_each_loop
async def test_a_half_closed_peer_still_gets_its_answers(loop: Loop) -> None:
    may_go_on = loop.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            message = await reader.get()
            await may_go_on.wait()
            await client.writer.send(message)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("and now?")
        peer.end()
        await loop.until(lambda: not server.clients)
        may_go_on.set()
        assert await peer.message() == "and now?"
        await peer.eof()  # without a Close: nobody would answer it


@on_memory
async def test_without_close_timeout_there_is_all_the_time(loop: MemoryLoop) -> None:
    async with loop.serving(echo, close_timeout=0) as server:
        peer = await loop.connect(server)
        peer.answers_close = False
        [client] = server.clients.values()
        closing = loop.spawn(client.close())
        await loop.advance(100_000)
        assert not closing.done
        assert (await peer.frame()).opcode == CLOSE
        peer.acknowledge()
        await closing.wait()


# --- What the client says of it afterwards


@pytest.mark.parametrize(
    ("end", "code", "reason"),
    [
        (lambda peer: peer.close(4000, "enough"), 4000, "enough"),
        (lambda peer: peer.close(), Reasons.NORMAL, ""),
        (lambda peer: peer.close(None), Reasons.NO_STATUS, ""),
        (Peer.reset, Reasons.ABNORMAL_CLOSE, None),
    ],
)
@on_each_loop
async def test_close_code_and_reason_are_those_of_on_closed(
    loop: Loop, end: Callable[[Peer], None], code: int, reason: str | None
) -> None:
    ended: list[tuple[int, str]] = []

    async def on_connection(client: Client) -> None:
        await echo(client)

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            ended.append((code, reason))

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        assert (client.close_code, client.close_reason) == (None, None)
        end(peer)
        await loop.until(lambda: ended)
        assert (client.close_code, client.close_reason) == ended[0]
        assert ended[0][0] == code
        if reason is not None:  # of a lost connection it depends on what the loop sees first
            assert ended[0][1] == reason
        peer.frames.clear()


@on_memory
async def test_there_is_no_close_code_before_the_close_is_complete(loop: MemoryLoop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        peer.answers_close = False
        [client] = server.clients.values()
        closing = loop.spawn(client.close(4001, "first"))
        await loop.settle()
        assert state_of(client) is State.CLOSING
        assert (client.close_code, client.close_reason) == (None, None)
        await peer.frame()
        peer.acknowledge()
        await closing.wait()
        assert (client.close_code, client.close_reason) == (4001, "first")
