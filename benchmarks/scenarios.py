"""The scenarios: what is measured, on how many connections, with which contestants."""

from dataclasses import dataclass, replace
from typing import Literal

from .contestants import CONTESTANTS

Kind = Literal["echo", "broadcast", "rooms", "handshake", "idle", "stream", "sans-io"]

KIB, MIB, GIB = 2**10, 2**20, 2**30

CORES = tuple(name for name, one in CONTESTANTS.items() if one.module == "sans_io")
ZLIB_NG = tuple(name for name, one in CONTESTANTS.items() if one.zlib_ng)
CLIENTS = tuple(name for name, one in CONTESTANTS.items() if one.client)
RECEIVING = tuple(name for name, one in CONTESTANTS.items() if one.receives and name not in CLIENTS)
ASGI = tuple(name for name, one in CONTESTANTS.items() if one.app)
IN_ROOMS = tuple(name for name, one in CONTESTANTS.items() if one.module.endswith("_rooms"))
_SPECIAL = (*CORES, *CLIENTS, *ZLIB_NG, *RECEIVING, *ASGI, *IN_ROOMS)
SERVERS = tuple(name for name in CONTESTANTS if name not in _SPECIAL)
FLOORS = tuple(name for name in SERVERS if CONTESTANTS[name].floor)
# What tells little where most of the work is the kernel's or zlib's: peers on aiofastnet, whose CPU
# time is within an eighth of that on asyncio, and our pure Python, of which the sizes tell enough.
_SECONDARY = tuple(
    name
    for name in SERVERS
    if CONTESTANTS[name].pure
    or (CONTESTANTS[name].loop == "aiofastnet" and not CONTESTANTS[name].ours)
)


def _but(names: tuple[str, ...], *left_out: str) -> tuple[str, ...]:
    """These contestants without the others."""
    return tuple(name for name in names if name not in left_out)


ON_ASYNCIO = tuple(name for name in SERVERS if CONTESTANTS[name].loop != "trio")
WEBSOCKET = tuple(name for name in ON_ASYNCIO if not CONTESTANTS[name].raw)
ANNOUNCING = tuple(name for name in ON_ASYNCIO if CONTESTANTS[name].module != "c_floor")
DEFLATING = tuple(
    name
    for name in WEBSOCKET
    if CONTESTANTS[name].family not in ("picows", "socketify") and name not in _SECONDARY
)
OURS = tuple(name for name in WEBSOCKET if CONTESTANTS[name].family == "ours")
# One of each family, and ours on every loop: enough to see how the cost grows.
GROWING = (*OURS, "picows.websockets", "websockets", "aiohttp", "floor-c")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing to measure, and the contestants that take part.

    Each connection keeps `in_flight` messages of `size` bytes in flight, after `warm_up` messages
    that are not measured. `deflate` negotiates compression, with context takeover. The connections
    are members of so many `rooms`, and messages are published in all of them. `drop` ends
    connections without a closing handshake. With `tls` they go over TLS. A stream is one message in
    frames of `frame` bytes; 0 is a single frame. Where there is no server, `chunk` is how many
    bytes arrive at a time. Of idle connections the first `warm_up` are not counted, because they
    pay for what a server allocates once. `rounds` is how often each contestant is measured.
    """

    name: str
    title: str
    kind: Kind
    contestants: tuple[str, ...]
    connections: int = 1
    in_flight: int = 1
    size: int = 32
    text: bool = True
    warm_up: int = 500
    deflate: bool = False
    drop: bool = False
    rooms: int = 0
    tls: bool = False
    frame: int = 0
    chunk: int = 0
    rounds: int = 3

    @property
    def task(self) -> str:
        """The task that the server is started with."""
        return self.kind if self.kind in ("broadcast", "rooms", "stream") else "echo"

    @property
    def quantity(self) -> str:
        """The quantity that is compared: CPU time, or memory."""
        return {"idle": "resident", "stream": "peak"}.get(self.kind, "cpu")

    @property
    def timed(self) -> bool:
        """Whether a round takes as long as it is asked to, and not as long as its work."""
        return self.kind not in ("idle", "stream")

    def load(self) -> list[str]:
        """The arguments of the load generator."""
        return [
            # One more publishes, and is in no room.
            f"--connections={self.connections + (self.rooms > 0)}",
            f"--in-flight={self.in_flight}",
            f"--size={self.size}",
            f"--frame={self.frame}",
            *[f"--rooms={self.rooms}"] * (self.rooms > 0),
            *["--text"] * self.text,
            *["--drop"] * self.drop,
            *["--tls"] * self.tls,
            *["--deflate"] * self.deflate,
        ]


def in_words(size: int) -> str:
    """A size in bytes with its unit."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def _connections(count: int) -> str:
    return f"{count} connection{'s' * (count > 1)}"


