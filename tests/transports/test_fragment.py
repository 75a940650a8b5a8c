"""`writer.fragment()`: one message in parts, and who waits for it."""

from typing import Any

import pytest
from test_writer import only_client

from kit.frames import BINARY, CONTINUATION, FIN, PING, PONG, TEXT, Frame
from kit.log import Log
from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from wstransports import ConnectionClosed


@pytest.mark.parametrize(
    ("parts", "frames"),
    [
        (
            ["Hello ", "World!"],
            [
                Frame(TEXT, b"Hello "),
                Frame(FIN | CONTINUATION, b"World!"),
            ],
        ),
        (
            [b"a", b"b", b"c"],
            [
                Frame(BINARY, b"a"),
                Frame(CONTINUATION, b"b"),
                Frame(FIN | CONTINUATION, b"c"),
            ],
        ),
        (["one"], [Frame(FIN | TEXT, b"one")]),
        ([b""], [Frame(FIN | BINARY, b"")]),
        (
            ["", "", ""],
            [
                Frame(TEXT, b""),
                Frame(CONTINUATION, b""),
                Frame(FIN | CONTINUATION, b""),
            ],
        ),
        (
            [b"a", bytearray(b"b"), memoryview(b"c")],
            [
                Frame(BINARY, b"a"),
                Frame(CONTINUATION, b"b"),
                Frame(FIN | CONTINUATION, b"c"),
            ],
        ),
        ([], []),
    ],
)
@on_each_loop
async def test_a_frame_for_each_part_and_fin_on_the_last(
    loop: Loop, parts: list[Any], frames: list[Frame]
) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        async with client.writer.fragment() as stream:
            for part in parts:
                await stream.send(part)
        assert [await peer.frame() for _ in frames] == frames
        await peer.nothing()
        await client.writer.send("and on")
        assert await peer.message() == "and on"


