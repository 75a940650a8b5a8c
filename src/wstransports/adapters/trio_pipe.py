"""A byte stream on trio: its socket, its tasks, its timers."""

import socket
import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context
from functools import partial
from types import TracebackType
from typing import Any, Protocol

import trio

from ..batch import NOTHING, Batch, Suspended
from ..runtime import Sink, Timer, log_dropped
from ..tls_pipe import TlsPipe
from .far_timers import FarTimers
from .socket_pipe import SocketPipe

READ_SIZE = 65536

Group = trio.Nursery | None
Coro = Coroutine[Any, Any, None]
Work = tuple[Coro, Context]


# After so many checkpoints a callback counts as waiting: its output leaves, another task reads.
PATIENCE = 256


class Run(Protocol):
    """What the tasks need of the runtime."""

    batch: Batch
    now: Callable[[], float]
    timers: FarTimers
    at_checkpoint: bool
    """Whether the task that runs suspends for a checkpoint of the API, and for nothing else."""


def spawn(group: Group, function: Callable[..., Any], *arguments: Any) -> None:
    """Start a task in `group`; without one, a system task."""
    start = trio.lowlevel.spawn_system_task if group is None else group.start_soon
    start(function, *arguments)


def call_at(start: Callable[..., Any], when: float, call: Callable[[], None]) -> trio.CancelScope:
    """Have `start` start a task that calls `call` at `when`: the scope cancels that."""
    timer = trio.CancelScope()
    start(_wait_and_call, timer, when, call)
    return timer


@trio.lowlevel.enable_ki_protection
async def _wait_and_call(timer: trio.CancelScope, when: float, call: Callable[[], None]) -> None:
    with timer:
        await trio.sleep_until(when)
        call()


class Worker:
    """The state of a task that reads and runs callbacks, or only runs one."""

    __slots__ = ("gathered", "reads")

    def __init__(self, reads: bool = True) -> None:
        self.reads: bool = reads
        self.gathered: Suspended = NOTHING
        """Has output that leaves when the callback ends or waits."""


# Nor does Ctrl-C reach what a callback calls of a pipe, or of TLS over one.
for kind in (SocketPipe, TlsPipe):
    for step in (kind.write, kind.writelines, kind.close, kind.abort):
        trio.lowlevel.enable_ki_protection(step)


@trio.lowlevel.disable_ki_protection
def _step(coroutine: Coro, replies: list[Any]) -> Any:
    """Run a callback's next step: Ctrl-C ends one that never waits.

    It takes the reply out of `replies`: if that is a cancellation, its traceback refers to this
    frame, and a name here or in the caller would complete a cycle.
    """
    return coroutine.send(replies.pop())


class Containing:
    """`cancel` ends this block. An error in it ends the stream, and no other in the nursery.

    A generator would keep the cancellation in a cycle, with all that the block's frames refer to.
    """

    __slots__ = ("_pipe", "_scope")

    def __init__(self, pipe: "TrioPipe") -> None:
        self._pipe = pipe
        self._scope = trio.CancelScope()

    def __enter__(self) -> None:
        self._pipe._scopes.add(self._scope)
        self._scope.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        pipe = self._pipe
        pipe._scopes.discard(self._scope)
        try:
            if self._scope.__exit__(kind, error, traceback) or error is None:
                return True
            raise error
        except* Exception as errors:  # noqa: BLE001  # a callback's during its cancellation, too
            log_dropped(pipe._sink, errors)
            pipe._break(errors)
        finally:
            del error, traceback  # which refer to this frame
        return True


