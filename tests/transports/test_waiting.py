"""Signals: what tasks wait for, on every loop."""

import asyncio

import pytest

from kit.jobs import Job
from kit.loops import Loop, on_asyncio, on_each_loop
from wstransports.adapters.asyncio_event import AsyncioEvent


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


@on_asyncio
async def test_nothing_is_kept_of_those_that_give_up(loop: Loop) -> None:
    """A program may look again and again, each time for a while."""
    signal = AsyncioEvent()
    staying = loop.spawn(asyncio.wait_for(signal.wait(), 10))
    await loop.checkpoint()
    for _ in range(20):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(signal.wait(), 0.0001)
    await loop.checkpoint()
    assert not signal._more
    assert not staying.done
    signal.set()
    await staying.wait()
