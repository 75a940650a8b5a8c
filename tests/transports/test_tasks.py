"""Callbacks run inside a real task of their loop, from their first step on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kit.loops import AsyncioLoop, MemoryLoop, echo, on_asyncio, on_memory
from wstransports import Client, Request, WebSocketReader

Work = Callable[[], Awaitable[object]]


async def nap() -> None:
    """Suspend."""
    await asyncio.sleep(0)


async def current_task() -> object:
    task = asyncio.current_task()
    assert task is not None
    await nap()
    assert asyncio.current_task() is task
    return "the same task"


async def timeout() -> object:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()
    return "timed out"


async def timeout_not_reached() -> object:
    async with asyncio.timeout(100):
        await nap()
    return "in time"


async def timeout_of_a_call() -> object:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0.001)
    return "timed out"


async def task_group() -> object:
    async def child(number: int) -> int:
        await nap()
        return number

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(child(number)) for number in range(3)]
    return str([task.result() for task in tasks])


async def task_group_that_fails() -> object:
    async def child() -> None:
        await nap()
        raise KeyError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            await asyncio.Event().wait()
    except* KeyError:
        pass
    return "caught"


async def cancelling_itself() -> object:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await nap()
    task.uncancel()
    return "cancelled"


async def gathering() -> object:
    return str(await asyncio.gather(asyncio.sleep(0, "a"), asyncio.sleep(0, "b")))


async def locking() -> object:
    lock = asyncio.Lock()
    async with lock, asyncio.timeout(10):  # noqa: ASYNC100  # that a Task runs it is the point
        return "locked"


WORKS: list[tuple[Work, str]] = [
    (current_task, "the same task"),
    (timeout, "timed out"),
    (timeout_not_reached, "in time"),
    (timeout_of_a_call, "timed out"),
    (task_group, "[0, 1, 2]"),
    (task_group_that_fails, "caught"),
    (cancelling_itself, "cancelled"),
    (gathering, "['a', 'b']"),
    (locking, "locked"),
]


@pytest.mark.parametrize(("work", "result"), WORKS)
@pytest.mark.parametrize("callback", ["connection", "message", "ping", "pong", "closed"])
@pytest.mark.parametrize("suspended", [False, True], ids=["at once", "after a suspension"])
@on_asyncio
async def test_asyncio_works_in_every_callback(
    loop: AsyncioLoop, work: Work, result: str, callback: str, suspended: bool
) -> None:
    results: list[object] = []

    async def call(*arguments: object) -> None:
        if suspended:
            await nap()
        results.append(await work())

    async def on_connection(client: Client) -> None:
        if callback == "connection":
            await call()
        else:
            getattr(client, callback)(call)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            if callback == "message":
                peer.send("")
            elif callback == "ping":
                peer.ping()
            elif callback == "pong":
                peer.pong()
            elif callback == "closed":
                peer.close()
        await loop.until(lambda: results)
        assert results == [result]
        peer.frames.clear()


@pytest.mark.parametrize(("work", "result"), WORKS)
@on_asyncio
async def test_and_in_process_request(loop: AsyncioLoop, work: Work, result: str) -> None:
    async def process_request(request: Request) -> None:
        request.state.result = await work()

    async def on_connection(client: Client) -> None:
        await client.writer.send(client.request.state.result)

    async with loop.serving(on_connection, process_request=process_request) as server:
        assert await (await loop.connect(server)).message() == result


@on_asyncio
async def test_the_messages_of_one_read_share_a_task(loop: AsyncioLoop) -> None:
    tasks: list[asyncio.Task[Any] | None] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            tasks.append(asyncio.current_task())
            await client.writer.send(await reader.get())

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        for _ in range(3):
            with peer.in_one_write():
                for _ in range(10):
                    peer.send("")
            for _ in range(10):
                await peer.message()
        assert len(tasks) == 30
        for start in (0, 10, 20):
            assert len(set(tasks[start : start + 10])) == 1
        assert len(set(tasks)) == 3


@on_asyncio
async def test_a_timeout_of_one_message_leaves_the_next_alone(loop: AsyncioLoop) -> None:
    """They share a task, and a timeout cancels it."""

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            name = await reader.get(str)
            if name == "slow":
                try:
                    async with asyncio.timeout(0.001):
                        await asyncio.Event().wait()
                except TimeoutError:
                    name = "timed out"
            await nap()
            await client.writer.send(name)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            for name in ("1", "slow", "2", "slow", "3"):
                peer.send(name)
        assert [await peer.message() for _ in range(5)] == ["1", "timed out", "2", "timed out", "3"]


@on_memory
async def test_a_callback_that_does_not_suspend_runs_within_its_read(loop: MemoryLoop) -> None:
    """No turn of the loop lies between a read and its answer."""
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        [client] = server.clients.values()
        session = client._session
        frame = peer.core
        frame.send_message("hello")
        session.data_received(frame.data_to_send())
        assert session.pipe.waiting() == len(b"\x81\x05hello")
        assert await peer.message() == "hello"


@on_asyncio
async def test_the_loops_own_call_soon_is_back(loop: AsyncioLoop) -> None:
    """On Python 3.11 it is borrowed to run a task's first step."""
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        peer.send("x")
        assert await peer.message() == "x"
        assert "call_soon" not in vars(asyncio.get_running_loop())


@on_asyncio
async def test_in_debug_mode(loop: AsyncioLoop) -> None:
    """asyncio looks closely then: at threads, and at coroutines nobody awaits."""
    asyncio.get_running_loop().set_debug(True)

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            async with asyncio.timeout(10):
                message = await reader.get()
                await nap()
                await client.writer.send(message)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("x")
        assert await peer.message() == "x"
        peer.part("y")
        await peer.nothing()
        peer.part("y", last=True)
        assert await peer.message() == "yy"
