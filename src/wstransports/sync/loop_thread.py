"""An event loop in a thread of its own, which other threads call and wait for."""

import asyncio
import atexit
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# How many seconds the end of the thread is waited for. Its loop waits for names that are being
# looked up, which nothing can interrupt.
PATIENCE = 2.0


class LoopStopped(RuntimeError):
    """The loop has ended, or did so during the call."""


class LoopThread(threading.Thread):
    """A running loop. It refers to none of its callers, so that they can be garbage.

    A daemon: a program may end without `end`, which `atexit` calls.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        # Thread has private names of its own, such as _stop.
        self._loop = asyncio.new_event_loop()
        self._end_of_loop = asyncio.Event()
        self._stopping = False
        # The locks of the calls. No lock protects all this: KeyboardInterrupt can come between the
        # step that takes it and the block that gives it back.
        self._calls: set[threading.Lock] = set()
        self._process = os.getpid()
        try:
            self.start()
        except BaseException:
            self._loop.close()
            raise

    def run(self) -> None:
        """In the thread: run the loop until `stop`, then cancel its tasks."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._end_of_loop.wait())
        for running in list(self._calls):  # those that came too late to be begun
            _release(running)

    def call(self, function: Callable[..., Awaitable[T]], *args: object) -> T:
        """Await `function(*args)` on the loop, in the caller's context; returns its result.

        An exception in the waiting thread, such as KeyboardInterrupt, cancels the call and waits
        for its end. Raises LoopStopped if the loop has ended, RuntimeError in the thread itself and
        in a forked process, and what the function raises.
        """
        if threading.current_thread() is self:
            raise RuntimeError(
                "this is the thread of the connection itself, which must not wait for it: call"
                " from another thread"
            )
        if self.is_forked():
            raise RuntimeError(
                "this connection belongs to the process that opened it: call connect() after fork"
            )
        call = _Call(self._loop, function, args)
        running = call.running
        self._calls.add(running)  # first: the thread's end looks at them after `_stopping` is set
        try:
            self._schedule(partial(call.begin, self.is_over))
            return call.result()
        except BaseException:
            if not call.done:
                with suppress(LoopStopped):
                    self._schedule(call.cancel)
                    call.wait()
            raise
        finally:
            self._calls.discard(running)
            del call  # what is raised refers to this frame, and this to what is raised

    def is_forked(self) -> bool:
        """Whether this is a copy, in a process that was forked: the loop is not here."""
        return self._process != os.getpid()

    def is_over(self) -> bool:
        """Whether the loop has been stopped, or is in another process: nothing can be called."""
        return self._stopping or self.is_forked()

    def stop(self) -> None:
        """End the loop soon."""
        if not self.is_over():
            self._schedule(self._end)
            self._stopping = True

    def end(self) -> None:
        """End the loop, and wait for that, for a bounded time."""
        self.stop()
        self.join(PATIENCE)

    def _schedule(self, step: Callable[[], object]) -> None:
        """Run `step` on the loop, unless that ends meanwhile. Raises LoopStopped after `stop`."""
        if self._stopping:
            raise LoopStopped("the loop of this connection has ended")
        with suppress(RuntimeError):  # another thread stopped the loop, and it is closed
            self._loop.call_soon_threadsafe(step)

    def _end(self) -> None:
        self._stopping = True  # no call is begun from now on: its task would not be cancelled
        self._end_of_loop.set()


class _Call(Generic[T]):
    """A call on the loop: `begin` and `cancel` run there, the rest is for the caller."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        function: Callable[..., Awaitable[T]],
        args: tuple[object, ...],
    ) -> None:
        self.done: bool = False
        self._loop = loop
        self._function = function
        self._args = args
        self._context = copy_context()
        self._task: asyncio.Task[T] | None = None
        # Python raises KeyboardInterrupt between any two steps of Python code, also where a Future
        # takes its lock or gives it back. What waits here is one step.
        self.running: threading.Lock = threading.Lock()
        self.running.acquire()

    def begin(self, is_over: Callable[[], bool]) -> None:
        if is_over():
            self._end(None)
            return
        self._task = self._loop.create_task(
            _awaited(self._function, self._args), context=self._context
        )
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:  # interrupted before it was begun
            self._end(None)

    def wait(self) -> None:
        """Wait for the end; once."""
        self.running.acquire()

    def result(self) -> T:
        """Wait for the end; returns what the function returned, or raises."""
        self.wait()
        if self._task is None or self._task.cancelled():
            raise LoopStopped("the loop of this connection has ended")
        try:
            return self._task.result()
        finally:
            del self  # what is raised refers to this frame

    def _end(self, _: asyncio.Task[T] | None) -> None:
        self.done = True
        # Not now: until this has returned, the loop refers to all that the caller may drop.
        self._loop.call_soon(_release, self.running)


def _release(running: threading.Lock) -> None:
    """Let a call return, unless it has."""
    if running.locked():
        running.release()


async def _awaited(function: Callable[..., Awaitable[T]], args: tuple[object, ...]) -> T:
    return await function(*args)


@atexit.register
def _end_all() -> None:
    """At the end of the interpreter: connections that are open send their Close."""
    running: list[Any] = [t for t in threading.enumerate() if isinstance(t, LoopThread)]
    for thread in running:
        thread.stop()
    for thread in running:
        thread.end()
