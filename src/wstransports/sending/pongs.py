"""The pongs that answer our pings: what `await writer.ping()` returns."""

from collections.abc import Generator
from contextlib import suppress
from typing import Any, Protocol
from weakref import ref

from ..errors import ConnectionClosed
from ..runtime import Runtime, Signal, checkpoint, read_arrived


class Connection(Protocol):
    """What a pong needs of its connection."""

    runtime: Runtime

    def closed_error(self) -> ConnectionClosed:
        """The error for what comes no more."""


class AwaitedPong:
    """The answer to one ping: awaiting it returns the seconds until it came (RFC 6455 5.5.3).

    Any number of tasks may await it, any number of times. Awaiting raises ConnectionClosed if the
    connection ends first.
    """

    __slots__ = (
        "__weakref__",
        "_connection",
        "_latency",
        "_over",
        "_payload",
        "_sent_at",
        "_waits",
    )

    def __init__(self, connection: Connection, payload: bytes, may_come: bool) -> None:
        self._connection = connection
        self._payload = payload
        self._sent_at = connection.runtime.now()
        self._latency: float | None = None
        self._over = not may_come  # it came, or will not
        self._waits: Signal | None = None  # set when it is over; made when somebody waits

    def __await__(self) -> Generator[Any, Any, float]:
        return self._wait().__await__()

    async def within(self, seconds: float) -> float:
        """The same, but raises TimeoutError after `seconds`. What has arrived by then counts."""
        runtime = self._connection.runtime
        with suppress(TimeoutError):
            async with runtime.timeout_at(runtime.now() + seconds):
                return await self
        await read_arrived(runtime)
        if self._over:
            return await self  # without waiting for anything
        raise TimeoutError(f"no pong came within {seconds:g} s")

    async def _wait(self) -> float:
        runtime = self._connection.runtime
        await checkpoint(runtime)
        if not self._over:
            if self._waits is None:
                self._waits = runtime.signal()
            await self._waits.wait()
        if self._latency is None:
            raise self._connection.closed_error()
        return self._latency

    def _end(self) -> None:
        self._over = True
        if self._waits is not None:
            self._waits.set()


class Pongs:
    """The pongs of one connection that have not come, oldest first.

    It holds none of them: those that the caller dropped are forgotten.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[ref[AwaitedPong]] = []

    def add(self, pong: AwaitedPong) -> None:
        """A ping was sent."""
        self._waiting = [one for one in self._waiting if one() is not None]
        self._waiting.append(ref(pong))

    def came(self, payload: bytes, now: float) -> float | None:
        """A pong came: it answers the first ping with its payload, and all before it.

        Returns the seconds since that ping; None if no ping waits for this pong.
        """
        waiting = self._held()
        for index, pong in enumerate(waiting):
            if pong._payload == payload:
                self._answer(waiting, index + 1, now)
                return pong._latency
        return None

    def keepalive_came(self, latency: float, now: float) -> None:
        """The pong for a keepalive ping came after `latency`: it answers all pings before that."""
        waiting = self._held()
        before = sum(pong._sent_at <= now - latency for pong in waiting)
        self._answer(waiting, before, now)

    def _answer(self, waiting: list[AwaitedPong], count: int, now: float) -> None:
        """The first `count` of those that wait are answered."""
        for pong in waiting[:count]:
            pong._latency = now - pong._sent_at
            pong._end()
        self._waiting = [ref(pong) for pong in waiting[count:]]

    def end(self) -> None:
        """No more pongs will come."""
        waiting = self._held()
        self._waiting = []
        for pong in waiting:
            pong._end()

    def _held(self) -> list[AwaitedPong]:
        return [pong for one in self._waiting if (pong := one()) is not None]