class TrioPipe(SocketPipe):
    """The contract's Pipe over a connected socket, and its tasks, in a nursery of their own.

    One task reads, and runs the callbacks that the input starts. Where a callback waits for
    anything but a checkpoint of ours, a new task reads on: so an answer that is given at once costs
    no task and no switch. Ctrl-C reaches callbacks and the main task, but no step of ours.
    """

    def __init__(self, sock: socket.socket, sink: Sink, runtime: Run, group: Group) -> None:
        super().__init__(trio.Event)
        self._own(sock, None)
        self.connected = trio.Event()  # the sink is
        self._sink = sink
        self._runtime = runtime
        self._batch = runtime.batch
        self._group = group
        self._paused = False
        self._wake = trio.Event()  # for the task that reads
        self._take = sink.data_received
        self._nursery: trio.Nursery
        self._scopes: set[trio.CancelScope] = set()  # what `cancel` cancels
        self._todo: list[Work] = []  # for the task that reads; an empty deque takes 700 bytes more
        self._handling = False  # that task handles input

    @trio.lowlevel.enable_ki_protection
    async def live(self) -> None:
        """Connect the sink and read; the task to start in the group that the stream lives in."""
        # What lives in a group ends when the API says so, not by a cancellation.
        with trio.CancelScope(shield=self._group is not None):
            async with trio.open_nursery() as self._nursery:
                with Containing(self):
                    self._sink.connected(self)
                self.connected.set()
                await self._read()

    def _watch_writable(self) -> None:
        self._begin(self._write_all)

    @trio.lowlevel.enable_ki_protection
    async def _write_all(self) -> None:
        with suppress(trio.ClosedResourceError):
            while self._holds:
                await trio.lowlevel.wait_writable(self._sock)
                self._write_on()

    def _drop(self) -> None:
        self._wake.set()
        trio.lowlevel.notify_closing(self._sock)
        self._descriptor = None
        self._sock.close()

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`."""
        self._paused = True

    def resume_reading(self) -> None:
        """Go on reading."""
        self._paused = False
        self._wake.set()

    @trio.lowlevel.enable_ki_protection
    async def _read(self) -> None:
        """Read until the stream is lost, or until a callback waits and another task reads on."""
        worker = Worker()
        todo = self._todo
        try:
            while worker.reads and (todo or not self._lost):  # again after `cancel`, or an error
                with Containing(self):
                    while worker.reads:
                        if todo:
                            await self._run(todo.pop(0), worker)
                        elif self._lost:
                            break
                        elif self._paused or self._ended:
                            self._wake = trio.Event()
                            await self._wake.wait()
                        else:
                            try:
                                await trio.lowlevel.wait_readable(self._sock)
                            except trio.ClosedResourceError:
                                continue
                            if not (self._paused or self._lost):  # by a task of the same turn
                                self._receive(worker)
        finally:
            if worker.reads:
                with Containing(self):
                    self.abort()  # or this task was cancelled
                    self._lose()
                    self._take = self._sink.data_received

    def _receive(self, worker: Worker) -> None:
        try:
            data = self._sock.recv(READ_SIZE)
        except BlockingIOError:
            pass
        except OSError as error:
            self._break(error)
        else:
            self._handle(worker, self._take if data else self._take_end, data)

    def _take_end(self, _: bytes) -> None:
        self._end()

    def start(self, coroutine: Coro, context: Context) -> None:
        """As `Pipe.start`: soon."""
        if self._handling:
            self._todo.append((coroutine, context))
        else:
            self._begin(self._run_apart, (coroutine, context))

    def cancel(self) -> None:
        """As `Pipe.cancel`."""
        for scope in self._scopes:
            scope.cancel()

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        """As `Pipe.call_at`."""
        return self._runtime.timers.call_at(when, call, self._call_near)

    def _call_near(self, when: float, call: Callable[[], None]) -> Timer:
        return call_at(self._begin, when, partial(self._contain, call))

    def _contain(self, call: Callable[[], None]) -> None:
        with Containing(self):
            call()

    def _begin(self, function: Callable[..., Any], *arguments: Any) -> None:
        try:
            self._nursery.start_soon(function, *arguments)
        except RuntimeError:  # the stream is lost, and its nursery closed
            spawn(self._group, function, *arguments)

    def _handle(self, worker: Worker, take: Callable[[bytes], None], data: bytes) -> None:
        """Handle input by calling `take`; the caller then runs `_todo`."""
        batch = self._batch
        batch.resume(NOTHING)
        self._handling = True
        try:
            take(data)
        except Exception as error:  # noqa: BLE001  # what was started before it runs on
            log_dropped(self._sink, error)
            self._break(error)
        finally:
            self._handling = False
            if self._todo:
                worker.gathered = batch.suspend()
            else:
                batch.end()

    @trio.lowlevel.enable_ki_protection
    async def _run_apart(self, work: Work) -> None:
        with Containing(self):
            await self._run(work, Worker(reads=False))

    @types.coroutine
    def _run(self, work: Work, worker: Worker) -> Generator[Any, Any, None]:
        """Run a callback. What it sends leaves when it ends or waits, not at our checkpoints."""
        coroutine, context = work
        runtime, batch = self._runtime, self._batch
        patience = PATIENCE
        replies: list[Any] = [None]
        try:
            while True:
                batch.resume(worker.gathered)
                runtime.at_checkpoint = False
                try:
                    trap = context.run(_step, coroutine, replies)
                except StopIteration:
                    if self._todo and worker.reads:
                        worker.gathered = batch.suspend()  # the next callback gathers on
                    else:
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
                replies.append((yield trap))
        finally:
            coroutine.close()

    def _send_gathered(self, worker: Worker) -> None:
        worker.gathered = NOTHING
        self._batch.end()

    def _let_another_read(self, worker: Worker) -> None:
        worker.reads = False
        while self._todo:
            self._begin(self._run_apart, self._todo.pop(0))
        self._begin(self._read)
