"""The timers that connections share: when they call, and what they hold."""

from collections.abc import Callable
from functools import partial
from weakref import ref

import pytest

from wstransports.adapters.far_timers import FarTimer, FarTimers


class Timers(FarTimers):
    """With a clock that the test moves."""

    def __init__(self) -> None:
        self.time = 0.0
        super().__init__(lambda: self.time)
        self.asked: float | None = None
        self.soon: list[Callable[[], None]] = []

    def _wake_at(self, when: float | None) -> None:
        self.asked = when

    def call_at(self, when: float, call: Callable[[], None]) -> FarTimer:
        return self.add(when, call, self.soon.append)

    def wake(self) -> None:
        self._call_due()

    def waits_for(self) -> float | None:
        return self.asked

    def held(self) -> int:
        return len(self._heap)

    def move(self, time: float) -> None:
        """Move the clock: what is due is called."""
        self.time = time
        if self.asked is not None and self.asked <= time:
            self.wake()
        while self.soon:
            self.soon.pop(0)()


@pytest.fixture
def timers() -> Timers:
    return Timers()


def test_each_is_called_at_its_time(timers: Timers) -> None:
    called: list[str] = []
    for when, name in ((20, "b"), (10, "a"), (30, "c"), (20, "d")):
        timers.call_at(when, partial(called.append, name))
    assert timers.waits_for() == 10
    timers.move(9)
    assert called == []
    timers.move(10)
    assert (called, timers.waits_for()) == (["a"], 20)
    timers.move(25)
    assert sorted(called) == ["a", "b", "d"]
    timers.move(31)
    assert (called[-1], timers.waits_for()) == ("c", None)


def test_one_that_is_woken_early_waits_again(timers: Timers) -> None:
    called: list[int] = []
    timers.call_at(10, lambda: called.append(1))
    timers.asked = None
    timers.wake()
    assert (called, timers.waits_for()) == ([], 10)


def test_one_that_is_cancelled_is_not_called(timers: Timers) -> None:
    called: list[int] = []
    first, second, third = (timers.call_at(10, partial(called.append, n)) for n in range(3))
    first.cancel()
    first.cancel()
    timers.time = 10
    timers.wake()
    second.cancel()  # when it was about to be called
    timers.move(10)
    assert called == [2]
    third.cancel()
    assert called == [2]


def test_nobody_waits_for_those_that_are_cancelled(timers: Timers) -> None:
    called: list[int] = []
    first, second = (timers.call_at(when, timers.soon.clear) for when in (10, 20))
    first.cancel()
    assert timers.waits_for() == 10  # one early turn costs less than to look for the next
    second.cancel()
    assert (timers.waits_for(), timers.held()) == (None, 0)
    timers.call_at(30, lambda: called.append(1))
    assert timers.waits_for() == 30
    timers.move(30)
    assert called == [1]


def test_the_error_of_one_keeps_no_other_from_being_called(timers: Timers) -> None:
    called: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError

    timers.call_at(10, fail)
    timers.call_at(10, lambda: called.append(1))
    with pytest.raises(ZeroDivisionError):
        timers.move(10)
    timers.move(10)
    assert called == [1]


def test_one_that_is_cancelled_keeps_nothing(timers: Timers) -> None:
    """It waits for its time: a connection that it kept would be in memory for that long."""

    class Pipe:
        def soon(self, call: Callable[[], None]) -> None: ...

        def call(self) -> None: ...

    pipe = Pipe()
    kept = ref(pipe)
    timers.call_at(10, timers.soon.clear)
    timers.add(20, pipe.call, pipe.soon).cancel()
    del pipe
    assert timers.held() == 2
    assert kept() is None


def test_those_that_are_cancelled_are_freed_once_they_are_most(timers: Timers) -> None:
    made = [timers.call_at(10 + n, timers.soon.clear) for n in range(1000)]
    for timer in made[:990]:
        timer.cancel()
    assert timers.held() < 100
    called: list[int] = []
    made[990].call = lambda: called.append(1)
    timers.move(2000)
    assert (called, timers.held()) == ([1], 0)
