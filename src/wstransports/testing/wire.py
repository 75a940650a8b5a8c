"""Faults of the network: the stream of a client in memory, cut, slow or stuck."""

from functools import partial

from ..client import Client
from .memory import MemoryPipe, PerfectWire


class Wire:
    """What a client sends, on its way to the peer: `Wire(client)`, on the memory loop.

    What the peer sends has a wire of its own, that of the other client of a `connected_pair`.
    Raises TypeError for a client on another loop, RuntimeError if it has a wire already.
    """

    def __init__(self, client: Client) -> None:
        pipe = client._session.pipe
        if not isinstance(pipe, MemoryPipe):
            raise TypeError(f"{client!r} is not on the memory loop: run it in a MemoryRuntime")
        if isinstance(pipe._wire, _Faults):
            raise RuntimeError(f"{client!r} has a Wire already: use that")
        self._pipe = pipe
        self._faults = pipe._wire = _Faults(pipe)

    def cut(self, after: int = 0) -> None:
        """Cut the connection once `after` more bytes have arrived; both ends lose it (1006).

        Raises ValueError for a negative number.
        """
        if after < 0:
            raise ValueError(f"after must be 0 bytes or more, not {after!r}")
        if after:
            self._faults.left = after
        else:
            self._pipe.abort()

    def delay(self, seconds: float) -> None:
        """What is sent from here on arrives after so many seconds of the test's clock.

        Raises ValueError for a negative number.
        """
        if not seconds >= 0:
            raise ValueError(f"seconds must be 0 or more, not {seconds!r}")
        self._faults.seconds = seconds

    def stop(self) -> None:
        """Nothing arrives any more, as if the peer never read: what is sent waits."""
        self._faults.stopped = True

    def go_on(self) -> None:
        """What waits arrives, after a `stop`."""
        self._faults.stopped = False
        self._faults.deliver()


class _Faults(PerfectWire):
    """The state of a wire."""

    def __init__(self, pipe: MemoryPipe) -> None:
        self.left: int | None = None
        self.seconds = 0.0
        self.stopped = False
        self._underway = 0  # bytes that are delayed
        self._pipe = pipe

    def sent(self, size: int) -> None:
        if self.seconds:
            self._underway += size
            when = self._pipe._runtime.now() + self.seconds
            self._pipe.call_at(when, partial(self._arrive, size))

    def take(self, waiting: int, most: int) -> int:
        size = 0 if self.stopped else min(waiting - self._underway, most)
        if self.left is not None:
            size = min(size, self.left)
            self.left -= size
            if not self.left:
                self._pipe._runtime._ready.append(self._pipe.abort)
        return size

    def deliver(self) -> None:
        if not self._pipe._lost:
            self._pipe._peer._deliver_soon()

    def _arrive(self, size: int) -> None:
        self._underway -= size
        self.deliver()
