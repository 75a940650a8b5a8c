"""Batching of output while input is handled: one write for each connection."""

from collections.abc import Callable
from typing import Protocol

# With this many bytes gathered for one connection, it writes at once.
GATHER_LIMIT = 65536


class Gathering(Protocol):
    """Has something to do when the input is handled, such as writing what it gathered."""

    def flush(self) -> None:
        """Do it now."""


class Batch:
    """Gathers what callbacks send, to any client, until the input that started them is handled.

    One system call then carries many messages, and system calls are most of the cost of a send.
    Each event loop has one Batch. `with batch:` surrounds the handling of input, and the
    outermost block writes at its end. An adapter whose callbacks suspend only for a checkpoint may
    keep the gathered output meanwhile: `suspend` takes it out, `resume` puts it back.
    """

    __slots__ = ("_waiting", "active", "at_end")

    def __init__(self) -> None:
        self.active = 0
        """How many blocks are open; not 0 while input is handled."""
        self._waiting: list[Gathering] = []
        # The list's own method: one written here would cost 0.5 % of an echo's instructions.
        self.at_end: Callable[[Gathering], None] = self._waiting.append
        """Call an object's `flush` when the input is handled; valid only while `active`."""

    def __enter__(self) -> None:
        self.active += 1

    def __exit__(self, *_: object) -> None:
        self.active -= 1
        if not self.active:
            self.end()

    def empty(self) -> bool:
        """Whether no object is waiting for its `flush`."""
        return not self._waiting

    def end(self) -> None:
        """The input is handled: flush all."""
        self.active = 0
        waiting = self._waiting
        if waiting:
            gathered = waiting.copy()
            waiting.clear()
            for one in gathered:
                one.flush()

    def suspend(self) -> list[Gathering]:
        """Stop gathering without a write; returns what was gathered, for `resume`."""
        self.active = 0
        gathered = self._waiting.copy()
        self._waiting.clear()
        return gathered

    def resume(self, gathered: list[Gathering]) -> None:
        """Gather again, after what `suspend` returned; `end` or `suspend` must follow."""
        self.active = 1
        self._waiting[:] = gathered
