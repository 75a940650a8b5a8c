"""`client.receive()` and `async for message in client`: messages in a loop of the user's own."""

import asyncio
from collections.abc import Callable
from typing import Any, assert_type

import pytest
from test_writer import only_client

from kit.frames import FIN, PONG, Frame, masked
from kit.log import Log
from kit.loops import AsyncioLoop, Loop, MemoryLoop, on, on_asyncio, on_each_loop, on_memory
from kit.peer import Peer
from wscore import DataType, Reasons, State
from wstransports import Client, ConnectionClosed, WebSocketReader
from wstransports.receiving import inbox
from wstransports.runtime import Runtime


async def echo_loop(client: Client) -> None:
    """An on_connection that answers in a loop."""
    async for message in client:
        await client.writer.send(message)


@on_each_loop
async def test_receive_gives_whole_messages(loop: Loop) -> None:
    got: list[str | bytes] = []

    async def on_connection(client: Client) -> None:
        for _ in range(4):
            got.append(await client.receive())
        await client.writer.send("thanks")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("text")
        peer.send(b"binary")
        peer.part("in ")
        peer.ping(b"between")
        assert await peer.frame() == Frame(FIN | PONG, b"between")
        peer.part("parts", last=True)
        peer.send("")
        assert await peer.message() == "thanks"
        assert got == ["text", b"binary", "in parts", ""]


@on_each_loop
async def test_async_for_answers_in_order(loop: Loop) -> None:
    async with loop.serving(echo_loop) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            for number in range(1000):
                peer.send(str(number))
        assert [await peer.message() for _ in range(1000)] == [str(n) for n in range(1000)]
        peer.close(1000, "enough")
        assert await peer.closed() == (1000, "enough")


@on_each_loop
async def test_answers_to_messages_before_a_close_go_out_before_it(loop: Loop) -> None:
    async with loop.serving(echo_loop) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            for number in range(3):
                peer.send(str(number))
            peer.close()
        assert [await peer.message() for _ in range(3)] == ["0", "1", "2"]
        assert await peer.closed() == (1000, "")


