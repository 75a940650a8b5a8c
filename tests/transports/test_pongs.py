"""What `await writer.ping()` returns: the pong, which may be awaited, or not."""

import asyncio
import gc
from collections.abc import Awaitable
from typing import Any
from weakref import ref

import pytest
from test_writer import only_client

from kit.frames import PING, PONG, Frame
from kit.loops import Loop, MemoryLoop, on, on_each_loop, on_memory, on_sockets
from wstransports import Client, ConnectionClosed, WebSocketReader


async def until_answered(pong: Awaitable[float]) -> float:
    """Await it, as a coroutine."""
    return await pong


@on_each_loop
async def test_it_gives_the_seconds_until_it_came(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        for payload in (None, b"payload", b""):
            pong = await client.writer.ping(payload)
            frame = await peer.frame()
            assert frame.opcode == PING
            assert payload in (None, frame.payload)
            peer.pong(frame.payload)
            latency = await pong
            assert 0 <= latency < 10
            assert client.latency == latency


@on_memory
async def test_the_seconds_are_by_the_clock_of_the_loop(loop: MemoryLoop) -> None:
    async with loop.serving(timeout=0) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        pong = await client.writer.ping()
        frame = await peer.frame()
        await loop.advance(1.5)
        peer.pong(frame.payload)
        await loop.settle()
        await loop.advance(100)
        assert await pong == pytest.approx(1.5)
        assert client.latency == pytest.approx(1.5)
        peer.reset()
        await loop.settle()
        assert await pong == pytest.approx(1.5)  # it came, whatever happened later


@on_memory
async def test_a_pong_answers_earlier_pings_too(loop: MemoryLoop) -> None:
    """RFC 6455 section 5.5.3: a peer may answer only the latest ping."""
    async with loop.serving(timeout=0) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        pongs = []
        for _ in range(4):
            pongs.append(await client.writer.ping())
            await loop.advance(1)
        frames = [await peer.frame() for _ in range(4)]
        waiting = [loop.spawn(until_answered(pong)) for pong in pongs]
        peer.pong(frames[2].payload)
        await loop.settle()
        assert [one.done for one in waiting] == [True, True, True, False]
        assert [await one.wait() for one in waiting[:3]] == pytest.approx([4, 3, 2])
        assert client.latency == pytest.approx(2)
        peer.pong(frames[1].payload)  # answered already
        await loop.settle()
        assert not waiting[3].done
        peer.pong(frames[3].payload)
        assert await waiting[3].wait() == pytest.approx(1)


@on_memory
async def test_the_pong_for_a_keepalive_ping_answers_earlier_pings_too(loop: MemoryLoop) -> None:
    seen: list[bytes] = []

    async def on_connection(client: Client) -> None:
        @client.pong
        async def on_pong(payload: bytes, length: int) -> None:
            seen.append(payload)

    async with loop.serving(on_connection, timeout=20) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        before = loop.spawn(until_answered(await client.writer.ping()))
        await loop.advance(10)
        keepalive = [await peer.frame() for _ in range(2)][1]
        await loop.advance(1)
        after = loop.spawn(until_answered(await client.writer.ping()))
        await loop.advance(1)
        peer.pong(keepalive.payload)
        await loop.settle()
        assert (before.done, after.done) == (True, False)
        assert await before.wait() == pytest.approx(12)
        assert client.latency == pytest.approx(2)
        peer.pong((await peer.frame()).payload)
        assert await after.wait() == pytest.approx(1)
        await loop.settle()
        assert keepalive.payload not in seen


@on_memory
async def test_of_pings_with_the_same_payload_the_first_is_answered_first(loop: MemoryLoop) -> None:
    async with loop.serving(timeout=0) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        waiting = []
        for _ in range(3):
            waiting.append(loop.spawn(until_answered(await client.writer.ping(b"beat"))))
            await loop.advance(1)
        for answered in range(3):
            assert [one.done for one in waiting] == [n < answered for n in range(3)]
            peer.pong(b"beat")
            await loop.settle()
        assert [await one.wait() for one in waiting] == pytest.approx([3, 2, 1])
        peer.frames.clear()


@on_memory
async def test_other_pongs_answer_nothing(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        peer.pong(b"before any ping")
        await loop.settle()
        pong = loop.spawn(until_answered(await client.writer.ping()))
        for payload in (b"", b"unasked"):
            peer.pong(payload)
        await loop.settle()
        assert not pong.done
        assert client.latency is None
        peer.pong((await peer.frame()).payload)
        await pong.wait()


@on_sockets
async def test_what_comes_within_the_time_counts_though_the_loop_is_held_up(loop: Loop) -> None:
    """As `client.ping().wait(timeout)` without async has it."""
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        for answered in True, False:
            pong = client._session.outbox.send_ping(None)
            frame = await peer.frame()
            waiting = loop.spawn(pong.within(0.1))
            await loop.checkpoint()
            if answered:
                peer.pong(frame.payload)
            loop.hold(0.15)
            if answered:
                assert await waiting.wait() >= 0.15
            else:
                with pytest.raises(TimeoutError, match=r"no pong came within 0\.1 s"):
                    await waiting.wait()


# --- The end of the connection


@on_each_loop
async def test_it_raises_if_the_connection_is_lost_first(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        pong = await client.writer.ping()
        await peer.frame()
        waiting = loop.spawn(until_answered(pong))
        peer.reset()
        for wait in (waiting.wait(), until_answered(pong)):  # then, and again
            with pytest.raises(ConnectionClosed) as caught:
                await wait
            assert caught.value.code == 1006
            assert caught.value.client is client


@on_memory
async def test_it_raises_as_soon_as_the_peers_close_is_here(loop: MemoryLoop) -> None:
    """A callback that waited for the pong would hold up our answer to that Close."""
    raised: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            pong = await client.writer.ping()
            for _ in range(2):
                with pytest.raises(ConnectionClosed) as caught:
                    await pong
                raised.append(caught.value.code)
                pong = await client.writer.ping()  # our Close is not sent yet, but no pong can come

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("message")
        assert (await peer.frame()).opcode == PING
        peer.close(4000, "bye")
        await loop.settle()
        assert raised == [4000, 4000]
        assert [(await peer.frame()).opcode for _ in range(2)] == [PING, PING]
        assert await peer.closed() == (4000, "bye")


@on_memory
async def test_it_may_come_after_our_close(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        peer.answers_close = False
        client = await only_client(loop, server)
        pong = await client.writer.ping()
        closing = loop.spawn(client.close())
        frame = await peer.frame()
        await loop.advance(2)
        peer.pong(frame.payload)
        await loop.settle()
        assert await pong == pytest.approx(2)
        peer.acknowledge()
        await closing.wait()
        peer.frames.clear()


# --- Waiting, or not


@on_each_loop
async def test_any_number_of_tasks_may_wait_and_be_cancelled(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        pong = await client.writer.ping()
        frame = await peer.frame()
        waiting = [loop.spawn(until_answered(pong)) for _ in range(3)]
        await peer.nothing()
        waiting[1].cancel()
        with pytest.raises(loop.cancelled):
            await waiting[1].wait()
        peer.pong(frame.payload)
        latencies = {await waiting[0].wait(), await waiting[2].wait(), await pong}
        assert len(latencies) == 1


@on_each_loop
async def test_a_callback_may_wait_for_it(loop: Loop) -> None:
    """Pongs are read while a callback runs, and given to on_pong as ever."""
    seen: list[bytes] = []

    async def on_connection(client: Client) -> None:
        @client.pong
        async def on_pong(payload: bytes, length: int) -> None:
            seen.append(payload)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await (await client.writer.ping(b"there?"))
            await client.writer.send("answered")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("message")
        peer.pong((await peer.frame()).payload)
        assert await peer.message() == "answered"
        await loop.until(lambda: seen == [b"there?"])


@on("asyncio")
async def test_the_functions_of_asyncio_take_it(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        pongs = [await client.writer.ping() for _ in range(3)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pongs[0], 0.001)
        for _ in pongs:
            peer.pong((await peer.frame()).payload)
        assert len(await asyncio.gather(*pongs)) == 3
        assert await asyncio.wait_for(pongs[0], 10) >= 0.001


@on_memory
async def test_nothing_is_kept_of_one_that_nobody_waits_for(loop: MemoryLoop) -> None:
    """Also of a peer that never answers."""
    async with loop.serving(timeout=0) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        kept = await client.writer.ping()
        gc.disable()
        try:
            dropped = ref(await client.writer.ping())
            assert dropped() is None
        finally:
            gc.enable()
        for _ in range(1000):
            await client.writer.ping()
        pongs: Any = client._session.outbox.pongs
        assert len(pongs._waiting) == 2  # the one that is kept, and the last
        frames = [await peer.frame() for _ in range(1002)]
        peer.pong(frames[1].payload)  # nobody waits for this one
        await peer.nothing()
        waiting = loop.spawn(until_answered(kept))
        await loop.settle()
        assert not waiting.done
        peer.pong(frames[0].payload)
        await waiting.wait()
        assert pongs._waiting == []


@on_memory
async def test_what_the_caller_does_wrong_raises_and_sends_nothing(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        for mistaken in ("text", 5, bytes(126)):
            wrong: Any = mistaken
            with pytest.raises((TypeError, ValueError), match="bytes"):
                await client.writer.ping(wrong)
        await peer.nothing()
        assert client._session.outbox.pongs is None


@on_memory
async def test_a_payload_that_changes_afterwards(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        payload: Any = bytearray(b"before")
        pong = await client.writer.ping(payload)
        payload[:] = b"after "
        assert await peer.frame() == Frame(0x80 | PING, b"before")
        peer.pong(b"before")
        await pong
        peer.ping(b"is our own pong untouched?")
        assert (await peer.frame()).opcode == PONG
