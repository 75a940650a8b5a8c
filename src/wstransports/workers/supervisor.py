"""Which workers run, as a state machine: events in, orders out. It has no processes, no clock."""

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

# Seconds after which a worker counts as one that works: the next one starts at once when it ends.
STEADY = 10.0

# Seconds before a worker that ended sooner is replaced: they double each time.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0

# Seconds that new workers have until they serve, or else the old ones go on.
START_TIME = 120.0

# Seconds in which the old workers must say that they accept no more: then they drain anyway.
ANSWER_TIME = 5.0


class Act(Enum):
    """What is to be done with a worker."""

    START = "start"
    STOP_ACCEPTING = "stop accepting"
    DRAIN = "drain"
    KILL = "kill"


class Order(NamedTuple):
    """Do this with the worker of that number."""

    act: Act
    worker: int


@dataclass
class _Worker:
    """A process that has not ended."""

    number: int
    place: "_Place"
    serves_since: float | None = None
    drains: bool = False
    kill_at: float = math.inf


class _Place:
    """Where one worker should run: the process that does, or when the next one starts."""

    def __init__(self) -> None:
        self.worker: _Worker | None = None
        self.start_at = math.inf
        self.failures = 0  # one after another, each of them soon


class Supervisor:
    """Keeps `count` workers running, replaces all of them, and ends them.

    A worker may take `leave_time` seconds to leave; then it is killed. `report` gets the level and
    the text of each log line. Each method that takes `now` is an event; `orders` then returns what
    is to be done.
    """

    def __init__(self, count: int, leave_time: float, report: Callable[[int, str], object]) -> None:
        self.stopping: bool = False
        """No worker is started any more."""
        self.failed: bool = False
        """The first workers all ended before one of them served."""
        self._leave_time = leave_time
        self._report = report
        self._places = [_Place() for _ in range(count)]
        self._workers: dict[int, _Worker] = {}
        self._last = 0
        self._ever_served = False
        self._orders: list[Order] = []
        self._new: list[_Worker] = []  # those that will replace the others
        self._give_up_at = math.inf
        self._again = False  # another replacement was asked for meanwhile
        self._old: list[_Worker] = []  # those that were to stop accepting, and have not said so
        self._drain_at = math.inf
        self._leaving: list[_Worker] = []  # all that were to stop accepting, and do not drain yet

    @property
    def over(self) -> bool:
        """No worker is left, and none will be started."""
        return self.stopping and not self._workers

    def orders(self) -> list[Order]:
        """What is to be done now, in this order."""
        orders, self._orders = self._orders, []
        return orders

    def deadline(self) -> float:
        """When `wake` is to be called at the latest; infinity for never."""
        times = [worker.kill_at for worker in self._workers.values()]
        if not self._new:
            times += [place.start_at for place in self._places]
        return min([*times, self._give_up_at, self._drain_at])

    # Events.

    def start(self) -> None:
        """Begin: start the first workers."""
        for place in self._places:
            place.worker = self._start(place)

    def serves(self, number: int, now: float) -> None:
        """A worker accepts connections."""
        worker = self._workers[number]
        worker.serves_since = now
        self._report(logging.INFO, f"worker {number} serves")
        if self.stopping:
            return
        if not self._ever_served:
            self._ever_served = True
            self._fill(now)
        if self._new and all(one.serves_since is not None for one in self._new):
            self._take_over(now)

    def accepts_no_more(self, number: int, now: float) -> None:
        """A worker has stopped accepting, as it was ordered."""
        self._forget_old(self._workers[number], now)

    def ended(self, number: int, how: str, now: float) -> None:
        """The process of a worker has ended; `how` says it in words."""
        worker = self._workers.pop(number)
        level = logging.INFO if how == "status 0" else logging.WARNING
        self._report(level, f"worker {number} ended: {how}")
        if worker in self._new:
            self._new.remove(worker)
            self._give_up(f"worker {number} ended before all of them served", now)
        elif worker.place.worker is worker:
            worker.place.worker = None
            if not self.stopping:
                self._replace(worker, now)
        self._forget_old(worker, now)
        if not (self._workers or self._ever_served or self.stopping):
            self.stopping = self.failed = True

    def replace_all(self, now: float) -> None:
        """Start new workers in the place of all; the old ones leave when the new ones serve."""
        if self.stopping:
            return
        if self._new:
            self._again = True
            self._report(logging.INFO, "the workers are replaced once more after this")
            return
        self._report(logging.INFO, "new workers start")
        self._give_up_at = now + START_TIME
        self._new = [self._start(place) for place in self._places]

    def stop(self, now: float) -> None:
        """Let all workers drain and end; at the second call, kill them."""
        if self.stopping:
            for number in self._workers:
                self._order(Act.KILL, number)
            return
        self.stopping = True
        self._report(logging.INFO, "the workers drain")
        self._new, self._old, self._leaving = [], [], []
        self._give_up_at = self._drain_at = math.inf
        for place in self._places:
            place.start_at = math.inf
        self._drain(self._workers.values(), now)

    def wake(self, now: float) -> None:
        """Time has passed."""
        for worker in self._workers.values():
            if now >= worker.kill_at:
                worker.kill_at = math.inf
                self._report(logging.WARNING, f"worker {worker.number} did not leave: it is killed")
                self._order(Act.KILL, worker.number)
        if now >= self._give_up_at:
            self._give_up(f"not all of them served within {START_TIME:.0f} s", now)
        if now >= self._drain_at:
            self._drain_old(now)
        for place in self._places:
            if now >= place.start_at and not self._new:
                place.start_at = math.inf
                place.worker = self._start(place)

    # Steps.

    def _order(self, act: Act, number: int) -> None:
        self._orders.append(Order(act, number))

    def _start(self, place: _Place) -> _Worker:
        self._last += 1
        worker = self._workers[self._last] = _Worker(self._last, place)
        self._order(Act.START, worker.number)
        return worker

    def _replace(self, ended: _Worker, now: float) -> None:
        """Start a worker in the place of one that ended: at once, or after a while."""
        place = ended.place
        served = ended.serves_since is not None and now - ended.serves_since >= STEADY
        place.failures = 0 if served else place.failures + 1
        if self._ever_served:
            pause = _pause(place.failures)
            place.start_at = now + pause
            if pause:
                self._report(logging.WARNING, f"the next worker starts in {pause:g} s")

    def _fill(self, now: float) -> None:
        """Start what ended before any worker served."""
        for place in self._places:
            if place.worker is None:
                place.start_at = now + _pause(place.failures)

    def _take_over(self, now: float) -> None:
        """The new workers all serve: the old ones stop accepting, and then drain."""
        self._report(logging.INFO, "the new workers serve: the old ones leave")
        new, self._new = self._new, []
        self._give_up_at = math.inf
        for worker in new:
            place = worker.place
            if place.worker is not None:
                self._order(Act.STOP_ACCEPTING, place.worker.number)
                self._old.append(place.worker)
                self._leaving.append(place.worker)
            place.worker, place.start_at, place.failures = worker, math.inf, 0
        self._drain_at = now + ANSWER_TIME
        if not self._old:
            self._drain_old(now)
        self._begin_again(now)

    def _forget_old(self, worker: _Worker, now: float) -> None:
        """A worker accepts no more, or has ended: when none is left that accepts, all drain.

        Before that, a client that reconnects could come to one that drains next.
        """
        if worker in self._old:
            self._old.remove(worker)
            if not self._old:
                self._drain_old(now)

    def _drain_old(self, now: float) -> None:
        leaving, self._leaving, self._old = self._leaving, [], []
        self._drain_at = math.inf
        self._drain([worker for worker in leaving if worker.number in self._workers], now)

    def _give_up(self, why: str, now: float) -> None:
        """The new workers are of no use: the old ones go on."""
        self._report(logging.ERROR, f"the new workers are given up, and the old ones stay: {why}")
        new, self._new = self._new, []
        self._give_up_at = math.inf
        self._drain(new, now)
        self._begin_again(now)

    def _begin_again(self, now: float) -> None:
        if self._again:
            self._again = False
            self.replace_all(now)

    def _drain(self, workers: Iterable[_Worker], now: float) -> None:
        for worker in workers:
            if not worker.drains:
                worker.drains = True
                worker.kill_at = now + self._leave_time
                self._order(Act.DRAIN, worker.number)


def _pause(failures: int) -> float:
    """Seconds before the next start after so many failures."""
    return min(FIRST_PAUSE * 2.0 ** (failures - 1), LONGEST_PAUSE) if failures else 0.0
