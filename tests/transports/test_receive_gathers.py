"""Loops of `receive()` write once for each read, and hold nothing back while they wait."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from kit.writes import counting
from wstransports import Client, ConnectionClosed


async def echo_by_iteration(client: Client) -> None:
    async for message in client:
        await client.writer.send(message)


async def echo_by_receive(client: Client) -> None:
    with pytest.raises(ConnectionClosed):
        while True:
            await client.writer.send(await client.receive())


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("own_task", [False, True])
@pytest.mark.parametrize("echo", [echo_by_iteration, echo_by_receive])
@on_each_loop
async def test_the_answers_to_one_read_are_one_write(
    loop: Loop, echo: Callable[[Client], Coroutine[Any, Any, None]], own_task: bool
) -> None:
    async def on_connection(client: Client) -> None:
        if own_task:  # not a task of the library's
            await loop.spawn(echo(client)).wait()
        else:
            await echo(client)

    async with counting(loop, on_connection) as counted:
        peer, writes = await counted.connect()
        for _ in range(2):
            with peer.in_one_write():
                for number in range(64):
                    peer.send(str(number))
            assert [await peer.message() for _ in range(64)] == [str(n) for n in range(64)]
        # The last message of a read has none after it: its answer may leave alone.
        assert len(writes) <= 2 * 2


@on_each_loop
async def test_an_answer_is_not_held_while_the_loop_waits_for_anything(loop: Loop) -> None:
    """More messages wait, so the answer is gathered first."""
    waits: dict[str, Callable[[Client], Awaitable[object]]] = {
        "a signal": lambda client: forever.wait(),
        "its close": lambda client: client.close(4000),
        "its writer's close": lambda client: client.writer.close(4000),
    }

    async def on_connection(client: Client) -> None:
        wait = waits[client.request.path[1:].replace("%20", " ")]
        async for message in client:
            await client.writer.send(message)
            await wait(client)

    forever = loop.signal()
    async with loop.serving(on_connection) as server:
        for name in waits:
            peer = await loop.connect(server, target=f"/{name}".replace(" ", "%20"))
            with peer.in_one_write():
                for number in range(3):
                    peer.send(str(number))
            assert await peer.message() == "0"
            if "close" in name:
                assert await peer.closed() == (4000, "")
        forever.set()


@on_each_loop
async def test_nor_while_it_waits_for_another_task_s_fragments(loop: Loop) -> None:
    may_end = loop.signal()

    async def hold_the_lock(client: Client) -> None:
        async with client.writer.fragment() as stream:
            await stream.send("in ")
            await may_end.wait()
            await stream.send("parts")

    async def on_connection(client: Client) -> None:
        assert await client.receive() == "0"
        await client.writer.ping(b"held")
        loop.spawn(hold_the_lock(client))
        await loop.checkpoint()
        assert await client.receive() == "1"
        await client.writer.ping(b"held too")
        await client.writer.send("after")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            for number in range(3):
                peer.send(str(number))
        assert (await peer.frame()).payload == b"held"
        assert (await peer.frame()).payload == b"held too"
        may_end.set()
        assert [await peer.message() for _ in range(2)] == ["in parts", "after"]


@on_each_loop
async def test_nor_while_it_waits_for_the_rest_of_a_message(loop: Loop) -> None:
    async with loop.serving(echo_by_iteration) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            peer.send("whole")
            peer.part("in ")
        assert await peer.message() == "whole"
        peer.part("parts", last=True)
        assert await peer.message() == "in parts"


@pytest.mark.usefixtures("unhurried")
@on_each_loop
async def test_answers_leave_before_the_close_that_follows_them(loop: Loop) -> None:
    async with counting(loop, echo_by_iteration) as counted:
        peer, writes = await counted.connect()
        with peer.in_one_write():
            for number in range(10):
                peer.send(str(number))
            peer.close()
        assert [await peer.message() for _ in range(10)] == [str(n) for n in range(10)]
        assert await peer.closed() == (1000, "")
        assert len(writes) <= 2


@on_each_loop
async def test_more_than_64_kib_leaves_at_once(loop: Loop) -> None:
    async with counting(loop, echo_by_iteration, read_limit=10**6) as counted:
        peer, writes = await counted.connect()
        with peer.in_one_write():
            for _ in range(64):
                peer.send(b"x" * 10_000)
        assert [await peer.message() for _ in range(64)] == [b"x" * 10_000] * 64
        assert max(len(data) for data in writes) < 65536 + 10_100


@on_each_loop
async def test_a_computation_between_two_answers_holds_up_one_at_most(loop: Loop) -> None:
    written: list[int] = []

    async def on_connection(client: Client) -> None:
        async for message in client:
            loop.hold(0.02)
            await client.writer.send(message)
            written.append(len(b"".join(writes)) // 3)  # frames

    writes: list[bytes] = []
    async with counting(loop, on_connection) as counted:
        peer, writes = await counted.connect()
        with peer.in_one_write():
            for number in range(10):
                peer.send(str(number))
        assert [await peer.message() for _ in range(10)] == [str(n) for n in range(10)]
        assert all(count >= before for before, count in enumerate(written))


@on_memory
async def test_an_answer_waits_for_one_turn_of_the_loop_at_most(loop: MemoryLoop) -> None:
    async def on_connection(client: Client) -> None:
        await client.receive()
        await client.writer.send("answer")
        before = len(writes)
        await loop.checkpoint()
        await loop.checkpoint()
        turns.append((before, len(writes)))
        await client.receive()

    turns: list[tuple[int, int]] = []
    writes: list[bytes] = []
    async with counting(loop, on_connection) as counted:
        peer, writes = await counted.connect()
        with peer.in_one_write():
            for number in range(3):
                peer.send(str(number))
        assert await peer.message() == "answer"
        assert turns == [(0, 1)]


@on_each_loop
async def test_what_was_gathered_leaves_where_the_loop_raises(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        async for message in client:
            await client.writer.send(message)
            break

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            for number in range(3):
                peer.send(str(number))
        assert await peer.message() == "0"
        await peer.nothing()
