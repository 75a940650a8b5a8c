"""Runtimes in memory that are wrong, each in one way; and the rule that this breaks."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, TypeVar

from wstransports.address import Address
from wstransports.batch import Batch
from wstransports.runtime import Sink
from wstransports.testing import Rule
from wstransports.testing.memory import MemoryEnd, MemoryListener, MemoryRuntime
from wstransports.testing.memory_kernel import Cancelled, MemorySignal, MemoryTask, MemoryWaiter

T = TypeVar("T")

WRONG_RUNTIMES: list[tuple[Rule, type[MemoryRuntime]]] = []


def breaks(rule: Rule) -> Any:
    """Note which rule a class breaks."""

    def note(wrong: type[MemoryRuntime]) -> type[MemoryRuntime]:
        WRONG_RUNTIMES.append((rule, wrong))
        return wrong

    return note


@breaks(Rule.NOW)
class StandsStill(MemoryRuntime):
    def now(self) -> float:
        return 0.0


@breaks(Rule.BATCH)
class HasABatchForEachLook(MemoryRuntime):
    batch = property(lambda self: Batch(), lambda self, batch: None)


@breaks(Rule.CHECKPOINT)
class LetsNobodyRun(MemoryRuntime):
    async def checkpoint(self) -> None:
        """Does not suspend."""


@breaks(Rule.CHECKPOINT)
class RaisesInACheckpoint(MemoryRuntime):
    async def checkpoint(self) -> None:
        if len(self._tasks) > 1 and self.current_task() is not next(iter(self._tasks)):
            raise OSError("only the main task can wait")
        await super().checkpoint()


@breaks(Rule.IN_THREAD)
class ReturnsNothing(MemoryRuntime):
    async def in_thread(self, function: Callable[[], T]) -> T:
        function()
        return None  # type: ignore[return-value]  # wrong on purpose


@breaks(Rule.IN_THREAD)
class RaisesNothing(MemoryRuntime):
    async def in_thread(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except ZeroDivisionError:
            return None  # type: ignore[return-value]  # wrong on purpose


@breaks(Rule.CURRENT_TASK)
class HasOneTaskForAll(MemoryRuntime):
    def current_task(self) -> MemoryTask[Any]:
        return self  # type: ignore[return-value]  # wrong on purpose


@breaks(Rule.CURRENT_TASK)
class HasANewTaskForEachLook(MemoryRuntime):
    def current_task(self) -> MemoryTask[Any]:
        return object()  # type: ignore[return-value]  # wrong on purpose


@breaks(Rule.CURRENT_TASK)
class HasOneTaskOnlyForTheFirst(MemoryRuntime):
    def current_task(self) -> MemoryTask[Any]:
        task = self._running_task()
        return task if task is next(iter(self._tasks)) else object()  # type: ignore[return-value]


class _WrongSignal(MemoryRuntime):
    made: type[MemorySignal]
    _turning = False

    def signal(self) -> MemorySignal:
        if self._turning:  # the clock's own is right
            self._turning = False
            return MemorySignal(self)
        return self.made(self)

    async def advance(self, seconds: float) -> None:
        self._turning = True
        await super().advance(seconds)


@breaks(Rule.SIGNAL_WAITS)
class DoesNotWaitForASignal(_WrongSignal):
    class made(MemorySignal):
        async def wait(self) -> None:
            await self._runtime.checkpoint()


@breaks(Rule.SIGNAL_KEPT)
class LosesASignalSetBefore(_WrongSignal):
    class made(MemorySignal):
        def set(self) -> None:
            for task in self._waiters:
                task._wake()


@breaks(Rule.SIGNAL_WAKES)
class WakesOneOnly(_WrongSignal):
    class made(MemorySignal):
        def set(self) -> None:
            self._is_set = True
            for task in list(self._waiters)[:1]:
                task._wake()


@breaks(Rule.SIGNAL_WAKES)
class RaisesWhereItWakes(_WrongSignal):
    class made(MemorySignal):
        async def wait(self) -> None:
            await super().wait()
            raise OSError("the signal came")


class _WrongWaiter(MemoryRuntime):
    made: type[MemoryWaiter]

    def waiter(self) -> MemoryWaiter:
        return self.made(self)


@breaks(Rule.WAITER_WAITS)
class KeepsACallForTheNextWait(_WrongWaiter):
    class made(MemoryWaiter):
        _kept = False

        async def wait(self) -> None:
            if not self._kept:
                await super().wait()

        def set(self) -> None:
            self._kept = True
            super().set()


@breaks(Rule.WAITER_LATER)
class RunsATaskWithinAnother(_WrongWaiter):
    class made(MemoryWaiter):
        def wake(self) -> None:
            if self._task is not None:
                self._task._step()


@breaks(Rule.WAITER_WAKES)
class WakesOnlyOnce(_WrongWaiter):
    class made(MemoryWaiter):
        _woken = False

        def set(self) -> None:
            if not self._woken:
                self._woken = self._task is not None
                super().set()


@breaks(Rule.WAITER_WAKES)
class RaisesAfterAWait(_WrongWaiter):
    class made(MemoryWaiter):
        async def wait(self) -> None:
            await super().wait()
            raise OSError("it went on")


@asynccontextmanager
async def _never() -> AsyncIterator[None]:
    yield


@breaks(Rule.TIMEOUT_RAISES)
class HasNoTimeouts(MemoryRuntime):
    def timeout_at(self, when: float) -> AbstractAsyncContextManager[None]:
        return _never()


@breaks(Rule.TIMEOUT_RAISES)
class SwallowsTheTimeout(MemoryRuntime):
    @asynccontextmanager
    async def timeout_at(self, when: float) -> AsyncIterator[None]:
        try:
            async with super().timeout_at(when):
                yield
        except TimeoutError:
            return


@breaks(Rule.TIMEOUT_RAISES)
class TimesOutTooEarly(MemoryRuntime):
    def timeout_at(self, when: float) -> AbstractAsyncContextManager[None]:
        return super().timeout_at((when + self.now()) / 2)


@breaks(Rule.TIMEOUT_SILENT)
class CancelsWhatHasEnded(MemoryRuntime):
    @asynccontextmanager
    async def timeout_at(self, when: float) -> AsyncIterator[None]:
        self.call_at(when + 0.001, self._running_task().cancel)
        async with super().timeout_at(when):
            yield


@breaks(Rule.TIMEOUT_SILENT)
class RaisesTimeoutForEveryException(MemoryRuntime):
    @asynccontextmanager
    async def timeout_at(self, when: float) -> AsyncIterator[None]:
        try:
            async with super().timeout_at(when):
                yield
        except Exception as error:
            raise TimeoutError from error


@breaks(Rule.SHIELD)
class ShieldsFromNothing(MemoryRuntime):
    @contextmanager
    def shield(self) -> Iterator[None]:
        self._running_task().cancel()
        yield


@breaks(Rule.SHIELD)
class TimesOutInAShield(MemoryRuntime):
    @contextmanager
    def shield(self) -> Iterator[None]:
        self._running_task().cancel()
        try:
            yield
        except Cancelled as error:
            raise TimeoutError from error


@breaks(Rule.TASK_GROUP)
class RaisesAsTheGroupEnds(MemoryRuntime):
    @asynccontextmanager
    async def task_group(self) -> AsyncIterator[None]:
        yield
        raise OSError("a connection was aborted")


@breaks(Rule.TASK_GROUP)
class WaitsForEverAsTheGroupEnds(MemoryRuntime):
    @asynccontextmanager
    async def task_group(self) -> AsyncIterator[None]:
        yield
        await self.signal().wait()


class _GivesAGroup(MemoryRuntime):
    @asynccontextmanager
    async def task_group(self) -> AsyncIterator[str]:
        yield "a group"


@breaks(Rule.TASK_GROUP)
class ReadsNothingInAGroup(_GivesAGroup):
    async def connect(self, where: Address, sink: Sink, group: Any = None) -> None:
        await super().connect(where, sink)
        if group is not None:
            sink.pipe.pause_reading()  # type: ignore[attr-defined]


@breaks(Rule.TASK_GROUP)
class CannotConnectInAGroup(_GivesAGroup):
    async def connect(self, where: Address, sink: Sink, group: Any = None) -> None:
        if group is not None:
            raise OSError("not a group of this runtime")
        await super().connect(where, sink)


@breaks(Rule.ADDRESS)
class ListensElsewhere(MemoryRuntime):
    async def listen(
        self, where: Address, make_sink: Callable[[], Sink | None], group: Any = None
    ) -> MemoryListener:
        listener = await super().listen(where, make_sink)
        self._listeners["elsewhere", 1] = self._listeners.pop(listener.address())
        wrong = MemoryListener(self, where, ("", 0), lambda: MemoryEnd(self))
        self._listeners[listener.address()] = wrong
        return listener


@breaks(Rule.ADDRESS)
class RefusesWhereItListens(MemoryRuntime):
    async def connect(self, where: Address, sink: Sink, group: Any = None) -> None:
        raise ConnectionRefusedError


@breaks(Rule.CONNECT_CONNECTED)
class ConnectsLater(MemoryRuntime):
    async def connect(self, where: Address, sink: Sink, group: Any = None) -> None:
        self.connect_pipe(sink, where.host or "", where.port)


@breaks(Rule.LISTEN_RAISES)
class ListensWhereSomebodyDoes(MemoryRuntime):
    async def listen(
        self, where: Address, make_sink: Callable[[], Sink | None], group: Any = None
    ) -> MemoryListener:
        self._listeners.pop((where.host or "", where.port), None)
        return await super().listen(where, make_sink)


class _WrongListener(MemoryRuntime):
    made: type[MemoryListener]

    async def listen(
        self, where: Address, make_sink: Callable[[], Sink | None], group: Any = None
    ) -> MemoryListener:
        listener = await super().listen(where, make_sink)
        wrong = self.made(self, where, listener.address(), make_sink)
        self._listeners[listener.address()] = wrong
        return wrong


@breaks(Rule.LISTENER_CLOSES)
class AcceptsForEver(_WrongListener):
    class made(MemoryListener):
        def close(self) -> None:
            """Does nothing."""


@breaks(Rule.LISTENER_CLOSES)
class DropsAllAsItCloses(_WrongListener):
    class made(MemoryListener):
        def __init__(
            self, runtime: MemoryRuntime, where: Address, address: Any, make_sink: Any
        ) -> None:
            self._sinks: list[Any] = []

            def make() -> Any:
                self._sinks.append(make_sink())
                return self._sinks[-1]

            super().__init__(runtime, where, address, make)

        def close(self) -> None:
            super().close()
            for sink in self._sinks:
                sink.pipe.abort()


@breaks(Rule.SPAWNED)
class SpawnsNothing(MemoryRuntime):
    def spawn(self, coroutine: Coroutine[Any, Any, T], group: Any = None) -> MemoryTask[T]:
        task = super().spawn(coroutine)
        if len(self._tasks) > 1:  # the first is the check itself
            task.cancel()
        return task


@breaks(Rule.SPAWNED)
class CancelsNothing(MemoryRuntime):
    def spawn(self, coroutine: Coroutine[Any, Any, T], group: Any = None) -> MemoryTask[T]:
        task = super().spawn(coroutine)
        task.cancel = lambda: None  # type: ignore[method-assign]  # wrong on purpose
        return task


@breaks(Rule.SPAWNED)
class CancelsAllThatItSpawned(MemoryRuntime):
    def spawn(self, coroutine: Coroutine[Any, Any, T], group: Any = None) -> MemoryTask[T]:
        task = super().spawn(coroutine)
        task.cancel = self._cancel_all  # type: ignore[method-assign]  # wrong on purpose
        return task

    def _cancel_all(self) -> None:
        for task in list(self._tasks)[1:]:
            MemoryTask.cancel(task)


@breaks(Rule.SPAWNED)
class SpawnsInOneTask(MemoryRuntime):
    def __init__(self) -> None:
        super().__init__()
        self._spawned: set[object] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, T], group: Any = None) -> MemoryTask[T]:
        task = super().spawn(coroutine)
        self._spawned.add(task)
        return task

    def current_task(self) -> MemoryTask[Any] | None:
        task = self._current
        return next(iter(self._tasks)) if task in self._spawned else task