@on_each_loop
async def test_parts_leave_before_the_end(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        async with client.writer.fragment() as stream:
            await stream.send("1")
            await stream.send("2")
            assert await peer.frame() == Frame(TEXT, b"1")
            await stream.send("3")
            assert await peer.frame() == Frame(CONTINUATION, b"2")
        assert await peer.frame() == Frame(FIN | CONTINUATION, b"3")


@pytest.mark.parametrize(("first", "other"), [("text", b"bytes"), (b"bytes", "text")])
@on_each_loop
async def test_the_first_part_fixes_the_type(loop: Loop, first: Any, other: Any) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        async with client.writer.fragment() as stream:
            await stream.send(first)
            with pytest.raises(TypeError, match="all str or all bytes"):
                await stream.send(other)
            await stream.send(first)
        assert await peer.message() == first * 2


@pytest.mark.parametrize("part", [None, 5, ["list"]])
@on_each_loop
async def test_a_part_that_is_neither_names_the_mend(loop: Loop, part: Any) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        async with client.writer.fragment() as stream:
            with pytest.raises(TypeError, match=r"str.*bytes"):
                await stream.send(part)
            await stream.send("fine")
            with pytest.raises(TypeError, match=r"str.*bytes"):
                await stream.send(part)
        assert await peer.message() == "fine"


@on_each_loop
async def test_a_bytearray_may_be_changed_after_its_send(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        async with client.writer.fragment() as stream:
            data = bytearray(b"before")
            await stream.send(data)
            data[:] = b"after "
        assert await peer.message() == b"before"


@on_each_loop
async def test_others_wait_in_order_until_it_ends(loop: Loop) -> None:
    async def by_fragment(name: str) -> None:
        async with client.writer.fragment() as stream:
            await stream.send(name)
            await loop.checkpoint()
            await stream.send(name)

    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        async with client.writer.fragment() as stream:
            await stream.send("first, ")
            others = [
                loop.spawn(client.writer.send("1")),
                loop.spawn(by_fragment("2")),
                loop.spawn(client.writer.feed(["3", "3"])),
                loop.spawn(client.writer.send("4")),
            ]
            for _ in range(3):
                await loop.checkpoint()
            assert not any(other.done for other in others)
            await stream.send("last")
        for other in others:
            await other.wait()
        assert [await peer.message() for _ in range(5)] == ["first, last", "1", "22", "33", "4"]


@on_each_loop
async def test_a_task_that_waits_can_be_cancelled_without_harm(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        async with client.writer.fragment() as stream:
            await stream.send("message")
            sends = [loop.spawn(client.writer.send(name)) for name in "1234"]
            await loop.checkpoint()
            for cancelled in (sends[0], sends[2]):
                cancelled.cancel()
                with pytest.raises(loop.cancelled):
                    await cancelled.wait()
        await sends[1].wait()
        await sends[3].wait()
        assert [await peer.message() for _ in range(3)] == ["message", "2", "4"]


@on_each_loop
async def test_one_cancelled_just_as_its_turn_comes_hands_it_on(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        async with client.writer.fragment() as stream:
            await stream.send("message")
            first = loop.spawn(client.writer.send("cancelled"))
            second = loop.spawn(client.writer.send("sent"))
            await loop.checkpoint()
        first.cancel()
        arrive = ["message", "cancelled", "sent", "and on"]
        if loop.cancels_woken_tasks:
            arrive.remove("cancelled")
            with pytest.raises(loop.cancelled):
                await first.wait()
        else:
            await first.wait()
        await second.wait()
        await client.writer.send("and on")
        assert [await peer.message() for _ in arrive] == arrive


@on_each_loop
async def test_control_frames_pass(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        async with client.writer.fragment() as stream:
            await stream.send("1")
            await stream.send("2")
            await client.writer.ping(b"by us")
            await client.writer.pong(0, b"")
            peer.ping(b"by the peer")
            assert await peer.frame() == Frame(TEXT, b"1")
            assert await peer.frame() == Frame(FIN | PING, b"by us")
            assert await peer.frame() == Frame(FIN | PONG, b"")
            assert await peer.frame() == Frame(FIN | PONG, b"by the peer")
        assert await peer.frame() == Frame(FIN | CONTINUATION, b"2")


@on_each_loop
async def test_the_same_task_is_refused_at_once(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        writer = client.writer
        async with writer.fragment() as stream:
            await stream.send("still ")
            with pytest.raises(RuntimeError, match="fragmented message"):
                await writer.send("x")
            with pytest.raises(RuntimeError, match="fragmented message"):
                await writer.feed(["x"])
            with pytest.raises(RuntimeError, match="fragmented message"):
                async with writer.fragment():
                    pass
            await stream.send("whole")
        assert await peer.message() == "still whole"
        await writer.send("and on")
        assert await peer.message() == "and on"


@on_each_loop
async def test_two_writers_do_not_wait_for_each_other(loop: Loop) -> None:
    async with loop.serving() as server:
        peers = [await loop.connect(server) for _ in range(2)]
        await loop.until(lambda: len(server.clients) == 2)
        one, other = server.clients.values()
        async with one.writer.fragment() as stream:
            await stream.send("1")
            async with other.writer.fragment() as inner:
                await inner.send("2")
                await stream.send("1")
        assert [await peer.message() for peer in peers] == ["11", "2"]


@on_each_loop
async def test_an_exception_inside_fails_the_connection(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(KeyError):
            async with client.writer.fragment() as stream:
                await stream.send("half a ")
                await stream.send("message")
                raise KeyError
        assert await peer.frame() == Frame(TEXT, b"half a ")
        assert await peer.closed() == (1011, "a message was broken off")
        with pytest.raises(ConnectionClosed):
            await client.writer.send("x")


@on_each_loop
async def test_so_does_cancellation(loop: Loop) -> None:
    async def by_fragment() -> None:
        async with client.writer.fragment() as stream:
            await stream.send("half a ")
            await stream.send("message")
            await loop.signal().wait()

    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        sending = loop.spawn(by_fragment())
        other = loop.spawn(client.writer.send("waits"))
        assert await peer.frame() == Frame(TEXT, b"half a ")
        sending.cancel()
        with pytest.raises(loop.cancelled):
            await sending.wait()
        assert await peer.closed() == (1011, "a message was broken off")
        with pytest.raises(ConnectionClosed):
            await other.wait()


@on_each_loop
async def test_an_exception_before_the_first_part_harms_nobody(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(KeyError):
            async with client.writer.fragment():
                raise KeyError
        await client.writer.send("and on")
        assert await peer.message() == "and on"


@on_each_loop
async def test_in_a_callback_the_exception_is_logged_once(loop: Loop, log: Log) -> None:
    error = KeyError("mine")

    async with loop.serving() as server:

        @server.connection
        async def on_connection(client: Any) -> None:
            async with client.writer.fragment() as stream:
                await stream.send("half a ")
                await stream.send("message")
                raise error

        peer = await loop.connect(server)
        assert (await peer.frame()).last is False
        assert (await peer.closed())[0] == 1011
        assert log.tracebacks() == [("on_connection raised", error)]


@on_each_loop
async def test_a_task_that_waits_for_a_turn_raises_when_the_connection_ends(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(ConnectionClosed):
            async with client.writer.fragment() as stream:
                await stream.send("1")
                waiting = loop.spawn(client.writer.send("waits"))
                await loop.checkpoint()
                peer.reset()
                with pytest.raises(ConnectionClosed) as caught:
                    await waiting.wait()
                assert caught.value.code == 1006
                await stream.send("2")


@pytest.mark.parametrize("ours", [True, False])
@on_memory
async def test_a_task_that_waits_for_a_turn_raises_as_soon_as_our_close_is_sent(
    loop: MemoryLoop, ours: bool
) -> None:
    """Whatever the peer does then: nobody waits until it is gone."""
    async with loop.serving() as server:
        peer = await loop.connect(server)
        peer.answers_close = peer.answers_eof = False
        client = await only_client(loop, server)
        with pytest.raises(ConnectionClosed):
            async with client.writer.fragment() as stream:
                await stream.send("1")
                waiting = loop.spawn(client.writer.send("waits"))
                await loop.checkpoint()
                if ours:
                    loop.spawn(client.close())
                else:
                    peer.close()
                await loop.settle()
                assert waiting.done
                with pytest.raises(ConnectionClosed):
                    await waiting.wait()
                await stream.send("2")
        assert not peer.lost


@on_each_loop
async def test_close_during_a_message(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(ConnectionClosed):
            async with client.writer.fragment() as stream:
                await stream.send("1")
                await stream.send("2")
                await client.close(4000, "changed my mind")
        assert await peer.frame() == Frame(TEXT, b"1")
        assert await peer.closed() == (4000, "changed my mind")


@on_memory
async def test_parts_wait_for_room(loop: MemoryLoop) -> None:
    async def by_fragment() -> None:
        async with client.writer.fragment() as stream:
            for _ in range(1000):
                await stream.send(b"x" * 10_000)

    async with loop.serving() as server:
        peer = await loop.connect(server, max_message_size=None)
        client = await only_client(loop, server)
        peer.stop_reading()
        sending = loop.spawn(by_fragment())
        await loop.settle()
        assert client._session.pipe.waiting() < 100_000
        peer.start_reading()
        await sending.wait()
        assert await peer.message() == b"x" * 10_000_000


@on_each_loop
async def test_parts_are_sent_inside_the_block_only(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        message = client.writer.fragment()
        with pytest.raises(RuntimeError, match="async with"):
            await message.send("too early")
        async with message as stream:
            assert stream is message
            await stream.send("just right")
        with pytest.raises(RuntimeError, match="async with"):
            await stream.send("too late")
        assert await peer.message() == "just right"
        await peer.nothing()


@on_each_loop
async def test_a_second_block_is_a_second_message(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        message = client.writer.fragment()
        async with message:
            await message.send("text")
        async with message:
            await message.send(b"bytes")
        assert [await peer.message(), await peer.message()] == ["text", b"bytes"]


@on_each_loop
async def test_entering_after_the_close_raises(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        await client.close()
        with pytest.raises(ConnectionClosed):
            async with client.writer.fragment():
                pytest.fail("entered")
        await peer.closed()
