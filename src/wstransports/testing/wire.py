"""Faults of the network: the stream of a client, cut, slow or stuck, on any event loop."""

from functools import partial

from ..adapters.write_half import LOW, BufferSpace
from ..client import Client
from ..connection.session import Session
from ..runtime import TURNS

# Seconds after which a cut looks again whether the stream has taken what is to arrive.
_POLL = 0.001


class Wire:
    """Carries what a client sends to its peer, with faults: `Wire(client)`.

    It works on every event loop. The other direction has a wire of its own, for instance that of
    the other client of a `connected_pair`. Raises TypeError for an object that is not a client,
    RuntimeError if the client has a wire already.
    """

    def __init__(self, client: Client) -> None:
        if not isinstance(client, Client):
            raise TypeError(f"a Wire needs a Client of wstransports, not {client!r}")
        if isinstance(client._session.pipe, _Wired):
            raise RuntimeError(f"{client!r} has a Wire already: use that")
        self._pipe = _Wired(client._session)

    def cut(self, after: int = 0) -> None:
        """Cut the connection once `after` more bytes have arrived; both ends lose it (1006).

        Raises ValueError for a negative number.
        """
        if after < 0:
            raise ValueError(f"after must be 0 bytes or more, not {after!r}")
        if after:
            self._pipe.left = after
        else:
            self._pipe.abort()

    def delay(self, seconds: float) -> None:
        """What is sent from now on arrives after `seconds` of the loop's clock.

        Raises ValueError for a negative number.
        """
        if not seconds >= 0:
            raise ValueError(f"seconds must be 0 or more, not {seconds!r}")
        self._pipe.seconds = seconds

    def stop(self) -> None:
        """Nothing arrives any more, as if the peer never read: what is sent waits."""
        self._pipe.stopped = True

    def go_on(self) -> None:
        """What waits arrives, after a `stop`."""
        self._pipe.stopped = False
        self._pipe.pass_on()


class _Wired:
    """A Pipe in front of that of a session: it holds what is not to arrive yet."""

    def __init__(self, session: Session) -> None:
        self.left: int | None = None
        """How many bytes arrive before the cut; None for no cut."""
        self.seconds = 0.0
        """How long what is written takes."""
        self.stopped = False
        self._held = bytearray()
        self._delayed = 0  # the bytes at the end of those that are under way
        self._closed = False
        self._lost = False
        self._space = BufferSpace(session.runtime.signal)
        self._now = session.runtime.now
        self._pipe = pipe = session.pipe
        self.pause_reading = pipe.pause_reading
        self.resume_reading = pipe.resume_reading
        self.info = pipe.info
        self.start = pipe.start
        self.cancel = pipe.cancel
        self.set_write_limit = pipe.set_write_limit
        self._limit = session.options.write_limit
        self.call_at = pipe.call_at
        session.use_pipe(self)
        self._over = session.runtime.signal() if session._over is None else session._over
        session._over = self

    def set(self) -> None:
        """As a Signal: the stream is lost."""
        self._lost = True
        self._held.clear()
        self._space._make_space()
        self._over.set()

    async def wait(self) -> None:
        """As a Signal."""
        await self._over.wait()

    @property
    def full(self) -> bool:
        """As a Pipe."""
        return self._space.full or self._pipe.full

    @full.setter
    def full(self, full: bool) -> None:
        self._space.full = full

    def write(self, data: bytes) -> None:
        """As a Pipe."""
        if self._closed or self._lost:
            return
        self._held += data
        if self.seconds:
            self._delayed += len(data)
            self.call_at(self._now() + self.seconds, partial(self._arrive, len(data)))
        self.pass_on()

    def writelines(self, parts: list[bytes]) -> None:
        """As a Pipe."""
        self.write(b"".join(parts))

    def waiting(self) -> int:
        """As a Pipe."""
        return len(self._held) + self._pipe.waiting()

    async def drain(self) -> None:
        """As a Pipe."""
        await self._space.drain()
        await self._pipe.drain()

    def close(self) -> None:
        """As a Pipe."""
        self._closed = True
        self.pass_on()

    def abort(self) -> None:
        """As a Pipe."""
        self._held.clear()
        self._pipe.abort()

    def pass_on(self) -> None:
        """Write what is to arrive, and close the stream after the last of it."""
        if self._lost or self.stopped or self.left == 0:
            size = 0
        else:
            size = len(self._held) - self._delayed
        if self.left is not None:
            size = min(size, self.left)
            self.left -= size
        if size:
            self._pipe.write(bytes(self._held[:size]))
            del self._held[:size]
            if self.left == 0:
                self._cut_when_taken(self._pipe.waiting())
        if len(self._held) > self._limit:
            self.full = True
        elif self._space.full and len(self._held) <= self._limit // LOW:
            self._space._make_space()
        if self._closed and not self._held:
            self._pipe.close()

    def _arrive(self, size: int) -> None:
        self._delayed -= size
        self.pass_on()

    def _cut_when_taken(self, waiting: int, turns: int = 0) -> None:
        """Drop the stream once it has taken all: an `abort` would discard the rest."""
        left = self._pipe.waiting()
        if not left:
            self._pipe.abort()
            return
        turns = turns + 1 if left == waiting else 0
        when = self._now() + (_POLL if turns > TURNS else 0)
        self.call_at(when, partial(self._cut_when_taken, left, turns))
