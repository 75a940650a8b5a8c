"""A small deterministic event loop for tests: tasks, signals, and a clock that stands still.

Tasks that are ready run in order; only `Kernel.advance` turns the clock. So a test always runs the
same way, and a test that waits for something that cannot happen fails at once instead of hanging.
"""

import heapq
import itertools
import types
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import Context, copy_context
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_PARKED = object()
"""What a suspended task yields; anything else comes from another event loop."""


class Cancelled(BaseException):
    """Thrown into a task where it waits, by `MemoryTask.cancel` or by a timeout."""


class Deadlock(Exception):
    """Every task waits and nothing can wake one; the message says which task waits where."""


@types.coroutine
def _park() -> Generator[object, None, None]:
    yield _PARKED


class MemoryTask(Generic[T]):
    """A running coroutine. Await it, or `wait()`, for what it returns or raises."""

    def __init__(
        self, runtime: "Kernel", coroutine: Coroutine[Any, Any, T], context: Context | None = None
    ) -> None:
        self.done: bool = False
        self._context = copy_context() if context is None else context
        self._runtime = runtime
        self._coroutine = coroutine
        self._queued = False
        self._thrown: BaseException | None = None
        self._cancels = 0  # asked for and not taken back; a timeout takes its own back
        self._over = runtime.signal()
        self._value: T
        self._error: BaseException | None = None
        runtime._tasks[self] = None

    def cancel(self) -> None:
        """Throw `Cancelled` into the task where it waits, or before its first step."""
        self._cancels += 1
        self._throw(Cancelled())

    @property
    def result(self) -> T:
        """What the coroutine returned; raises what it raised, `Cancelled` if it was cancelled.

        Raises RuntimeError while the task runs: `await task.wait()` first.
        """
        if not self.done:
            raise RuntimeError("the task still runs: await its wait() first")
        if self._error is not None:
            self._runtime._unseen.pop(self, None)
            raise self._error
        return self._value

    async def wait(self) -> T:
        """Return or raise `result` as soon as there is one."""
        await self._over.wait()
        return self.result

    def __await__(self) -> Generator[Any, Any, T]:
        return self.wait().__await__()

    def _wake(self) -> None:
        if not self._queued:
            self._queued = True
            self._runtime._ready.append(self._step)

    def _throw(self, exc: BaseException) -> None:
        if self._thrown is None:
            self._thrown = exc
        self._wake()

    def _step(self) -> None:
        """Run the coroutine up to its next suspension; also from within another task's step."""
        self._queued = False
        if self.done:
            return
        thrown, self._thrown = self._thrown, None
        outer, self._runtime._current = self._runtime._current, self
        self._runtime._entered.append(self._context)
        try:
            if thrown is None:
                parked = self._context.run(self._coroutine.send, None)
            else:
                parked = self._context.run(self._coroutine.throw, thrown)
        except StopIteration as stop:
            self._value = stop.value
            self._end()
        except Cancelled as exc:
            self._error = exc
            self._end()
        except Exception as exc:  # noqa: BLE001  # raised where it is awaited, or by `run`
            self._error = exc
            self._runtime._unseen[self] = exc
            self._end()
        else:
            if parked is not _PARKED:
                self._throw(RuntimeError(f"{parked!r} belongs to another event loop"))
        finally:
            self._runtime._current = outer
            self._runtime._entered.pop()

    def _end(self) -> None:
        self.done = True
        self._context = Context()  # it may refer to what refers to this task
        del self._runtime._tasks[self]
        self._over.set()

    def _whereabouts(self) -> str:
        calls = []
        awaited: object = self._coroutine
        while isinstance(awaited, types.CoroutineType) and (frame := awaited.cr_frame):
            file = Path(frame.f_code.co_filename).name
            calls.append(f"{frame.f_code.co_qualname} ({file}:{frame.f_lineno})")
            awaited = awaited.cr_await
        return " > ".join(calls)


class MemorySignal:
    """The contract's Signal."""

    def __init__(self, runtime: "Kernel") -> None:
        self._runtime = runtime
        self._is_set = False
        self._waiters: dict[MemoryTask[Any], None] = {}  # a set that keeps its order

    def set(self) -> None:
        """Wake the tasks that wait, now or later; a second call changes nothing."""
        self._is_set = True
        for task in self._waiters:
            task._wake()

    async def wait(self) -> None:
        """Return when `set` has been called."""
        if not self._is_set:
            task = self._runtime._running_task()
            self._waiters[task] = None
            try:
                await _park()
            finally:
                del self._waiters[task]


class MemoryWaiter:
    """The contract's Waiter."""

    def __init__(self, runtime: "Kernel") -> None:
        self._runtime = runtime
        self._task: MemoryTask[Any] | None = None

    async def wait(self) -> None:
        """Return after the next call of `set` or `wake`."""
        self._task = self._runtime._running_task()
        try:
            await _park()
        finally:
            self._task = None

    def set(self) -> None:
        """Let the task go on later."""
        if self._task is not None:
            self._task._wake()

    def wake(self) -> None:
        """Let the task go on within this call, unless another one runs."""
        task = self._task
        if task is None or task._queued or self._runtime._current is not None:
            self.set()
        else:
            task._step()


