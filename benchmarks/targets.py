"""Our targets: the most that we want to take, next to peers or in itself."""

from collections.abc import Iterator
from dataclasses import dataclass

from .contestants import ASYNCIO, CONTESTANTS, name_on
from .scenarios import COMPRESSED, HANDSHAKES, MESSAGES, SCENARIOS, STREAMS, Scenario


@dataclass(frozen=True, slots=True)
class Entry:
    """A contestant in a scenario."""

    scenario: str
    contestant: str

    def __str__(self) -> str:
        return f"{self.scenario}/{self.contestant}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Our entry on one loop, and the entries that it is compared with; none for a plain figure."""

    ours: Entry
    peers: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """On each of the loops, `ours` takes at most `bound` times what the best of `peers` takes.

    Without peers, `bound` is the most that the quantity itself may be; with `relative_to`, the
    most that its ratio to our own figure in that scenario may be. `aim` is a lower value that we
    would like to reach.
    """

    scenario: str
    peers: tuple[str, ...]
    bound: float
    aim: float | None = None
    ours: str = "ours"
    loops: tuple[str, ...] = ASYNCIO
    relative_to: str | None = None

    def comparisons(self) -> Iterator[Comparison]:
        """One comparison for each loop."""
        for loop in self.loops:
            ours = name_on(self.ours, loop)
            peers = [Entry(self.scenario, _peer(peer, loop)) for peer in self.peers]
            if self.relative_to:
                peers.append(Entry(self.relative_to, ours))
            yield Comparison(Entry(self.scenario, ours), tuple(peers))


def _of(scenario: Scenario, peers: tuple[str, ...], bound: float, *, ours: str = "ours") -> Target:
    """On those loops where a peer is measured, which is not aiofastnet everywhere."""
    loops = tuple(
        loop
        for loop in ASYNCIO
        if any(name_on(peer, loop) in scenario.contestants for peer in peers)
    )
    return Target(scenario.name, peers, bound, ours=ours, loops=loops)


def _peer(family: str, loop: str) -> str:
    """The peer's entry for a loop; picows on asyncio already runs on aiofastnet's transports."""
    name = name_on(family, loop)
    return name if name in CONTESTANTS else family


_PICOWS_WEBSOCKETS = ("picows.websockets",)
_PICOWS_CLIENT = ("picows.websockets-client",)
_PICOWS = ("picows",)
_WEBSOCKETS = ("websockets",)
_AIOHTTP = ("aiohttp",)
_TRIO = ("websockets", "trio-websocket")
_CORE = ("websockets-core",)
_SAME_TRANSPORTS = ("aiofastnet",)
_REDIS_PY = ("redis-py", "redis-py-hiredis")
_ON_UVLOOP = ("uvloop",)
NO_LOOP = ("asyncio",)
# An ASGI application, under uvicorn with its own protocol.
_SANSIO = {app: (f"{app}-websockets-sansio",) for app in ("bare", "fastapi")}

