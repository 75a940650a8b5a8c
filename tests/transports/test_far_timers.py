"""The timers that connections share: when they call, and what they hold."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from weakref import ref

import pytest

from wstransports.adapters.far_timers import FAR, FarTimer, FarTimers
from wstransports.runtime import Timer


@dataclass
class Asked:
    """What the loop is to call."""

    when: float
    call: Callable[[], None]
    over: bool = False  # called or cancelled

    def cancel(self) -> None:
        self.over = True


class Timers(FarTimers):
    """With a clock that the test moves."""

    def __init__(self) -> None:
        self.time = 0.0
        super().__init__(lambda: self.time, self.ask)
        self.asked: list[Asked] = []
        self.soon: list[Callable[[], None]] = []

    def ask(self, when: float, call: Callable[[], None]) -> Timer:
        self.asked.append(Asked(when, call))
        return self.asked[-1]

    def far(self, when: float, call: Callable[[], None]) -> FarTimer:
        timer = self.call_at(when, call, self.near)
        assert isinstance(timer, FarTimer)
        return timer

    def near(self, when: float, call: Callable[[], None]) -> Timer:
        assert when <= self.time
        self.soon.append(call)
        return Asked(when, call)

    def wake(self) -> None:
        self._call_due()

    def waits_for(self) -> float | None:
        waiting = [asked.when for asked in self.asked if not asked.over]
        assert len(waiting) <= 1
        return waiting[0] if waiting else None

    def held(self) -> int:
        return len(self._heap)

    def move(self, time: float) -> None:
        """Move the clock: what is due is called."""
        self.time = time
        for asked in self.asked:
            if not asked.over and asked.when <= time:
                asked.over = True
                asked.call()
        while self.soon:
            self.soon.pop(0)()


@pytest.fixture
def timers() -> Timers:
    return Timers()


def test_each_is_called_at_its_time(timers: Timers) -> None:
    called: list[str] = []
    for when, name in ((20, "b"), (10, "a"), (30, "c"), (20, "d")):
        timers.far(when, partial(called.append, name))
    assert timers.waits_for() == 10
    timers.move(9)
    assert called == []
    timers.move(10)
    assert (called, timers.waits_for()) == (["a"], 20)
    timers.move(25)
    assert sorted(called) == ["a", "b", "d"]
    timers.move(31)
    assert (called[-1], timers.waits_for()) == ("c", None)


def test_a_near_one_is_the_loops_own(timers: Timers) -> None:
    called: list[int] = []
    timer = timers.call_at(FAR / 2, lambda: called.append(1))
    assert (timer, timers.waits_for(), timers.held()) == (timers.asked[0], FAR / 2, 0)
    timers.move(FAR / 2)
    assert called == [1]


def test_one_that_is_woken_early_waits_again(timers: Timers) -> None:
    called: list[int] = []
    timers.far(10, lambda: called.append(1))
    timers.wake()
    assert (called, timers.waits_for()) == ([], 10)


def test_one_that_is_cancelled_is_not_called(timers: Timers) -> None:
    called: list[int] = []
    first, second, third = (timers.far(10, partial(called.append, n)) for n in range(3))
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
    first, second = (timers.far(when, timers.soon.clear) for when in (10, 20))
    first.cancel()
    assert timers.waits_for() == 10  # one early turn costs less than to look for the next
    second.cancel()
    assert (timers.waits_for(), timers.held()) == (None, 0)
    timers.far(30, lambda: called.append(1))
    assert timers.waits_for() == 30
    timers.move(30)
    assert called == [1]


def test_when_the_last_was_called_nobody_waits_for_those_that_are_cancelled(timers: Timers) -> None:
    called: list[int] = []
    timers.far(10, lambda: called.append(10))
    cancelled = [timers.far(when, timers.soon.clear) for when in (20, 30, 50)]
    last = timers.far(40, lambda: called.append(40))
    for timer in cancelled:
        timer.cancel()
    timers.move(10)
    assert (timers.waits_for(), timers.held()) == (40, 2)
    timers.move(40)
    assert (called, timers.waits_for(), timers.held()) == ([10, 40], None, 0)
    last.cancel()
    timers.far(60, timers.soon.clear).cancel()  # the count of those that are cancelled is right
    assert (timers.waits_for(), timers.held()) == (None, 0)


def test_the_error_of_one_keeps_no_other_from_being_called(timers: Timers) -> None:
    called: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError

    timers.far(10, fail)
    timers.far(10, lambda: called.append(1))
    with pytest.raises(ZeroDivisionError):
        timers.move(10)
    timers.move(10)
    assert called == [1]


def test_one_that_is_cancelled_keeps_nothing(timers: Timers) -> None:
    """It waits for its time: a connection that it kept would be in memory for that long."""

    class Pipe:
        def near(self, when: float, call: Callable[[], None]) -> Timer:
            return Asked(when, call)

        def call(self) -> None: ...

    pipe = Pipe()
    kept = ref(pipe)
    timers.far(10, timers.soon.clear)
    timers.call_at(20, pipe.call, pipe.near).cancel()
    del pipe
    assert timers.held() == 2
    assert kept() is None


def test_those_that_are_cancelled_are_freed_once_they_are_most(timers: Timers) -> None:
    made = [timers.far(10 + n, timers.soon.clear) for n in range(1000)]
    for timer in made[:990]:
        timer.cancel()
    assert timers.held() < 100
    called: list[int] = []
    made[990].call = lambda: called.append(1)
    timers.move(2000)
    assert (called, timers.held()) == ([1], 0)
