"""What we aim at: the one table of targets."""

from collections.abc import Iterator
from dataclasses import dataclass

from .contestants import ASYNCIO, CONTESTANTS, name_on
from .scenarios import COMPRESSED, HANDSHAKES, MESSAGES, STREAMS


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that is measured: in which scenario, with whom, and what."""

    scenario: str
    contestant: str
    name: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours on one loop, and others on the same."""

    ours: Quantity
    peers: tuple[Quantity, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """On each of the loops, `ours` takes at most `bound` times what the best of `peers` takes.

    Without peers the bound is one of the quantity itself, or, with `beside`, of its ratio to
    ours in that scenario. `aim` is what we would like, where that is less.
    """

    scenario: str
    peers: tuple[str, ...]
    bound: float
    aim: float | None = None
    quantity: str = "cpu"
    ours: str = "ours"
    loops: tuple[str, ...] = ASYNCIO
    beside: str | None = None

    def comparisons(self) -> Iterator[Comparison]:
        """One for each loop."""
        for loop in self.loops:
            ours = name_on(self.ours, loop)
            peers = [
                Quantity(self.scenario, _peer(peer, loop), self.quantity) for peer in self.peers
            ]
            if self.beside:
                peers.append(Quantity(self.beside, ours, self.quantity))
            yield Comparison(Quantity(self.scenario, ours, self.quantity), tuple(peers))


def _peer(family: str, loop: str) -> str:
    """Who stands for a peer on a loop: picows has aiofastnet's transports on asyncio's."""
    name = name_on(family, loop)
    return name if name in CONTESTANTS else family


_PICOWS_WEBSOCKETS = ("picows.websockets",)
_PICOWS = ("picows",)
_WEBSOCKETS = ("websockets",)
_AIOHTTP = ("aiohttp",)
_TRIO = ("websockets", "trio-websocket")
_CORE = ("websockets-core",)
_SAME_TRANSPORTS = ("aiofastnet",)
NO_LOOP = ("asyncio",)

TARGETS = [
    # The fastest async API there is.
    Target("16x256", _PICOWS_WEBSOCKETS, 1.0),
    Target("100x1K", _PICOWS_WEBSOCKETS, 1.0),
    Target("1x64", _PICOWS_WEBSOCKETS, 0.5),
    Target("16x4x16K", _PICOWS_WEBSOCKETS, 0.9),
    Target("16x4x16K-text", _PICOWS_WEBSOCKETS, 0.9),
    Target("4x1M", _PICOWS_WEBSOCKETS, 0.9),
    Target("4x1M-text", _PICOWS_WEBSOCKETS, 0.9),
    # Synchronous callbacks, on the same transports.
    Target("16x256", _PICOWS, 1.3, 1.0, loops=_SAME_TRANSPORTS),
    Target("100x1K", _PICOWS, 1.3, 1.0, loops=_SAME_TRANSPORTS),
    Target("1x64", _PICOWS, 0.6, 0.45, loops=_SAME_TRANSPORTS),
    Target("16x4x16K", _PICOWS, 1.1, loops=_SAME_TRANSPORTS),
    Target("4x1M", _PICOWS, 1.25, loops=_SAME_TRANSPORTS),
    # The two that most people use.
    *(Target(scenario.name, _WEBSOCKETS, 0.5) for scenario in MESSAGES),
    *(Target(scenario.name, _AIOHTTP, 0.75) for scenario in MESSAGES),
    *(Target(scenario.name, _WEBSOCKETS, 0.8) for scenario in COMPRESSED),
    # The same where zlib leaves the least room, with an engine that only the user chooses.
    Target("deflate-16K", _WEBSOCKETS, 0.8, ours="ours-zlib-ng"),
    *(Target(scenario.name, _WEBSOCKETS, 0.35) for scenario in HANDSHAKES),
    *(Target(scenario.name, _AIOHTTP, 1.1) for scenario in HANDSHAKES),
    # KiB for each connection; and no more with compression on, until a message is compressed.
    Target("idle", (), 8, 6, "resident"),
    Target("idle-deflate", (), 1.0, quantity="resident", beside="idle"),
    # For each message that is delivered.
    Target("broadcast", (*_PICOWS, *_PICOWS_WEBSOCKETS, *_WEBSOCKETS, *_AIOHTTP), 1.0),
    Target("broadcast-deflate", _WEBSOCKETS, 0.2),
    # MiB above idle.
    *(Target(scenario.name, (), 8, quantity="peak") for scenario in STREAMS),
    Target("connections-10000", (), 1.5, beside="connections-100"),
    Target("16x256", _TRIO, 0.6, loops=("trio",)),
    Target("100x1K", _TRIO, 0.6, loops=("trio",)),
    Target("1x64", _TRIO, 0.35, loops=("trio",)),
    # The protocol alone, in plain Python and as it is installed.
    Target("sans-io-1", _CORE, 0.55, ours="core-pure", loops=NO_LOOP),
    Target("sans-io-64", _CORE, 0.75, ours="core-pure", loops=NO_LOOP),
    Target("sans-io-1", _CORE, 0.4, ours="core", loops=NO_LOOP),
    Target("sans-io-64", _CORE, 0.4, ours="core", loops=NO_LOOP),
    Target("sans-io-1M", _CORE, 0.7, ours="core", loops=NO_LOOP),
]