TARGETS = [
    # The fastest peer with an async API.
    Target("16x256", _PICOWS_WEBSOCKETS, 1.0),
    Target("100x1K", _PICOWS_WEBSOCKETS, 1.0),
    Target("1x64", _PICOWS_WEBSOCKETS, 0.5),
    Target("16x4x16K", _PICOWS_WEBSOCKETS, 0.9),
    Target("4x1M", _PICOWS_WEBSOCKETS, 0.9),
    Target("4x1M-text", _PICOWS_WEBSOCKETS, 0.9),
    Target("16x256", _PICOWS_WEBSOCKETS, 1.0, ours="ours-receive"),
    Target("100x1K", _PICOWS_WEBSOCKETS, 1.0, ours="ours-receive"),
    Target("1x64", _PICOWS_WEBSOCKETS, 0.5, ours="ours-receive"),
    # And its client.
    Target("client-16x256", _PICOWS_CLIENT, 1.0, ours="ours-client"),
    Target("client-16x256", _PICOWS_CLIENT, 1.0, ours="ours-client-receive"),
    Target("client-1x64", _PICOWS_CLIENT, 0.5, ours="ours-client"),
    Target("client-1x64", _PICOWS_CLIENT, 0.5, ours="ours-client-receive"),
    # Synchronous callbacks on the same transports.
    Target("16x256", _PICOWS, 1.3, 1.0, loops=_SAME_TRANSPORTS),
    Target("100x1K", _PICOWS, 1.3, 1.0, loops=_SAME_TRANSPORTS),
    Target("1x64", _PICOWS, 0.6, 0.45, loops=_SAME_TRANSPORTS),
    Target("16x4x16K", _PICOWS, 1.1, loops=_SAME_TRANSPORTS),
    Target("4x1M", _PICOWS, 1.25, loops=_SAME_TRANSPORTS),
    # The two most used libraries.
    *(_of(scenario, _WEBSOCKETS, 0.5) for scenario in MESSAGES),
    *(_of(scenario, _AIOHTTP, 0.75) for scenario in MESSAGES),
    *(_of(scenario, _WEBSOCKETS, 0.8) for scenario in COMPRESSED),
    # zlib is most of the cost here; the user can choose a faster engine.
    _of(SCENARIOS["deflate-16K"], _WEBSOCKETS, 0.8, ours="ours-zlib-ng"),
    *(_of(scenario, _WEBSOCKETS, 0.35) for scenario in HANDSHAKES),
    *(_of(scenario, _AIOHTTP, 0.8) for scenario in HANDSHAKES),
    Target("handshake", _PICOWS_WEBSOCKETS, 1.0),
    Target("handshake-dropped", _PICOWS_WEBSOCKETS, 1.0),
    # KiB for each connection; negotiating compression adds nothing until a message uses it.
    Target("idle", (), 8, 6),
    Target("idle-deflate", (), 1.0, relative_to="idle"),
    # For each delivery.
    Target("broadcast", (*_PICOWS, *_PICOWS_WEBSOCKETS, *_WEBSOCKETS, *_AIOHTTP), 1.0),
    _of(SCENARIOS["broadcast-deflate"], _WEBSOCKETS, 0.2),
    # For each delivery, over two processes.
    _of(SCENARIOS["room-2000"], ("ours-rooms",), 1.15, ours="ours-rooms-redis"),
    _of(SCENARIOS["room-2000"], _REDIS_PY, 0.95, ours="ours-rooms-redis"),
    _of(SCENARIOS["rooms-500x4"], _REDIS_PY, 1.0, ours="ours-rooms-redis"),
    # MiB above idle.
    *(Target(scenario.name, (), 8) for scenario in STREAMS),
    Target("connections-10000", (), 1.5, relative_to="connections-100"),
    Target("16x256", _TRIO, 0.6, loops=("trio",)),
    Target("100x1K", _TRIO, 0.6, loops=("trio",)),
    Target("1x64", _TRIO, 0.35, loops=("trio",)),
    # Under uvicorn, next to its own protocol, with a bare ASGI application and with FastAPI.
    *(
        Target(scenario, peers, bound, ours=f"ours-{app}", loops=_ON_UVLOOP)
        for app, peers in _SANSIO.items()
        for scenario, bound in (
            ("asgi-16x256", 0.9),
            ("asgi-1x64", 0.4),
            ("asgi-16x4x16K", 0.8),
            ("idle-asgi", 0.33),
        )
    ),
    # The protocol core alone, in pure Python and with the C extension.
    Target("sans-io-1", _CORE, 0.55, ours="core-pure", loops=NO_LOOP),
    Target("sans-io-64", _CORE, 0.75, ours="core-pure", loops=NO_LOOP),
    Target("sans-io-1", _CORE, 0.4, ours="core", loops=NO_LOOP),
    Target("sans-io-64", _CORE, 0.4, ours="core", loops=NO_LOOP),
    Target("sans-io-1M", _CORE, 0.7, ours="core", loops=NO_LOOP),
]

# Of the instructions of a message.
INSTRUCTION_TARGETS = [
    Target("asgi-16x256", peers, 0.9, ours=f"ours-{app}", loops=_ON_UVLOOP)
    for app, peers in _SANSIO.items()
]
