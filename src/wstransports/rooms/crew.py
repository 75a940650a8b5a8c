"""Work in the background: a bounded number of tasks do it, one piece after another."""

from typing import Any, Protocol

from ..runtime import Runtime, Signal, Task

# The most tasks. Each has one call of the broker at a time.
MOST = 32


class Work(Protocol):
    """What can be done again and again."""

    async def run(self) -> None:
        """Do it. Raises nothing but the task's cancellation."""


class Crew:
    """Does each piece of work once more after each `add`, and never twice at a time."""

    def __init__(self, runtime: Runtime, group: Any) -> None:
        self._runtime = runtime
        self._group = group
        self._due: dict[Work, None] = {}  # a set that keeps its order
        self._active: set[Work] = set()
        self._tasks: dict[int, Task] = {}
        self._numbers = 0
        self._idle = runtime.signal()  # set when nothing is left to do; for the next time, another

    def add(self, work: Work) -> None:
        """Have this done soon, after what is being done for it now."""
        self._due[work] = None
        if work not in self._active and len(self._tasks) < MOST:
            if not self._tasks:
                self._idle = self._runtime.signal()
            self._numbers = number = self._numbers + 1
            self._tasks[number] = self._runtime.spawn(self._work(number), self._group)

    def idle(self) -> Signal:
        """What is set when nothing is left to do."""
        if not self._tasks:
            self._idle.set()
        return self._idle

    def stop(self) -> None:
        """Do no more, and cancel what is being done."""
        self._due.clear()
        for task in list(self._tasks.values()):
            task.cancel()

    async def _work(self, number: int) -> None:
        try:
            while (work := self._next()) is not None:
                del self._due[work]
                self._active.add(work)
                try:
                    await work.run()
                finally:
                    self._active.discard(work)
        finally:
            del self._tasks[number]
            if not self._tasks:
                self._idle.set()

    def _next(self) -> Work | None:
        """What is due and not being done: at most MOST are both."""
        return next((work for work in self._due if work not in self._active), None)