class MemoryTimer:
    """The contract's Timer."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Do not call."""
        self.call = None

    def _fire(self) -> None:
        if self.call is not None:
            self.call()


class Kernel:
    """The event loop."""

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, MemoryTimer]] = []
        self._timer_numbers = itertools.count()  # timers of one moment go in order of making
        self._advancing: list[tuple[float, MemorySignal]] = []
        self._tasks: dict[MemoryTask[Any], None] = {}  # a set that keeps its order
        self._current: MemoryTask[Any] | None = None
        self._entered: list[Context] = []  # the contexts of the steps that run, one in another
        self._unseen: dict[object, Exception] = {}  # by task, or for a callback by anything

    def run(self, async_main: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Run `async_main(*args)` to its end, then cancel the tasks that are left.

        Returns its value. Raises its exception, or that of a callback or of a task that was not
        awaited; an ExceptionGroup if there are several. When no task can go on, `Deadlock`
        is raised inside `async_main`, where it waits.
        """
        main = self.spawn(async_main(*args))
        self._run_until_done([main])
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            self._run_until_done(list(self._tasks))
        unseen = list({id(exc): exc for exc in self._unseen.values()}.values())
        self._unseen.clear()
        if len(unseen) > 1:
            raise ExceptionGroup("several exceptions that were not awaited", unseen)
        for exc in unseen:
            raise exc
        return main.result

    def spawn(self, coroutine: Coroutine[Any, Any, T], group: Any = None) -> MemoryTask[T]:
        """Run a coroutine in a task of its own, from the next suspension on; it needs no group."""
        task = MemoryTask(self, coroutine)
        task._wake()
        return task

    async def advance(self, seconds: float) -> None:
        """Turn the clock forward, timer by timer.

        Before each timer, and at the end, everything runs until nothing more can.
        """
        if not seconds >= 0:
            raise ValueError(f"the clock cannot be turned by {seconds} seconds: give 0 or more")
        arrived = self.signal()
        turning = (self._now + seconds, arrived)
        self._advancing.append(turning)
        try:
            await arrived.wait()
        finally:
            self._advancing.remove(turning)

    async def settle(self) -> None:
        """Run every task that can go on, except the caller; the clock stands still."""
        await self.advance(0)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been turned that far."""
        over = self.signal()
        self.call_at(self._now + seconds, over.set)
        await over.wait()

    def now(self) -> float:
        """The clock, in seconds; it starts at 0."""
        return self._now

    def signal(self) -> MemorySignal:
        """A new Signal."""
        return MemorySignal(self)

    def waiter(self) -> MemoryWaiter:
        """A new Waiter."""
        return MemoryWaiter(self)

    def call_at(self, when: float, call: Callable[[], None]) -> MemoryTimer:
        """Call `call` when the clock shows `when`; soon, if it does already."""
        timer = MemoryTimer(call)
        if when <= self._now:
            self._ready.append(timer._fire)
        else:
            heapq.heappush(self._timers, (when, next(self._timer_numbers), timer))
        return timer

    def timeout_at(self, when: float) -> AbstractAsyncContextManager[None]:
        """A block that is cancelled, and raises TimeoutError, when the clock shows `when`."""
        return self._timeout_at(when)

    @asynccontextmanager
    async def _timeout_at(self, when: float) -> AsyncIterator[None]:
        task = self._running_task()
        cancels = task._cancels
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            task.cancel()

        timer = self.call_at(when, expire)
        try:
            yield
        except Cancelled as exc:
            # A cancellation by somebody else goes before ours.
            if expired and task._cancels == cancels + 1:
                raise TimeoutError from exc
            raise
        finally:
            timer.cancel()
            task._cancels -= expired

    async def checkpoint(self) -> None:
        """Let others run once."""
        self._running_task()._wake()
        await _park()

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Call the function here: in memory there are no threads."""
        await self.checkpoint()
        return function()

    def current_task(self) -> MemoryTask[Any] | None:
        """The task that runs now; None in a callback of the kernel, and outside `run`."""
        return self._current

    def is_cancellation(self, error: BaseException) -> bool:
        """Whether it is this task's own, not that of another which it awaited."""
        task = self._current
        return isinstance(error, Cancelled) and task is not None and task._cancels > 0

    def _running_task(self) -> MemoryTask[Any]:
        if self._current is None:
            raise RuntimeError("nothing can wait here: only a task inside run() can")
        return self._current

    def _run_until_done(self, tasks: list[MemoryTask[Any]]) -> None:
        while not all(task.done for task in tasks):
            if not self._turn():
                stuck = "".join(f"\n  {task._whereabouts()}" for task in self._tasks)
                message = f"no task can go on, because only advance() turns the clock:{stuck}"
                for task in tasks:
                    task._throw(Deadlock(message))

    def _turn(self) -> bool:
        """Do the next thing there is to do; False when there is none."""
        if self._ready:
            call = self._ready.popleft()
            try:
                call()
            except Exception as exc:  # noqa: BLE001  # raised by `run`
                self._unseen[object()] = exc
        elif self._advancing:
            until, arrived = min(self._advancing, key=lambda turning: turning[0])
            if self._timers and self._timers[0][0] <= until:
                self._now, _, timer = heapq.heappop(self._timers)
                self._ready.append(timer._fire)
            else:
                self._now = until
                arrived.set()
        else:
            return False
        return True
