"""The tasks of one byte stream on trio, and its timers."""

import math
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import trio

from ..batch import Batch, Gathering

# After so many checkpoints of a callback the peer's next bytes are read, and what it sent leaves,
# as if it had waited for something.
PATIENCE = 256

Spawn = Callable[..., object]
"""Begins a task: `start_soon` of a nursery, or trio's for system tasks."""


class TrioBatch(Batch):
    """The Batch of a trio run."""

    __slots__ = ("brief",)

    def __init__(self) -> None:
        super().__init__()
        self.brief = False
        """Whether the task that runs suspends for a checkpoint of ours and no more."""


class TrioTimer:
    """The contract's Timer."""

    __slots__ = ("_timers", "call", "when")

    def __init__(self, timers: list["TrioTimer"], when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call = call
        self._timers = timers
        timers.append(self)

    def cancel(self) -> None:
        """Do not call."""
        if self in self._timers:
            self._timers.remove(self)


class Turn:
    """What a task runs in that reads and runs what the input starts, or does only the latter."""

    __slots__ = ("gathered", "reads", "scope")

    def __init__(self, reads: bool) -> None:
        self.reads = reads
        self.scope = trio.CancelScope()
        self.gathered: list[Gathering] = []
        """Whose output leaves when what runs is over, or waits."""


@trio.lowlevel.disable_ki_protection
def _step(coroutine: Coroutine[Any, Any, None], reply: Any) -> Any:
    """Callbacks run in it: Ctrl-C ends one that never waits."""
    return coroutine.send(reply)


class TrioTasks:
    """All tasks of one stream: in a nursery, beneath a task that keeps the time.

    Ctrl-C goes to the main task, and never between two steps of ours.

    `read` reads, has `handle` take what came, and awaits `run` for each of `todo`. `end` is called
    where the tasks are cancelled before `finish` is, `fail` with what one of them raised.
    """

    def __init__(
        self,
        batch: TrioBatch,
        spawn: Spawn,
        shielded: bool,
        read: Callable[[Turn], Coroutine[Any, Any, None]],
        end: Callable[[], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self.todo: deque[Coroutine[Any, Any, None]] = deque()
        """What handling started: the reading task runs it."""
        self._handling = False  # the reading task is at the input
        self._batch = batch
        self._spawn = spawn
        self._shielded = shielded
        self._read = read
        self._end = end
        self._fail = fail
        self._finished = False
        self._nursery: trio.Nursery | None = None
        self._alive = False  # `_live` runs, or is about to
        self._pending: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []  # for `_live`
        self._coroutines = 0
        self._turns: set[Turn] = set()  # of the tasks that read or run coroutines
        self._timers: list[TrioTimer] = []
        self._nap = trio.CancelScope()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """As `Pipe.start`: soon."""
        self._coroutines += 1
        if self._handling:
            self.todo.append(coroutine)
        else:
            self.begin(self._run_apart, coroutine)

    def cancel(self) -> None:
        """As `Pipe.cancel`."""
        for turn in self._turns:
            turn.scope.cancel()

    def call_at(self, when: float, call: Callable[[], None]) -> TrioTimer:
        """As `Pipe.call_at`."""
        timer = TrioTimer(self._timers, when, call)
        if self._alive:
            self._nap.deadline = min(self._nap.deadline, when)
        else:
            self._live_on()
        return timer

    def begin(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Run it in a task of its own."""
        if self._nursery is not None:
            self._nursery.start_soon(function, *arguments)
        else:
            self._pending.append((function, arguments))
            self._live_on()

    @contextmanager
    def containing(self) -> Iterator[None]:
        """An error in it ends this stream; in a nursery it would end all that are there."""
        try:
            yield
        except* Exception as errors:  # noqa: BLE001  # a callback's amid its cancellation, too
            self._fail(errors)

    def finish(self) -> None:
        """The stream is lost: end with the last coroutine."""
        self._finished = True

    # The reading task.

    @trio.lowlevel.enable_ki_protection
    async def read(self) -> None:
        """Read, as long as nothing that is run here waits."""
        reads = True
        while reads:  # again where `cancel`, or an error, has ended what ran here
            turn = Turn(True)
            self._turns.add(turn)
            try:
                with self.containing(), turn.scope:
                    await self._read(turn)
                    return
            finally:
                self._turns.discard(turn)
            reads = turn.reads

    def handle(self, turn: Turn, take: Callable[[bytes], None], data: bytes) -> None:
        """Handle input by calling `take`; `todo` is to be run then."""
        batch = self._batch
        batch.resume([])
        self._handling = True
        try:
            take(data)
        except Exception as error:  # noqa: BLE001  # what was begun before it runs on
            self._fail(error)
        finally:
            self._handling = False
            if self.todo:
                turn.gathered = batch.suspend()
            else:
                batch.end()

    def _let_another_read(self, turn: Turn) -> None:
        turn.reads = False
        while self.todo:
            self.begin(self._run_apart, self.todo.popleft())
        self.begin(self.read)

    @trio.lowlevel.enable_ki_protection
    async def _run_apart(self, coroutine: Coroutine[Any, Any, None]) -> None:
        turn = Turn(False)
        self._turns.add(turn)
        try:
            with self.containing(), turn.scope:
                await self.run(coroutine, turn)
        finally:
            self._turns.discard(turn)

    @types.coroutine
    def run(self, coroutine: Coroutine[Any, Any, None], turn: Turn) -> Generator[Any, Any, None]:
        """Run a coroutine, each step as one handling of input: what it sends is gathered, across
        our own checkpoints too, and leaves when it waits for anything else."""
        batch = self._batch
        patience = PATIENCE
        reply = None
        try:
            while True:
                batch.resume(turn.gathered)
                batch.brief = False
                try:
                    trap = _step(coroutine, reply)
                except StopIteration:
                    if not self.todo or not turn.reads:  # else the next one is run at once
                        self._send_gathered(turn)
                    return
                except BaseException:
                    self._send_gathered(turn)
                    raise
                if batch.brief and patience:
                    patience -= 1
                    turn.gathered = batch.suspend()
                else:
                    self._send_gathered(turn)
                    if turn.reads:
                        self._let_another_read(turn)
                reply = yield trap
        finally:
            coroutine.close()
            self._coroutines -= 1
            if self._finished and not self._coroutines:
                self._nap.cancel()

    def _send_gathered(self, turn: Turn) -> None:
        turn.gathered = []
        self._batch.end()

    # The task that keeps the time.

    def _live_on(self) -> None:
        if not self._alive:
            self._alive = True
            self._spawn(self._live)

    @trio.lowlevel.enable_ki_protection
    async def _live(self) -> None:
        with trio.CancelScope(shield=self._shielded):
            async with trio.open_nursery() as self._nursery:
                try:
                    for function, arguments in self._pending:
                        self._nursery.start_soon(function, *arguments)
                    self._pending.clear()
                    await self._keep_time()
                finally:
                    if not self._finished:
                        self._end()
                        self._timers.clear()
                    self._nursery = None
                    self._alive = False

    async def _keep_time(self) -> None:
        """Call what is due, until the stream is lost and nothing runs for it any more."""
        while True:
            timer = min(self._timers, key=attrgetter("when"), default=None)
            if timer is not None and timer.when <= trio.current_time():
                timer.cancel()
                with self.containing():
                    timer.call()
                await trio.lowlevel.checkpoint()
            elif self._finished and timer is None and not self._coroutines:
                return
            else:
                when = math.inf if timer is None else timer.when
                with trio.CancelScope(deadline=when) as self._nap:
                    await trio.sleep_forever()
