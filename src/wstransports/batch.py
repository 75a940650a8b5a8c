"""Batching of output while input is handled: one write for each connection."""

from collections.abc import Callable
from typing import Protocol

# With this many bytes gathered for one connection, it writes at once.
GATHER_LIMIT = 65536

# Output that was gathered for this many seconds leaves with the next that is put.
GATHER_SECONDS = 0.005


class Gathering(Protocol):
    """Has something to do when the input is handled, such as writing what it gathered."""

    def flush(self) -> None:
        """Do it now."""


Suspended = tuple[list[Gathering], float]

# What `Batch.suspend` returns where nothing is gathered.
NOTHING: Suspended = ([], 0.0)


class Batch:
    """Gathers what callbacks send, to any client, until the input that started them is handled.

    One system call then carries many messages, and system calls are most of the cost of a send.
    Each event loop has one Batch. `with batch:` surrounds the handling of input. The outermost
    block writes at its end. If a `put` finds earlier output old, all is written, and nothing more
    is gathered for this input. An adapter whose callbacks suspend only for a checkpoint may keep
    the gathered output meanwhile: `suspend` takes it out, `resume` puts it back.
    """

    __slots__ = ("_waiting", "active", "at_end", "old_at")

    def __init__(self) -> None:
        self.active = 0
        """How many blocks are open; not 0 while output is gathered."""
        self.old_at = 0.0
        """When output is old, by the loop's clock: the next `put` then calls `end`. 0 if nothing
        has set it for this input: then the first `put` does."""
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

    def end(self) -> None:
        """The input is handled, or takes long: flush all."""
        self.active = 0
        waiting = self._waiting
        if waiting:
            gathered = waiting.copy()
            waiting.clear()
            for one in gathered:
                one.flush()

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
