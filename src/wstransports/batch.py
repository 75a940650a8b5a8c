"""Output gathered while input is being handled: one write for each connection."""

from collections.abc import Callable
from typing import Protocol

# When this many bytes are gathered for one connection they leave at once.
GATHER_LIMIT = 65536


class Gathering(Protocol):
    """Has gathered output, or has something else to do after the callbacks."""

    def flush(self) -> None:
        """Write it, or do that."""


class Batch:
    """Gathers what the callbacks of one read send, to any client, until they have run.

    One system call then carries many answers: with 64 messages in flight that is most of the
    cost of a send. There is one for each event loop. `with batch:` surrounds the handling of
    input, and the outermost block writes. An adapter whose callbacks suspend for a moment only
    may keep what they gathered: `suspend` takes it out, `resume` puts it back.
    """

    __slots__ = ("_waiting", "active", "at_end")

    def __init__(self) -> None:
        self.active = 0
        """How many blocks are open: not 0 while input is being handled."""
        self._waiting: list[Gathering] = []
        # The list's own method: a method of ours would take 0.5 % of the instructions of an echo.
        self.at_end: Callable[[Gathering], None] = self._waiting.append
        """Have `flush()` called when the input is handled; only while `active`."""

    def __enter__(self) -> None:
        self.active += 1

    def __exit__(self, *_: object) -> None:
        self.active -= 1
        if not self.active:
            self.end()

    def empty(self) -> bool:
        """Whether nothing is gathered."""
        return not self._waiting

    def end(self) -> None:
        """Input is handled: write what was gathered."""
        self.active = 0
        waiting = self._waiting
        if waiting:
            gathered = waiting.copy()
            waiting.clear()
            for one in gathered:
                one.flush()

    def suspend(self) -> list[Gathering]:
        """Stop gathering without writing; returns what was gathered, for `resume`."""
        self.active = 0
        gathered = self._waiting.copy()
        self._waiting.clear()
        return gathered

    def resume(self, gathered: list[Gathering]) -> None:
        """Gather again, on top of what `suspend` returned; `end` or `suspend` must follow."""
        self.active = 1
        self._waiting[:] = gathered
