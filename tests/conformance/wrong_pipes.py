"""Pipes in memory that are wrong, each in one way; and the rule that this breaks."""

from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

from wstransports.runtime import Sink
from wstransports.testing import Rule
from wstransports.testing.memory import MemoryPipe, MemoryRuntime
from wstransports.testing.memory_kernel import Cancelled, MemoryTimer

WRONG_PIPES: list[tuple[Rule, type[MemoryPipe]]] = []


def breaks(rule: Rule) -> Any:
    """Note which rule a class breaks."""

    def note(wrong: type[MemoryPipe]) -> type[MemoryPipe]:
        WRONG_PIPES.append((rule, wrong))
        return wrong

    return note


@breaks(Rule.CONNECTED_FIRST)
class ConnectsTwice(MemoryPipe):
    def _deliver(self) -> None:
        self._sink.connected(self)
        super()._deliver()


@breaks(Rule.CONNECTED_FIRST)
class BringsDataBeforeItConnects(MemoryPipe):
    def __init__(self, runtime: MemoryRuntime, sink: Sink) -> None:
        super().__init__(runtime, sink)
        sink.data_received(b"early")


@breaks(Rule.BYTES_ARRIVE)
class LosesTheLastByte(MemoryPipe):
    def write(self, data: bytes) -> None:
        super().write(data[:-1])


@breaks(Rule.BYTES_ARRIVE)
class WritesTheSmallFirst(MemoryPipe):
    def write(self, data: bytes) -> None:
        if len(data) < 100 and not self._closed:
            self._unsent[:0] = data
            self._peer._deliver_soon()
        else:
            super().write(data)


@breaks(Rule.BYTES_ARRIVE)
class WritesTheLastPartFirst(MemoryPipe):
    def writelines(self, parts: list[bytes]) -> None:
        super().writelines(parts[::-1])


@breaks(Rule.BYTES_ARRIVE)
class RaisesInWritelines(MemoryPipe):
    def writelines(self, parts: list[bytes]) -> None:
        raise NotImplementedError


@breaks(Rule.CLOSE_SENDS)
class LosesBytesAtEof(MemoryPipe):
    def close(self) -> None:
        self._unsent.clear()
        super().close()


@breaks(Rule.EOF_ONCE)
class ReportsEofTwice(MemoryPipe):
    def _deliver(self) -> None:
        seen = self._eof_seen
        super()._deliver()
        if self._eof_seen and not seen:
            self._sink.eof_received()


@breaks(Rule.EOF_ONCE)
class ReportsNoEof(MemoryPipe):
    def _deliver(self) -> None:
        if self._peer._unsent or not self._peer._closed:
            super()._deliver()
        else:
            self._eof_seen = True
            self._lose_if_over()


@breaks(Rule.EOF_ONCE)
class BringsDataAfterEof(MemoryPipe):
    def _deliver(self) -> None:
        seen = self._eof_seen
        super()._deliver()
        if self._eof_seen and not seen:
            self._sink.data_received(b"late")


@breaks(Rule.HALF_OPEN)
class IsLostWithOneHalf(MemoryPipe):
    def _deliver(self) -> None:
        super()._deliver()
        if self._eof_seen:
            self._lose(None)


@breaks(Rule.CLOSE_READS_ON)
class DropsWhatComesAfterClose(MemoryPipe):
    def _deliver(self) -> None:
        if self._closed:
            self._peer._take(2**30)
        super()._deliver()


@breaks(Rule.CLOSE_LOSES)
class IsNeverLostCleanly(MemoryPipe):
    def _lose_if_over(self) -> None:
        """Does nothing."""


@breaks(Rule.LOST_ONCE)
class IsLostTwice(MemoryPipe):
    def _report_lost(self, exc: Exception | None) -> None:
        sink = self._sink
        super()._report_lost(exc)
        sink.connection_lost(exc)


@breaks(Rule.LOST_LAST)
class CallsBackAfterTheLoss(MemoryPipe):
    def _report_lost(self, exc: Exception | None) -> None:
        sink = self._sink
        super()._report_lost(exc)
        sink.data_received(b"late")


@breaks(Rule.ABORT_SOON)
class ReportsNoLoss(MemoryPipe):
    def _report_lost(self, exc: Exception | None) -> None:
        self._make_space()


@breaks(Rule.ABORT_SOON)
class AbortsWhenAllIsSent(MemoryPipe):
    def abort(self) -> None:
        if self._unsent:
            self.close()
        else:
            super().abort()


@breaks(Rule.ABORT_SOON)
class AbortsOnlyItself(MemoryPipe):
    def abort(self) -> None:
        self._lose(None)


@breaks(Rule.NOT_WITHIN)
class CallsTheSinkFromAbort(MemoryPipe):
    def abort(self) -> None:
        if not self._lost:
            self._lost = True
            self._report_lost(None)
            self._peer._lose(ConnectionResetError())


@breaks(Rule.NOT_WITHIN)
class CallsTheSinkFromResume(MemoryPipe):
    def resume_reading(self) -> None:
        self._paused = False
        self._deliver()