def _echo(
    name: str,
    connections: int,
    in_flight: int,
    size: int,
    text: bool,
    warm_up: int,
    contestants: tuple[str, ...] = SERVERS,
) -> Scenario:
    kind = "text" if text else "binary"
    flight = f", {in_flight} messages in flight" * (in_flight > 1)
    title = f"{_connections(connections)}{flight}, {in_words(size)} {kind}"
    return Scenario(name, title, "echo", contestants, connections, in_flight, size, text, warm_up)


# Those without floors, and those for large messages.
_SPEAKING = (*_but(SERVERS, *FLOORS), *RECEIVING)
_LARGE = _but(SERVERS, *_SECONDARY)
# The Python servers: those that Python's ssl serves, or picows' own transports.
_ENCRYPTING = _but(_LARGE, *FLOORS, "node", "socketify")

MESSAGES = [
    replace(_echo("16x256", 16, 1, 256, True, 2000, (*SERVERS, *RECEIVING)), rounds=5),
    _echo("100x1K", 100, 1, KIB, True, 2000, _SPEAKING),
    _echo("1x64", 1, 64, 32, True, 4000, _SPEAKING),
    _echo("16x4x16K", 16, 4, 16 * KIB, False, 500, _LARGE),
    _echo("4x1M", 4, 1, MIB, False, 12, _LARGE),
    _echo("4x1M-text", 4, 1, MIB, True, 12, _but(_LARGE, *FLOORS)),
]

OF_CLIENTS = [
    replace(scenario, title=f"Clients: {scenario.title}")
    for scenario in (
        _echo("client-16x256", 16, 1, 256, True, 2000, CLIENTS),
        _echo("client-1x64", 1, 64, 32, True, 4000, CLIENTS),
    )
]

UNDER_ASGI = [
    _echo("asgi-16x256", 16, 1, 256, True, 2000, ASGI),
    _echo("asgi-1x64", 1, 64, 32, True, 4000, ASGI),
    _echo("asgi-16x4x16K", 16, 4, 16 * KIB, True, 500, ASGI),
]

COMPRESSED = [
    Scenario(
        f"deflate-{name}",
        f"16 connections, {in_words(size)} text, context takeover",
        "echo",
        (*DEFLATING, *ZLIB_NG),
        connections=16,
        size=size,
        deflate=True,
    )
    for name, size in (("1K", KIB), ("16K", 16 * KIB))
]

HANDSHAKES = [
    Scenario(
        f"handshake{suffix}",
        title,
        "handshake",
        contestants,
        connections=200,
        warm_up=400,
        deflate=deflate,
        drop=drop,
        rounds=rounds,
    )
    for suffix, title, contestants, deflate, drop, rounds in (
        ("", "Handshake and close", ON_ASYNCIO, False, False, 5),
        ("-deflate", "Handshake and close, compression negotiated", DEFLATING, True, False, 3),
        (
            "-dropped",
            "Handshake, dropped without a Close",
            _but(ON_ASYNCIO, *FLOORS, *_SECONDARY),
            False,
            True,
            3,
        ),
    )
]

# Memory is the same in each round.
IDLE = [
    Scenario(
        f"idle{suffix}",
        f"Idle connections, {words}",
        "idle",
        contestants,
        connections=2000,
        warm_up=200,
        deflate=deflate,
        rounds=2,
    )
    for suffix, words, contestants, deflate in (
        ("", "no compression", _but(ON_ASYNCIO, "ours-pure"), False),
        ("-deflate", "compression negotiated", DEFLATING, True),
        ("-asgi", "under ASGI servers", ASGI, False),
    )
]

# The kernel takes nine tenths of the time, and differs by several percent from round to round.
BROADCASTS = [
    Scenario(
        f"broadcast{suffix}",
        f"{in_words(KIB)} text to 1000 clients, {words}",
        "broadcast",
        contestants,
        connections=1000,
        size=KIB,
        warm_up=3000,
        deflate=deflate,
        rounds=rounds,
    )
    for suffix, words, contestants, deflate, rounds in (
        ("", "no compression", ANNOUNCING, False, 9),
        ("-deflate", "compressed", DEFLATING, True, 3),
    )
]

