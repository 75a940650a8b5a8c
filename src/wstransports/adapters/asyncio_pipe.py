"""What byte streams on asyncio have in common: their tasks and timers."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from ..runtime import Sink, Timer
from ..speedups import accelerated_method
from .asyncio_loop import Loop
from .direct_writes import DirectWrites


class AsyncioPipe(DirectWrites):
    """What all pipes of asyncio have."""

    __slots__ = ("_runtime", "_sink", "_tasks")

    def __init__(self, runtime: Loop, sink: Sink) -> None:
        super().__init__(asyncio.Event)
        self._runtime = runtime
        self._sink = sink
        # What runs, for the loop holds it weakly. A set would be 216 bytes for each connection.
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    @accelerated_method
    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        """Run a coroutine in a Task, its first step at once unless a task may be in `context`."""
        loop = self._runtime.loop
        at_once = asyncio.current_task(loop) is None  # else that may be in `context`
        task = _start(coroutine, loop=loop, context=context, eager_start=at_once)
        if not task.done():
            self._keep(task, context)

    def _keep(self, task: asyncio.Task[None], context: Context) -> None:
        self._tasks += (task,)
        task.add_done_callback(self._task_ended, context=context)

    def cancel(self) -> None:
        """Cancel what `start` began and still runs."""
        for task in self._tasks:
            task.cancel()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks = tuple([other for other in self._tasks if other is not task])

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        """Call `call` when the loop's clock shows `when`."""
        return self._runtime.timers.call_at(when, call)


if sys.version_info >= (3, 12):
    _start = asyncio.Task

else:  # pragma: no cover - only Python 3.11 comes here

    def _start(coroutine: Any, loop: Any, context: Context, eager_start: bool) -> Any:
        """Start a Task, and run its first step now if `eager_start`, which takes 0.66 of an echo's
        72 k instructions. A Task passes that step to the loop's `call_soon`. For a moment, the loop
        has another one, which keeps the step."""
        if not eager_start:
            return asyncio.Task(coroutine, loop=loop, context=context)
        steps: list[Callable[..., None]] = []
        loop.call_soon = lambda step, *, context: steps.append(step)
        try:
            task = asyncio.Task(coroutine, loop=loop, context=context)
        finally:
            del loop.call_soon
        context.run(steps[0])
        return task
