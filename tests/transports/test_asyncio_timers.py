"""The timers that connections on asyncio share: when they call, and what they hold."""

from collections.abc import Callable
from contextvars import Context
from typing import Any, cast

import pytest

from wstransports.adapters.asyncio_timers import FarTimers


class Handle:
    """A timer of the loop."""

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Only what FarTimers uses, with a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.handles: list[Handle] = []
        self.soon: list[Callable[[], None]] = []
        self.timers = FarTimers(cast(Any, self), lambda: self.now)

    def call_at(self, when: float, call: Callable[[], None], *, context: Context) -> Handle:
        self.handles.append(Handle(when, call))
        return self.handles[-1]

    def call_soon(self, call: Callable[[], None], *, context: Context) -> None:
        self.soon.append(call)

    def waits_for(self) -> list[float]:
        return [handle.when for handle in self.handles if not handle.cancelled]

    def move(self, now: float) -> None:
        """Move the clock: timers of the loop that are due are called, then what is due soon."""
        self.now = now
        due = [one for one in self.handles if one.when <= now and not one.cancelled]
        self.handles = [one for one in self.handles if one not in due]
        for handle in due:
            handle.call()
        while self.soon:
            self.soon.pop(0)()


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_each_is_called_at_its_time(loop: Loop) -> None:
    called: list[str] = []
    for when, name in ((20, "b"), (10, "a"), (30, "c"), (20, "d")):
        loop.timers.add(when, lambda name=name: called.append(name))  # type: ignore[misc]
    assert loop.waits_for() == [10]
    loop.move(9)
    assert called == []
    loop.move(10)
    assert (called, loop.waits_for()) == (["a"], [20])
    loop.move(25)
    assert sorted(called) == ["a", "b", "d"]
    loop.move(31)
    assert (called[-1], loop.waits_for()) == ("c", [])


def test_a_loop_that_calls_early_is_asked_again(loop: Loop) -> None:
    called: list[int] = []
    loop.timers.add(10, lambda: called.append(1))
    loop.handles.pop().call()
    assert (called, loop.waits_for()) == ([], [10])


def test_one_that_is_cancelled_is_not_called(loop: Loop) -> None:
    called: list[int] = []
    first, second, third = (loop.timers.add(10, lambda n=n: called.append(n)) for n in range(3))  # type: ignore[misc]
    first.cancel()
    first.cancel()
    loop.now = 10
    loop.handles.pop().call()
    second.cancel()  # when it was about to be called
    loop.move(10)
    assert called == [2]
    third.cancel()
    assert called == [2]


def test_the_error_of_one_keeps_no_other_from_being_called(loop: Loop) -> None:
    called: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError

    loop.timers.add(10, fail)
    loop.timers.add(10, lambda: called.append(1))
    with pytest.raises(ZeroDivisionError):
        loop.move(10)
    loop.move(10)
    assert called == [1]


def test_those_that_are_cancelled_are_freed_once_they_are_most(loop: Loop) -> None:
    timers = [loop.timers.add(10 + n, loop.soon.clear) for n in range(1000)]
    for timer in timers[:990]:
        timer.cancel()
    assert len(loop.timers._heap) < 100
    called: list[int] = []
    timers[990].call = lambda: called.append(1)
    loop.move(2000)
    assert (called, loop.timers._heap) == ([1], [])