@breaks(Rule.NOT_WITHIN)
class CallsThePeerFromWrite(MemoryPipe):
    def write(self, data: bytes) -> None:
        super().write(data)
        if self._unsent and not self._peer._paused:
            self._sink.data_received(b"an echo of its own")


@breaks(Rule.PAUSED)
class ReadsWhilePaused(MemoryPipe):
    def pause_reading(self) -> None:
        """Does nothing."""


@breaks(Rule.PAUSED)
class ReportsEofWhilePaused(MemoryPipe):
    def _deliver(self) -> None:
        if self._paused and self._peer._closed and not self._eof_seen:
            self._eof_seen = True
            self._sink.eof_received()
        super()._deliver()


@breaks(Rule.RESUMED)
class DoesNotResume(MemoryPipe):
    def resume_reading(self) -> None:
        self._paused = False


@breaks(Rule.RESUMED)
class LosesWhatCameWhilePaused(MemoryPipe):
    def resume_reading(self) -> None:
        self._peer._take(1)
        super().resume_reading()


@breaks(Rule.WRITE_IGNORED)
class RaisesInWriteAfterClose(MemoryPipe):
    def write(self, data: bytes) -> None:
        if self._closed or self._lost:
            raise OSError("the stream is closed")
        super().write(data)


@breaks(Rule.WRITE_IGNORED)
class RaisesInWritelinesAfterClose(MemoryPipe):
    def writelines(self, parts: list[bytes]) -> None:
        if self._closed or self._lost:
            raise OSError("the stream is closed")
        super().writelines(parts)


@breaks(Rule.FULL)
class IsFullAtFirst(MemoryPipe):
    def __init__(self, runtime: MemoryRuntime, sink: Sink) -> None:
        super().__init__(runtime, sink)
        self.full = True


@breaks(Rule.FULL)
class IsNeverFullByWritelines(MemoryPipe):
    def writelines(self, parts: list[bytes]) -> None:
        super().writelines(parts)
        self.full = False


@breaks(Rule.FULL)
class IsNeverFull(MemoryPipe):
    def write(self, data: bytes) -> None:
        super().write(data)
        self.full = False


@breaks(Rule.FULL)
class IsAlwaysFull(MemoryPipe):
    def write(self, data: bytes) -> None:
        super().write(data)
        self.full = True

    def _make_space(self) -> None:
        """Does nothing."""


@breaks(Rule.WRITE_LIMIT)
class KeepsTheUsualLimit(MemoryPipe):
    def set_write_limit(self, size: int) -> None:
        """Does nothing."""