@on_each_loop
async def test_also_where_each_answer_takes_its_time(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        async for message in client:
            for _ in range(3):
                await loop.checkpoint()
            await client.writer.send(message)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            for number in range(3):
                peer.send(str(number))
            peer.close()
        assert [await peer.message() for _ in range(3)] == ["0", "1", "2"]
        assert await peer.closed() == (1000, "")


def close_after(peer: Peer) -> None:
    peer.close()


def violate_after(peer: Peer) -> None:
    peer.raw(masked(0x83))


def violate_during_a_message(peer: Peer) -> None:
    peer.raw(masked(0x01, b"begun") + masked(0x83))


def leave_during_a_message(peer: Peer) -> None:
    peer.raw(masked(0x01, b"begun"))
    peer.end()


@pytest.mark.parametrize(
    "end", [close_after, violate_after, violate_during_a_message, leave_during_a_message]
)
@pytest.mark.parametrize("own_task", [False, True], ids=["in on_connection", "in its own task"])
@on_memory
async def test_the_close_is_answered_when_the_loop_is_done_not_at_close_timeout(
    loop: MemoryLoop, log: Log, end: Callable[[Peer], None], own_task: bool
) -> None:
    ended: list[int] = []

    async def work(client: Client) -> None:
        try:
            while True:
                await client.writer.send(await client.receive())
        except ConnectionClosed as closed:
            ended.append(closed.code)

    async def on_connection(client: Client) -> None:
        if own_task:
            loop.spawn(work(client))
            await loop.checkpoint()
        else:
            await work(client)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            peer.send("answer me")
            end(peer)
        assert await peer.message() == "answer me"
        await loop.settle()  # and no second passes
        assert peer.lost
        assert ended
        log.lines()


@on_each_loop
async def test_it_waits_for_the_rest_of_a_message(loop: Loop) -> None:
    async with loop.serving(echo_loop) as server:
        peer = await loop.connect(server)
        peer.part("Hello ")
        await peer.nothing()
        peer.part("World!", last=True)
        assert await peer.message() == "Hello World!"


@pytest.mark.parametrize("code", [1000, 1001, None])
@on_each_loop
async def test_async_for_ends_where_the_peer_closes_in_good_order(
    loop: Loop, code: int | None
) -> None:
    ended: list[State] = []

    async def on_connection(client: Client) -> None:
        async for message in client:
            await client.writer.send(message)
        ended.append(client.state)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("one")
        assert await peer.message() == "one"
        peer.close(code)
        assert await peer.closed() == (code or 1005, "")
        assert ended


@pytest.mark.parametrize("end", [Peer.reset, Peer.end, lambda peer: peer.close(4000)])
@on_each_loop
async def test_async_for_raises_where_it_ends_otherwise(
    loop: Loop, end: Callable[[Peer], None]
) -> None:
    ended: list[int] = []

    async def on_connection(client: Client) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            async for _ in client:
                pass
        ended.append(caught.value.code)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        end(peer)
        await loop.until(lambda: ended)
        assert ended[0] in (1006, 4000)
        peer.frames.clear()


@on_each_loop
async def test_after_the_end_it_raises_every_time(loop: Loop) -> None:
    codes: list[int] = []

    async def on_connection(client: Client) -> None:
        for _ in range(3):
            with pytest.raises(ConnectionClosed) as caught:
                await client.receive()
            codes.append(caught.value.code)
        async for _ in client:
            codes.append(-1)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.close()
        assert await peer.closed() == (1000, "")
        await loop.until(lambda: codes)
        assert codes == [1000] * 3


@on_each_loop
async def test_messages_that_came_before_the_end_are_still_given(loop: Loop) -> None:
    may_begin = loop.signal()
    got: list[Any] = []

    async def on_connection(client: Client) -> None:
        await may_begin.wait()
        async for message in client:
            got.append(message)
        got.append("end")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("1")
        peer.send("2")
        peer.close()
        await loop.checkpoint()
        may_begin.set()
        assert await peer.closed() == (1000, "")
        assert got == ["1", "2", "end"]


@on_each_loop
async def test_a_cancelled_receive_loses_nothing(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        # Before anything came, and within a message.
        for part in (None, "one, ", "two, "):
            if part is not None:
                peer.part(part)
            await loop.checkpoint()
            receiving = loop.spawn(client.receive())
            await peer.nothing()
            receiving.cancel()
            with pytest.raises(loop.cancelled):
                await receiving.wait()
        peer.part("three", last=True)
        assert await client.receive() == "one, two, three"
        # A message is here, and the task is cancelled before it ran on.
        receiving = loop.spawn(client.receive())
        await peer.nothing()
        peer.send("four")
        receiving.cancel()
        with pytest.raises(loop.cancelled):
            await receiving.wait()
        assert await client.receive() == "four"


@on_asyncio
async def test_a_timeout_around_receive(loop: AsyncioLoop) -> None:
    async def on_connection(client: Client) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await client.receive()
        await client.writer.send("nothing came")
        await client.writer.send(await client.receive())

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        assert await peer.message() == "nothing came"
        peer.send("late")
        assert await peer.message() == "late"


@on_each_loop
async def test_receive_and_a_callback_exclude_each_other(loop: Loop) -> None:
    tried: list[str] = []

    async def on_message(reader: WebSocketReader) -> None:
        """Is never called."""

    async def on_connection(client: Client) -> None:
        if client.request.path == "/callback":
            client.message(on_message)
            with pytest.raises(RuntimeError, match="receive"):
                await client.receive()
            with pytest.raises(RuntimeError, match="receive"):
                async for _ in client:
                    pass
            tried.append("callback")
        else:
            await client.receive()
            with pytest.raises(RuntimeError, match="callback"):
                client.message(on_message)
            tried.append("receive")

    async with loop.serving(on_connection) as server:
        await loop.connect(server, target="/callback")
        await loop.until(lambda: tried)
        peer = await loop.connect(server, target="/receive")
        peer.send("")
        await loop.until(lambda: len(tried) == 2)
        assert tried == ["callback", "receive"]


@on_each_loop
async def test_two_tasks_cannot_receive_at_once(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        receiving = loop.spawn(client.receive())
        await peer.nothing()
        with pytest.raises(RuntimeError, match="another task"):
            await client.receive()
        peer.part("begun, ")
        await peer.nothing()
        with pytest.raises(RuntimeError, match="another task"):
            await client.receive()
        peer.part("ended", last=True)
        assert await receiving.wait() == "begun, ended"


@on_memory
async def test_a_slow_loop_pushes_back(loop: MemoryLoop) -> None:
    may_go_on = loop.signal()

    async def on_connection(client: Client) -> None:
        async for message in client:
            await may_go_on.wait()
            await client.writer.send(str(len(message)))

    async with loop.serving(on_connection, read_limit=1000) as server:
        peer = await loop.connect(server)
        for _ in range(20):
            peer.send("x" * 10_000)
            await loop.settle()
        assert peer.waiting() > 160_000
        may_go_on.set()
        for _ in range(20):
            assert await peer.message() == "10000"


@on_each_loop
async def test_a_message_may_be_longer_than_read_limit(loop: Loop) -> None:
    async with loop.serving(echo_loop, read_limit=1000) as server:
        peer = await loop.connect(server)
        for _ in range(2):
            peer.send(b"x" * 500_000)
            assert await peer.message() == b"x" * 500_000


@on_each_loop
async def test_without_max_message_size_a_message_is_bounded_all_the_same(
    loop: Loop, log: Log
) -> None:
    async with loop.serving(echo_loop, max_message_size=None) as server:
        peer = await loop.connect(server)
        peer.send(b"x" * 2**20)
        assert await peer.message() == b"x" * 2**20
        peer.send(b"x" * (2**20 + 1))
        assert await peer.closed() == (1009, "a message is longer than 1048576 bytes")
        log.lines()


@on_each_loop
async def test_closing_from_the_loop(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        async for message in client:
            if message == "stop":
                await client.close(4001, "stopped")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("go on")
        peer.send("stop")
        assert await peer.closed() == (4001, "stopped")


@on_each_loop
async def test_a_loop_that_a_close_from_elsewhere_ends(loop: Loop) -> None:
    ended: list[bool] = []

    async def on_connection(client: Client) -> None:
        async for _ in client:
            pass
        ended.append(True)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        await client.close()
        assert await peer.closed() == (1000, "")
        await loop.until(lambda: ended)


@on_memory
async def test_a_receive_within_a_message_when_a_callback_fails(loop: MemoryLoop, log: Log) -> None:
    """It raises ConnectionClosed with the code of the failure."""
    codes: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.ping
        async def on_ping(payload: bytes, length: int) -> None:
            raise ZeroDivisionError

        with pytest.raises(ConnectionClosed) as caught:
            await client.receive()
        codes.append(caught.value.code)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.part("begun")
        await loop.settle()
        peer.ping()
        assert await peer.closed() == (1011, "")
        assert codes == [1011]
    assert [what for what, _ in log.tracebacks()] == ["on_ping raised"]


@pytest.mark.parametrize("message", ["", "a message"])
@on("trio")
async def test_a_receive_at_its_checkpoint_when_a_callback_fails(
    loop: Loop, log: Log, message: str
) -> None:
    """It returns the message or raises ConnectionClosed: trio runs either task first."""
    codes: list[int] = []
    rounds = 10

    async def on_connection(client: Client) -> None:
        may_fail = loop.signal()

        @client.ping
        async def on_ping(payload: bytes, length: int) -> None:
            receiving.set()
            await may_fail.wait()
            raise ZeroDivisionError

        receiving = loop.signal()
        await receiving.wait()
        may_fail.set()
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                assert await client.receive() == message
        codes.append(caught.value.code)

    async with loop.serving(on_connection) as server:
        for _ in range(rounds):
            peer = await loop.connect(server)
            peer.send(message)
            peer.ping()
            assert await peer.closed() == (1011, "")
        await loop.until(lambda: len(codes) == rounds)
    assert codes == [1011] * rounds
    assert [what for what, _ in log.tracebacks()] == ["on_ping raised"] * rounds


@on_each_loop
async def test_what_comes_after_our_close_is_discarded_without_a_line(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        await client.close(1012)

    async with loop.serving(on_connection) as server:
        peer = await loop.dial(server)
        peer.answers_close = False
        peer.handshake()
        await peer.frame()
        peer.send("too late")
        peer.acknowledge()
        await peer.eof()


# --- Of one type


@pytest.mark.parametrize("kind", [str, DataType.TEXT])
@on_memory
async def test_receive_as_text(loop: MemoryLoop, kind: Any) -> None:
    got: list[str] = []

    async def on_connection(client: Client) -> None:
        assert_type(await client.receive(str), str)
        assert_type(await client.receive(bytes), bytes)
        for _ in range(3):
            got.append(await client.receive(kind))

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        for message in "a", "b", "é", b"\xc3\xa9", b"":
            peer.send(message)
        await loop.until(lambda: len(got) == 3)
        assert got == ["é", "é", ""]


@pytest.mark.parametrize("kind", [bytes, DataType.BINARY])
@on_memory
async def test_receive_as_bytes(loop: MemoryLoop, kind: Any) -> None:
    got: list[bytes] = []

    async def on_connection(client: Client) -> None:
        for _ in range(2):
            got.append(await client.receive(kind))

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("é")
        peer.send(b"\xff")
        await loop.until(lambda: len(got) == 2)
        assert got == ["é".encode(), b"\xff"]


@on_each_loop
async def test_bytes_that_are_not_text_are_taken_and_in_the_error(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        with pytest.raises(UnicodeDecodeError) as caught:
            await client.receive(str)
        await client.writer.send(caught.value.object)
        await client.writer.send(await client.receive(str))

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send(b"\xff")
        peer.send("next")
        assert [await peer.message(), await peer.message()] == [b"\xff", "next"]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"kind": int}, TypeError, "kind must be str or bytes"),
        ({"timeout": -1}, ValueError, "timeout must be in seconds, None for no limit, not -1"),
        ({"timeout": float("nan")}, ValueError, "timeout must be in seconds"),
        ({"timeout": "1"}, ValueError, "timeout must be in seconds"),
    ],
)
@on_memory
async def test_a_mistaken_argument_raises_and_takes_nothing(
    loop: MemoryLoop, arguments: dict[str, Any], error: type[Exception], match: str
) -> None:
    async def on_connection(client: Client) -> None:
        with pytest.raises(error, match=match):
            await client.receive(**arguments)
        await client.writer.send(await client.receive())

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("still here")
        assert await peer.message() == "still here"


# --- With a time limit


@on_memory
async def test_a_time_limit_by_the_clock(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        [client] = server.clients.values()
        receiving = loop.spawn(client.receive(timeout=5))
        await loop.advance(4.9)
        assert not receiving.done
        await loop.advance(0.2)
        with pytest.raises(TimeoutError, match="no message came within 5 s"):
            await receiving.wait()
        # Within a message: what has arrived of it stays.
        peer.part("one, ")
        receiving = loop.spawn(client.receive(str, timeout=5))
        await loop.advance(5.1)
        with pytest.raises(TimeoutError):
            await receiving.wait()
        receiving = loop.spawn(client.receive(str, timeout=5))
        await loop.advance(4)
        peer.part("two", last=True)
        await loop.settle()
        assert await receiving.wait() == "one, two"


@on_each_loop
async def test_a_time_limit_loses_no_message(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        with pytest.raises(TimeoutError):
            await client.receive(timeout=0)
        await client.writer.send("nothing came")
        assert await client.receive(timeout=10) == "late"
        await client.writer.send("got it")
        assert await client.receive() == "one"
        assert await client.receive(timeout=0) == "two"  # it is here already
        with pytest.raises(TimeoutError):
            await client.receive(timeout=0.001)
        await client.writer.send("nothing else")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        if isinstance(loop, MemoryLoop):
            await loop.advance(0)
        assert await peer.message() == "nothing came"
        peer.send("late")
        assert await peer.message() == "got it"
        with peer.in_one_write():
            peer.send("one")
            peer.send("two")
        if isinstance(loop, MemoryLoop):
            await loop.settle()
            await loop.advance(1)
        assert await peer.message() == "nothing else"


@on_each_loop
async def test_what_came_while_the_loop_was_held_up_came_in_time(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        await client.writer.send("begin")
        await loop.until(lambda: peers)
        receiving = loop.spawn(client.receive(timeout=0.1))
        await loop.checkpoint()
        peers[0].send("in time")
        loop.hold(0.15)
        await client.writer.send(await receiving.wait())

    peers: list[Peer] = []
    async with loop.serving(on_connection) as server:
        peers.append(await loop.connect(server))
        assert await peers[0].message() == "begin"
        assert await peers[0].message() == "in time"


@on_each_loop
async def test_a_time_limit_where_the_connection_is_over(loop: Loop) -> None:
    codes: list[int] = []

    async def on_connection(client: Client) -> None:
        for seconds in 10, 0, 10:
            with pytest.raises(ConnectionClosed) as caught:
                await client.receive(timeout=seconds)
            codes.append(caught.value.code)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.close(4000)
        assert await peer.closed() == (4000, "")
        await loop.until(lambda: len(codes) == 3)
        assert codes == [4000] * 3


@on_memory
@pytest.mark.parametrize("then", ["the server stops", "another task receives"])
async def test_just_after_a_time_limit_the_task_still_receives(
    loop: MemoryLoop, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes what has arrived already, since the loop may have been held up."""
    received: list[str | bytes] = []

    async def on_connection(client: Client) -> None:
        received.append(await client.receive(timeout=5))

    async def meanwhile(runtime: Runtime) -> None:
        peer.send("in time")
        await loop.checkpoint()
        if then == "the server stops":
            client._session.go_away(Reasons.GOING_AWAY)
        else:
            with pytest.raises(RuntimeError, match="another task is waiting"):
                await client.receive()

    monkeypatch.setattr(inbox, "read_arrived", meanwhile)
    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        await loop.advance(5)
        assert received == ["in time"]
        if then == "the server stops":
            assert await peer.closed() == (1001, "")
