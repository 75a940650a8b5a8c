"""The tasks of one byte stream on trio, and its timers."""

import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import trio

from ..batch import Batch, Gathering

# After so many checkpoints of a callback, its output leaves and the peer's next bytes are read, as
# if it had waited for something.
PATIENCE = 256


class Run(Protocol):
    """What the tasks need of the runtime."""

    batch: Batch
    at_checkpoint: bool
    """Whether the task that runs suspends for a checkpoint of the API, and for nothing else."""


def spawn(group: trio.Nursery | None, function: Callable[..., Any], *arguments: Any) -> None:
    """Start a task in `group`; without one, a system task."""
    start = trio.lowlevel.spawn_system_task if group is None else group.start_soon
    start(function, *arguments)


class Worker:
    """The state of a task that reads and runs callbacks, or only runs one."""

    __slots__ = ("gathered", "reads", "scope")

    def __init__(self, reads: bool) -> None:
        self.reads = reads
        self.scope = trio.CancelScope()
        self.gathered: list[Gathering] = []
        """Has output that leaves when the callback ends or waits."""


@trio.lowlevel.disable_ki_protection
def _step(coroutine: Coroutine[Any, Any, None], reply: Any) -> Any:
    """Run a callback's next step: Ctrl-C ends one that never waits."""
    return coroutine.send(reply)


class TrioTasks:
    """All tasks of one stream, in a nursery of their own.

    One of them reads, until the stream is lost. A stream inherits from this class and implements
    `_read`, which passes input to `_handle` and awaits `_run` for each coroutine of `_todo`;
    `_end`, which is called when reading is over; and `_fail`, called with what a task raised.

    Ctrl-C reaches callbacks and the main task, but no step of ours.
    """

    def __init__(self, runtime: Run, group: trio.Nursery | None) -> None:
        self._runtime = runtime
        self._batch = runtime.batch
        self._group = group
        self._nursery: trio.Nursery
        self._workers: set[Worker] = set()
        self._todo: deque[Coroutine[Any, Any, None]] = deque()  # for the task that reads
        self._handling = False  # that task handles input

    async def _read(self, worker: Worker) -> None:
        """Read while `worker.reads`; return when the stream is lost, too."""
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError

    def _fail(self, error: Exception) -> None:
        raise NotImplementedError

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """As `Pipe.start`: soon."""
        if self._handling:
            self._todo.append(coroutine)
        else:
            self._begin(self._run_apart, coroutine)

    def cancel(self) -> None:
        """As `Pipe.cancel`."""
        for worker in self._workers:
            worker.scope.cancel()

    def call_at(self, when: float, call: Callable[[], None]) -> trio.CancelScope:
        """As `Pipe.call_at`: the scope is the Timer."""
        timer = trio.CancelScope()
        self._begin(self._call_at, when, call, timer)
        return timer

    @trio.lowlevel.enable_ki_protection
    async def _call_at(
        self, when: float, call: Callable[[], None], timer: trio.CancelScope
    ) -> None:
        with self._containing(), timer:
            await trio.sleep_until(when)
            if not timer.cancel_called:
                call()

    def _begin(self, function: Callable[..., Any], *arguments: Any) -> None:
        try:
            self._nursery.start_soon(function, *arguments)
        except RuntimeError:  # the stream is lost, and its nursery closed
            spawn(self._group, function, *arguments)

    @contextmanager
    def _containing(self) -> Iterator[None]:
        """An error in this block ends the stream; in the nursery it would end all streams."""
        try:
            yield
        except* Exception as errors:  # noqa: BLE001  # a callback's during its cancellation, too
            self._fail(errors)

    @contextmanager
    def _working(self, worker: Worker) -> Iterator[None]:
        """The same, and `cancel` ends the block."""
        self._workers.add(worker)
        try:
            with self._containing(), worker.scope:
                yield
        finally:
            self._workers.discard(worker)

    # The task that reads, and those that run callbacks.

    @trio.lowlevel.enable_ki_protection
    async def _read_on(self) -> None:
        reads = True
        try:
            while reads:  # again where `cancel` or an error ended a callback
                worker = Worker(reads=True)
                try:
                    with self._working(worker):
                        await self._read(worker)
                        return
                finally:
                    reads = worker.reads
        finally:
            if reads:
                with self._containing():
                    self._end()

    def _handle(self, worker: Worker, take: Callable[[bytes], None], data: bytes) -> None:
        """Handle input by calling `take`; the caller then runs `_todo`."""
        batch = self._batch
        batch.resume([])
        self._handling = True
        try:
            take(data)
        except Exception as error:  # noqa: BLE001  # what was started before it runs on
            self._fail(error)
        finally:
            self._handling = False
            if self._todo:
                worker.gathered = batch.suspend()
            else:
                batch.end()

    @trio.lowlevel.enable_ki_protection
    async def _run_apart(self, coroutine: Coroutine[Any, Any, None]) -> None:
        worker = Worker(reads=False)
        with self._working(worker):
            await self._run(coroutine, worker)

    @types.coroutine
    def _run(
        self, coroutine: Coroutine[Any, Any, None], worker: Worker
    ) -> Generator[Any, Any, None]:
        """Run a callback. What it sends leaves when it ends or waits, not at our checkpoints."""
        runtime, batch = self._runtime, self._batch
        patience = PATIENCE
        reply = None
        try:
            while True:
                batch.resume(worker.gathered)
                runtime.at_checkpoint = False
                try:
                    trap = _step(coroutine, reply)
                except StopIteration:
                    if not self._todo or not worker.reads:  # else the next callback gathers on
                        self._send_gathered(worker)
                    return
                except BaseException:
                    self._send_gathered(worker)
                    raise
                if runtime.at_checkpoint and patience:
                    patience -= 1
                    worker.gathered = batch.suspend()
                else:
                    self._send_gathered(worker)
                    if worker.reads:
                        self._let_another_read(worker)
                reply = yield trap
        finally:
            coroutine.close()

    def _send_gathered(self, worker: Worker) -> None:
        worker.gathered = []
        self._batch.end()

    def _let_another_read(self, worker: Worker) -> None:
        worker.reads = False
        while self._todo:
            self._begin(self._run_apart, self._todo.popleft())
        self._begin(self._read_on)