ROOMS = [
    Scenario(name, title, "rooms", IN_ROOMS, connections=2000, size=256, warm_up=4000, rooms=rooms)
    for name, title, rooms in (
        ("room-2000", "256 B text in a room of 2000", 1),
        ("rooms-500x4", "256 B text in 500 rooms of 4", 500),
    )
]

STREAMS = [
    Scenario(
        f"stream{suffix}",
        f"{in_words(GIB)} binary message, {words}",
        "stream",
        OURS,
        size=GIB,
        text=False,
        frame=frame,
        rounds=2,
    )
    for suffix, words, frame in (("", "one frame", 0), ("-fragments", "64 KiB fragments", 64 * KIB))
]

CONNECTIONS = [
    Scenario(
        f"connections-{count}",
        f"{_connections(count)}, 256 B text",
        "echo",
        GROWING,
        connections=count,
        size=256,
        warm_up=max(2000, 2 * count),
    )
    for count in (100, 1000, 10_000)
]

SIZES = [
    Scenario(
        f"size-{size}",
        f"{in_words(size)} binary, one connection",
        "echo",
        # In pure Python the cost of masking grows with every byte.
        (*_but(GROWING, "ours-aiofastnet"), "ours-pure"),
        size=size,
        text=False,
        warm_up=max(4, min(1000, 32 * MIB // size)),
    )
    for size in (16 * 16**power for power in range(6))
]

SANS_IO = [
    Scenario(f"sans-io-{name}", title, "sans-io", CORES, size=size, chunk=chunk)
    for name, title, size, chunk in (
        ("1", "32 B text, one frame in a chunk", 32, 32 + 6),
        ("64", "32 B text, 64 frames in a chunk", 32, 64 * (32 + 6)),
        ("1M", "1 MiB text in chunks of 64 KiB", MIB, 64 * KIB),
    )
]

# A TLS handshake takes so long that fewer connections have to do.
OVER_TLS = [
    replace(scenario, title=f"{scenario.title}, TLS", tls=True)
    for scenario in (
        _echo("tls-16x256", 16, 1, 256, True, 2000, _ENCRYPTING),
        _echo("tls-16x4x16K", 16, 4, 16 * KIB, False, 500, _ENCRYPTING),
        Scenario(
            *("tls-handshake", "Handshake and close", "handshake", _ENCRYPTING),
            connections=32,
            warm_up=64,
        ),
        Scenario(
            *("tls-idle", "Idle connections, no compression", "idle", _ENCRYPTING),
            connections=500,
            warm_up=200,
            rounds=2,
        ),
    )
]

GROUPS: dict[str, list[Scenario]] = {
    "messages": MESSAGES,
    "clients": OF_CLIENTS,
    "asgi": UNDER_ASGI,
    "tls": OVER_TLS,
    "compressed": COMPRESSED,
    "handshakes": HANDSHAKES,
    "idle": IDLE,
    "broadcasts": BROADCASTS,
    "rooms": ROOMS,
    "streams": STREAMS,
    "connections": CONNECTIONS,
    "sizes": SIZES,
    "sans-io": SANS_IO,
}

SCENARIOS = {scenario.name: scenario for group in GROUPS.values() for scenario in group}


def shortened(scenario: Scenario) -> Scenario:
    """The same scenario in about a second, to see that it works.

    All contestants take part in the first scenario of a kind; in the others ours, one peer and
    the floors.
    """
    few = {"ours", "ours-trio", "ours-zlib-ng", "websockets", "floor"}
    few |= {"ours-rooms", "ours-rooms-redis", "redis-py"}
    few |= {"core", "core-pure", "ours-bare-uvloop", "bare-websockets-sansio-uvloop"}
    few |= {"ours-client-receive", "picows.websockets-client"}
    first = ("16x256", "client-16x256", "tls-16x256", "asgi-16x256", "sans-io-1")
    all_take_part = scenario.name in first
    return replace(
        scenario,
        contestants=tuple(name for name in scenario.contestants if all_take_part or name in few),
        connections=min(scenario.connections, 100),
        size=min(scenario.size, 8 * MIB),
        rooms=min(scenario.rooms, 25),
        warm_up=min(scenario.warm_up, 20),
    )
