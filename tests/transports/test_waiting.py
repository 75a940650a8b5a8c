"""Signals and waiters: what tasks wait for, on every loop."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial

import pytest

from kit.jobs import Job
from kit.loops import Loop, on_asyncio, on_each_loop
from wstransports.adapters.asyncio_waiter import AsyncioWaiter
from wstransports.runtime import Waiter, running


@on_each_loop
async def test_a_signal_wakes_all_that_wait(loop: Loop) -> None:
    signal = loop.signal()
    woken: list[int] = []

    async def wait(number: int) -> None:
        await signal.wait()
        woken.append(number)

    jobs: list[Job[None]] = [loop.spawn(wait(number)) for number in range(4)]
    await loop.checkpoint()
    await loop.checkpoint()
    jobs[0].cancel()
    jobs[2].cancel()
    await loop.until(lambda: jobs[0].done and jobs[2].done)
    assert woken == []
    signal.set()
    signal.set()
    await loop.until(lambda: jobs[1].done and jobs[3].done)
    await wait(4)
    assert sorted(woken) == [1, 3, 4]


@on_each_loop
async def test_a_signal_survives_those_that_give_up(loop: Loop) -> None:
    """A task that is cancelled while the signal is set is woken once."""
    signal = loop.signal()

    async def wait() -> None:
        await signal.wait()

    first, second = loop.spawn(wait()), loop.spawn(wait())
    await loop.checkpoint()
    await loop.checkpoint()
    first.cancel()
    signal.set()
    await loop.until(lambda: first.done and second.done)
    await second.wait()


class Waiting:
    """A task that waits for the same waiter again and again."""

    def __init__(self, waiter: Waiter) -> None:
        self.waiter = waiter
        self.woken = 0
        self.cancelled = 0
        self.run_when_woken: Callable[[], None] = lambda: None

    async def run(self) -> None:
        while True:
            try:
                await self.waiter.wait()
                self.run_when_woken()
                self.woken += 1
            except asyncio.CancelledError:
                self.cancelled += 1
                raise

    def was_woken(self, times: int) -> bool:
        return self.woken == times


@on_each_loop
async def test_a_task_waits_again_and_again(loop: Loop) -> None:
    waiting = Waiting(loop.waiter())
    waiting.waiter.set()
    waiting.waiter.wake()
    job = loop.spawn(waiting.run())
    for number in range(6):
        for _ in range(3):
            await loop.checkpoint()
        assert (waiting.woken, job.done) == (number, False)
        waiting.waiter.set() if number % 2 else waiting.waiter.wake()
        waiting.waiter.set()
        assert waiting.woken == number  # this task goes on first
    job.cancel()
    await loop.until(lambda: job.done)


def asyncio_waiter() -> AsyncioWaiter:
    waiter = running().waiter()
    assert isinstance(waiter, AsyncioWaiter)
    return waiter


async def waiting_on_asyncio() -> tuple[Waiting, "asyncio.Task[None]"]:
    """A task, and where it waits."""
    waiting = Waiting(asyncio_waiter())
    task = asyncio.create_task(waiting.run())
    await asyncio.sleep(0)
    return waiting, task


@on_asyncio
async def test_a_call_of_the_loop_wakes_a_task_at_once(loop: Loop) -> None:
    waiting, task = await waiting_on_asyncio()
    seen: list[int] = []

    def wake() -> None:
        waiting.waiter.set()
        waiting.waiter.wake()
        seen.append(waiting.woken)  # its step is in the loop's queue
        asyncio.get_running_loop().call_soon(wake_again)

    def wake_again() -> None:
        waiting.waiter.wake()
        waiting.waiter.wake()
        seen.append(waiting.woken)

    asyncio.get_running_loop().call_soon(wake)
    await loop.until(lambda: len(seen) == 2)
    assert seen == [0, 3]
    task.cancel()


@on_asyncio
async def test_a_task_that_is_woken_runs_in_its_own_context(loop: Loop) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")
    waiter = asyncio_waiter()
    seen = []

    async def wait() -> None:
        variable.set("of the task")
        await waiter.wait()
        seen.append((variable.get(), asyncio.current_task() is task))

    context = copy_context()
    task = asyncio.get_running_loop().create_task(wait(), context=context)
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(waiter.wake)
    await task
    assert seen == [("of the task", True)]
    assert variable not in copy_context()


@on_asyncio
async def test_a_call_in_the_task_s_own_context_wakes_it(loop: Loop) -> None:
    """Python enters no context twice; that must not cost the task its step."""
    waiting = Waiting(asyncio_waiter())
    context = copy_context()
    task = asyncio.get_running_loop().create_task(waiting.run(), context=context)
    await asyncio.sleep(0)
    for times in range(1, 4):
        asyncio.get_running_loop().call_soon(waiting.waiter.wake, context=context)
        await loop.until(partial(waiting.was_woken, times))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@on_asyncio
async def test_nothing_is_kept_of_a_task_that_went_on(loop: Loop) -> None:
    """Its context may refer to the client, which refers to the waiter."""
    waiting, task = await waiting_on_asyncio()
    waiter = waiting.waiter
    assert isinstance(waiter, AsyncioWaiter)
    kept: list[object] = []
    waiting.run_when_woken = lambda: kept.extend((waiter._step, waiter._context))
    asyncio.get_running_loop().call_soon(waiter.wake)
    await loop.until(lambda: waiting.woken == 1)
    assert kept == [None, None]
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await task
    assert (waiter._step, waiter._context) == (None, None)
    asyncio.get_running_loop().call_soon(waiter.wake)
    await asyncio.sleep(0)
    assert (waiting.woken, waiting.cancelled) == (1, 1)


@on_asyncio
async def test_a_task_that_is_cancelled_as_it_is_woken(loop: Loop) -> None:
    """Whichever comes first, it is cancelled once, as with a future of asyncio's."""
    for first, then in (("set", "cancel"), ("cancel", "set"), ("cancel", "wake")):
        waiting, task = await waiting_on_asyncio()
        for verb in (first, then):
            task.cancel() if verb == "cancel" else getattr(waiting.waiter, verb)()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (waiting.woken, waiting.cancelled) == (0, 1)


@on_asyncio
async def test_a_timeout_ends_a_wait(loop: Loop) -> None:
    waiter = asyncio_waiter()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.0001):
                await waiter.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiter.wait(), 0.0001)
    asyncio.get_running_loop().call_soon(waiter.wake)
    async with asyncio.timeout(10):
        await waiter.wait()


@on_asyncio
async def test_what_ends_the_program_passes_a_wake(loop: Loop) -> None:
    waiter = asyncio_waiter()
    raised: list[BaseException] = []

    async def wait() -> None:
        await waiter.wait()
        raise KeyboardInterrupt

    def wake() -> None:
        try:
            waiter.wake()
        except KeyboardInterrupt as error:
            raised.append(error)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(wake)
    await loop.until(task.done)
    assert raised == [task.exception()]