@breaks(Rule.WRITE_LIMIT)
class IsFullTooEarly(MemoryPipe):
    def set_write_limit(self, size: int) -> None:
        super().set_write_limit(size // 4)


@breaks(Rule.DRAIN_WAITS)
class DrainsTooEarly(MemoryPipe):
    async def drain(self) -> None:
        await self._runtime.checkpoint()


@breaks(Rule.DRAIN_WAITS)
class DrainsWhenAnythingIsSent(MemoryPipe):
    def _sent(self, size: int) -> None:
        super()._sent(size)
        full = self.full
        self._make_space()
        self.full = full

    async def drain(self) -> None:
        self._space = self._space or self._new_signal()
        await self._space.wait()


@breaks(Rule.DRAIN_RETURNS)
class DrainsForOneOnly(MemoryPipe):
    _waits = False

    async def drain(self) -> None:
        if self._waits:
            await self._runtime.signal().wait()
        self._waits = True
        await super().drain()


@breaks(Rule.DRAIN_LOST)
class DrainsForEverAfterALoss(MemoryPipe):
    def _report_lost(self, exc: Exception | None) -> None:
        self._sink.connection_lost(exc)


@breaks(Rule.DRAIN_LOST)
class RaisesFromDrainAtALoss(MemoryPipe):
    async def drain(self) -> None:
        await super().drain()
        if self._lost:
            raise ConnectionResetError


@breaks(Rule.WAITING)
class CountsNothing(MemoryPipe):
    def waiting(self) -> int:
        return 0


@breaks(Rule.WAITING)
class CountsMoreAtFirst(MemoryPipe):
    def waiting(self) -> int:
        return len(self._unsent) + 1


@breaks(Rule.WAITING)
class CountsMoreThanWasWritten(MemoryPipe):
    def waiting(self) -> int:
        return 2 * len(self._unsent)


@breaks(Rule.WAITING)
class CountsAllEverWritten(MemoryPipe):
    _written = 0

    def write(self, data: bytes) -> None:
        self._written += len(data)
        super().write(data)

    def waiting(self) -> int:
        return self._written


@breaks(Rule.STARTED)
class StartsNothing(MemoryPipe):
    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        coroutine.close()


@breaks(Rule.STARTED)
class RunsInTheCallersTask(MemoryPipe):
    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        try:
            coroutine.send(None)
        except StopIteration:
            return


@breaks(Rule.CONTEXT)
class RunsInTheCallersContext(MemoryPipe):
    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        super().start(coroutine, copy_context())


@breaks(Rule.CONTEXT)
class LeaksTheContext(MemoryPipe):
    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        super().start(coroutine, context)
        for variable, value in context.items():
            variable.set(value)


@breaks(Rule.CONTEXT)
class CopiesTheContext(MemoryPipe):
    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        super().start(coroutine, context.copy())


@breaks(Rule.CONTEXT)
class RunsTheFirstStepInTheContextOnly(MemoryPipe):
    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        async def first() -> None:
            MemoryPipe.start(self, coroutine, context.copy())

        super().start(first(), context)


@breaks(Rule.STARTED)
class CannotStartWithinATask(MemoryPipe):
    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        if self._runtime.current_task() is None:
            super().start(coroutine, context)
        else:
            coroutine.close()


@breaks(Rule.CANCELLED)
class CancelsWithoutBeingAsked(MemoryPipe):
    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        super().start(coroutine, context)
        self._runtime.call_at(self._runtime.now() + 0.01, self.cancel)


@breaks(Rule.CANCELLED)
class CancelsNothing(MemoryPipe):
    def cancel(self) -> None:
        """Does nothing."""


@breaks(Rule.CANCELLED)
class CancelsTheOthersToo(MemoryPipe):
    def cancel(self) -> None:
        super().cancel()
        MemoryPipe.cancel(self._peer)


@breaks(Rule.CANCELLED)
class DropsTheStreamOnCancel(MemoryPipe):
    def cancel(self) -> None:
        super().cancel()
        self._unsent.clear()
        self._closed = True


class _WrongCancellation(MemoryPipe):
    def __init__(self, runtime: MemoryRuntime, sink: Sink) -> None:
        super().__init__(runtime, sink)
        runtime.is_cancellation = self.wrong  # type: ignore[method-assign]  # wrong on purpose

    def wrong(self, error: BaseException) -> bool:
        raise NotImplementedError


@breaks(Rule.IS_CANCELLATION)
class KnowsNoCancellation(_WrongCancellation):
    def wrong(self, error: BaseException) -> bool:
        return False


@breaks(Rule.IS_CANCELLATION)
class LooksAtTheTaskOnly(_WrongCancellation):
    def wrong(self, error: BaseException) -> bool:
        task = self._runtime.current_task()
        return task is not None and task._cancels > 0


@breaks(Rule.IS_CANCELLATION)
class LooksAtTheClassOnly(_WrongCancellation):
    def wrong(self, error: BaseException) -> bool:
        return isinstance(error, Cancelled)


@breaks(Rule.INFO)
class RaisesForAnUnknownName(MemoryPipe):
    def info(self, name: str) -> None:
        raise KeyError(name)


@breaks(Rule.INFO)
class FindsAnUnknownName(MemoryPipe):
    def info(self, name: str) -> Any:
        return ""


@breaks(Rule.INFO)
class HasNoNameOnceLost(MemoryPipe):
    def info(self, name: str) -> None:
        if self._lost:
            raise OSError("the stream is lost")


class _WrongTimers(MemoryPipe):
    def __init__(self, runtime: MemoryRuntime, sink: Sink) -> None:
        super().__init__(runtime, sink)
        self.call_at = self.wrong_call_at

    def wrong_call_at(self, when: float, call: Callable[[], None]) -> MemoryTimer:
        raise NotImplementedError


@breaks(Rule.CALL_AT_LATER)
class CallsFromWithin(_WrongTimers):
    def wrong_call_at(self, when: float, call: Callable[[], None]) -> MemoryTimer:
        if when <= self._runtime.now():
            call()
            return MemoryTimer(call)
        return self._runtime.call_at(when, call)


@breaks(Rule.CALL_AT_LATER)
class CallsTooEarly(_WrongTimers):
    def wrong_call_at(self, when: float, call: Callable[[], None]) -> MemoryTimer:
        return self._runtime.call_at((when + self._runtime.now()) / 2, call)


@breaks(Rule.CALL_AT_CALLS)
class ForgetsWhatIsPast(_WrongTimers):
    def wrong_call_at(self, when: float, call: Callable[[], None]) -> MemoryTimer:
        if when <= self._runtime.now():
            return MemoryTimer(call)
        return self._runtime.call_at(when, call)


@breaks(Rule.CALL_AT_CALLS)
class CallsTwice(_WrongTimers):
    def wrong_call_at(self, when: float, call: Callable[[], None]) -> MemoryTimer:
        timer = self._runtime.call_at(when, call)
        self._runtime.call_at(when, timer._fire)
        return timer


@breaks(Rule.CALL_AT_READS)
class RunsTimersFirst(_WrongTimers):
    def wrong_call_at(self, when: float, call: Callable[[], None]) -> MemoryTimer:
        timer = self._runtime.call_at(when, call)
        if when <= self._runtime.now():
            self._runtime._ready.rotate()
        return timer


@breaks(Rule.CALL_AT_CANCELLED)
class CallsWhatIsCancelled(_WrongTimers):
    def wrong_call_at(self, when: float, call: Callable[[], None]) -> MemoryTimer:
        self._runtime.call_at(when, call)
        return MemoryTimer(call)
