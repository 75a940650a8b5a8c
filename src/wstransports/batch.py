"""Handling input on a loop: output is gathered, and the connections share the time."""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from .speedups import accelerated_method

# With this many bytes gathered for one connection, it writes at once.
GATHER_LIMIT = 65536

# Output that was gathered for this many seconds leaves with the next that is put.
GATHER_SECONDS = 0.005

# Seconds for which input is handled before other tasks run, by all connections together.
WORK_AT_ONCE = 0.005


class Gathering(Protocol):
    """Has something to do when the input is handled, such as writing what it gathered."""

    def flush(self) -> None:
        """Do it now."""


Suspended = tuple[list[Gathering], float]

# What `Batch.suspend` returns where nothing is gathered.
NOTHING: Suspended = ([], 0.0)


class RoundRobin:
    """The connections of a loop with input that is not handled yet: they take turns.

    In each iteration of the loop they share `WORK_AT_ONCE`, in slices of a few hundred frames, or
    in reads of long messages. So many connections that flood the loop hold it up no longer than
    one does.

    A member calls `begin` in order to handle more than a first slice, and `append` to do so later.
    After each it has the loop call `run` in its next iteration, and again while `run` says so.
    """

    __slots__ = ("_last", "_open", "_until", "_waiting", "number")

    def __init__(self) -> None:
        self.number: int = 0
        """Increases with each iteration of the loop in which there is much input."""
        self._waiting: deque[Callable[[], None]] = deque()
        self._open = False  # some of this iteration's time is used
        self._until = 0.0  # the end of that time
        self._last = 0  # the id of the member with the last long read, which may be lost

    def is_alone(self, member: object) -> bool:
        """Note a long read of `member`. Returns whether the last was its too, and nothing waits."""
        alone = self._last == id(member) and not self._waiting
        self._last = id(member)
        return alone

    def begin(self, since: float) -> bool:
        """Start to use this iteration's time, unless that has begun; returns whether this did."""
        begun = not self._open
        if begun:
            self._open = True
            self._until = since + WORK_AT_ONCE
        return begun

    def over(self, now: float) -> bool:
        """Whether other members wait, or the time of this iteration is used up."""
        return bool(self._waiting) or now > self._until

    def spend(self, seconds: float) -> None:
        """Set aside so many seconds of this iteration's time."""
        self._until -= seconds

    def append(self, call: Callable[[], None]) -> None:
        """Have `run` call `call`, after what waits already."""
        self._waiting.append(call)

    def run(self, number: int, now: Callable[[], float]) -> bool:
        """Call what waits, in order, for as long as there is time.

        `number` is `self.number` when this call was requested. Returns whether to call it again if
        nothing waits: the next iteration must begin with all of its time.
        """
        waiting = self._waiting
        first = number == self.number  # in this iteration
        if first:
            self.number += 1
            self._open = bool(waiting)
            self._until = now() + WORK_AT_ONCE
        while waiting and (first or now() < self._until):
            first = False
            waiting.popleft()()
        return self._open and not waiting


class Batch:
    """Gathers what callbacks send, to any client, until the input that started them is handled.

    One system call then carries many messages, and system calls are most of the cost of a send.
    Each event loop has one Batch. `with batch:` surrounds the handling of input. The outermost
    block writes at its end. If a `put` finds earlier output old, all is written, and nothing more
    is gathered for this input. An adapter whose callbacks suspend only for a checkpoint may keep
    the gathered output meanwhile: `suspend` takes it out, `resume` puts it back.
    """

    __slots__ = (
        *("_waiting", "active", "active_until", "at_end", "held", "is_idle", "old_at", "quiet"),
        *("round_robin", "unfinished"),
    )

    def __init__(self, is_idle: Callable[[], bool] = lambda: False) -> None:
        self.active: int = 0
        """How many blocks are open; not 0 while output is gathered."""
        self.old_at: float = 0.0
        """When output is old, by the loop's clock: then the next `put` calls `end`. 0 until it is
        set for this input, at the latest by the first `put`."""
        self.round_robin: RoundRobin = RoundRobin()
        """How the loop's connections share the time for input."""
        self.is_idle: Callable[[], bool] = is_idle
        """Whether no task, input or timer waits to run; False where the loop does not show it."""
        self.quiet: bool = True
        """Whether no input came since a broadcast set this: input makes it False."""
        self.active_until: float = 0.0
        """Until then broadcasts send in short slices: input came between two of them."""
        self.unfinished: list[Any] = []
        """The broadcasts that have not reached all of their clients yet, in order."""
        self.held: set[Any] = set()
        """The locks of the fragmented messages that are being sent."""
        self._waiting: list[Gathering] = []
        # The list's own method: one written here would cost 0.5 % of an echo's instructions.
        self.at_end: Callable[[Gathering], None] = self._waiting.append
        """Call an object's `flush` when the input is handled; valid only while `active`."""

    def __enter__(self) -> None:
        if not self.active:
            self.old_at = 0.0
        self.active += 1

    def __exit__(self, *_: object) -> None:
        if self.active > 1:
            self.active -= 1
        else:
            self.end()

    def empty(self) -> bool:
        """Whether no object is waiting for its `flush`."""
        return not self._waiting

    @accelerated_method
    def end(self) -> None:
        """The input is handled, or takes long: flush all."""
        self.active = 0
        waiting = self._waiting
        if len(waiting) == 1:  # the usual case: a copy takes 0.4 % of an echo's instructions
            waiting.pop().flush()
        elif waiting:
            gathered = waiting.copy()
            waiting.clear()
            for one in gathered:
                one.flush()

    def flush(self) -> None:
        """Flush all, and gather on: the output of many small frames takes 20 times its bytes."""
        active = self.active
        self.end()
        self.active = active

    def suspend(self) -> Suspended:
        """Stop gathering without a write; returns what was gathered, for `resume`."""
        self.active = 0
        gathered = self._waiting.copy()
        self._waiting.clear()
        return gathered, self.old_at

    def resume(self, suspended: Suspended) -> None:
        """Gather again, after what `suspend` returned; `end` or `suspend` must follow."""
        self.active = 1
        self._waiting[:], self.old_at = suspended
