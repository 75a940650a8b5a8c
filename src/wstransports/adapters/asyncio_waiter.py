"""What one task waits for on asyncio, again and again: `AsyncioWaiter`."""

import asyncio
import types
from asyncio import current_task
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any

from ..speedups import accelerated_method

Step = Callable[["asyncio.Future[None]"], object]


class AsyncioWaiter:
    """A Waiter. To asyncio it is a future, whose callback `wake` calls at once: a future of
    asyncio's has the loop call it soon, which takes 12 k of an echo's 64 k instructions."""

    __slots__ = ("_asyncio_future_blocking", "_context", "_done", "_loop", "_step")

    def __init__(self, done: "asyncio.Future[None]") -> None:
        self._done = done  # it is, for good: 0.95 of the instructions, as a task knows its class
        self._loop = done.get_loop()
        self._step: Step | None = None  # of the task that waits
        self._context: Context | None = None  # of that task

    @types.coroutine
    def wait(self) -> Generator[Any, None, None]:
        """Return after the next call of `set` or `wake`."""
        self._asyncio_future_blocking = True
        yield self

    def set(self) -> None:
        """Let the task go on, in a later call of the loop."""
        self._go_on(self._done)

    @accelerated_method
    def wake(self) -> None:
        """Let the task go on within this call, unless another one runs."""
        alone = current_task(self._loop) is None  # first: this may run what takes the step
        step, context = self._step, self._context
        if step is None or context is None or not alone:
            self.set()
            return
        self._step = self._context = None
        try:
            context.run(step, self._done)
        except RuntimeError:  # not the task's: its context is entered already
            self._loop.call_soon(step, self._done, context=context)

    # As a future: the task that waits calls these.

    @accelerated_method
    def add_done_callback(self, step: Step, *, context: Context) -> None:
        """Call `step` when the task is to go on."""
        self._step = step
        self._context = context

    def cancel(self, msg: Any = None) -> bool:
        """Let the task go on with CancelledError; returns False if it goes on already."""
        cancelled = self._loop.create_future()
        cancelled.cancel(msg)
        return self._go_on(cancelled)

    def _go_on(self, how: "asyncio.Future[None]") -> bool:
        step, context = self._step, self._context
        if step is None:
            return False
        self._step = self._context = None
        self._loop.call_soon(step, how, context=context)
        return True
