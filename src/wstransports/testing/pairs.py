"""Pairs of streams, as the checks connect, watch and drop them."""

from collections.abc import Awaitable, Callable
from typing import cast

from ..runtime import Runtime, Sink
from .end import End
from .host import Host
from .rules import BrokenRule, Rule

Join = Callable[[Sink, Sink], Awaitable[object]]


class Pairs:
    """Makes pairs of connected ends, and checks how they begin and end."""

    def __init__(self, runtime: Runtime, host: Host, join: Join) -> None:
        self.runtime = runtime
        self.host = host
        self._join = join

    async def pair(self) -> tuple[End, End]:
        """Two ends that are connected."""
        a, b = End(), End()
        await self._join(cast(Sink, a), cast(Sink, b))
        await self.host.until(
            lambda: a.is_connected and b.is_connected, Rule.CONNECTED_FIRST, "it was never called"
        )
        return a, b

    async def over(self, *ends: End) -> None:
        """Drop what is left, and check that it ends only once."""
        for end in ends:
            end.on_data = None
            if end.paused:
                end.resume()
            if not end.lost:
                end.abort()
        await self.lost(*ends, rule=Rule.ABORT_SOON)
        await self.host.quiet()
        for end in ends:
            end.check()

    async def lost(self, *ends: End, rule: Rule) -> None:
        """Wait for the loss of both ends."""
        await self.host.until(
            lambda: all(end.lost for end in ends), rule, "connection_lost() was not called"
        )

    async def received(self, end: End, data: bytes, rule: Rule = Rule.BYTES_ARRIVE) -> None:
        """Wait for these bytes, and check that no others came."""
        await self.host.until(
            lambda: len(end.received) >= len(data),
            rule,
            f"some of {len(data)} bytes never came",
        )
        end.check()
        if end.received != data:
            raise BrokenRule(rule, f"other bytes than the {len(data)} written came")
        end.received.clear()
