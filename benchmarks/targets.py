"""What we aim at: the one table of targets."""

from collections.abc import Iterator
from dataclasses import dataclass

from .scenarios import COMPRESSED, HANDSHAKES, MESSAGES, STREAMS, Scenario


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that was measured: in which scenario, with whom, and what."""

    scenario: str
    contestant: str
    name: str = "cpu"


@dataclass(frozen=True, slots=True)
class Target:
    """`ours` is at most `bound` times the best of `peers`, or at most `bound` if there are none.

    `aim` is what we would like, where that is less.
    """

    ours: Quantity
    peers: tuple[Quantity, ...]
    bound: float
    aim: float | None = None


# Us on a loop, and who runs on the same one. picows brings aiofastnet's transports along.
_PICOWS_WEBSOCKETS = {
    "ours": "picows.websockets",
    "ours-uvloop": "picows.websockets-uvloop",
    "ours-aiofastnet": "picows.websockets",
}
_WEBSOCKETS = {
    "ours": "websockets",
    "ours-uvloop": "websockets-uvloop",
    "ours-aiofastnet": "websockets-aiofastnet",
}
_AIOHTTP = {
    "ours": "aiohttp",
    "ours-uvloop": "aiohttp-uvloop",
    "ours-aiofastnet": "aiohttp-aiofastnet",
}
_BARE_PICOWS = {"ours-aiofastnet": "picows"}
_TRIO = ("websockets-trio", "trio-websocket-trio")


def _each(
    pairs: dict[str, str],
    bounds: dict[str, float] | dict[str, tuple[float, float]],
) -> Iterator[Target]:
    """For each scenario a bound, or a bound and an aim; each pair of ours and theirs."""
    for scenario, given in bounds.items():
        bound, aim = given if isinstance(given, tuple) else (given, None)
        for ours, theirs in pairs.items():
            yield Target(Quantity(scenario, ours), (Quantity(scenario, theirs),), bound, aim)


def _same(scenarios: list[Scenario], bound: float) -> dict[str, float]:
    return {scenario.name: bound for scenario in scenarios}


TARGETS = [
    *_each(
        _PICOWS_WEBSOCKETS,
        {
            "16x256": 1.0,
            "100x1K": 1.0,
            "1x64": 0.5,
            "16x4x16K": 0.9,
            "16x4x16K-text": 0.9,
            "4x1M": 0.9,
            "4x1M-text": 0.9,
        },
    ),
    *_each(
        _BARE_PICOWS,
        {
            "16x256": (1.3, 1.0),
            "100x1K": (1.3, 1.0),
            "1x64": (0.6, 0.45),
            "16x4x16K": (1.1, 1.1),
            "4x1M": (1.25, 1.25),
        },
    ),
    *_each(_WEBSOCKETS, _same(MESSAGES, 0.5)),
    *_each(_AIOHTTP, _same(MESSAGES, 0.75)),
    *_each(_WEBSOCKETS, _same(COMPRESSED, 0.8)),
    *_each({"core-pure": "websockets-sans-io"}, {"sans-io-1": 0.55, "sans-io-64": 0.75}),
    *_each(
        {"core": "websockets-sans-io"}, {"sans-io-1": 0.4, "sans-io-64": 0.4, "sans-io-1M": 0.7}
    ),
    *_each(_WEBSOCKETS, _same(HANDSHAKES, 0.35)),
    *_each(_AIOHTTP, _same(HANDSHAKES, 1.1)),
    *(
        Target(Quantity(scenario, ours, "resident"), (), 8, 6)
        for scenario in ("idle", "idle-deflate")
        for ours in _WEBSOCKETS
    ),
    *(
        Target(
            Quantity("broadcast", ours),
            tuple(
                Quantity("broadcast", peers[ours])
                for peers in (_PICOWS_WEBSOCKETS, _WEBSOCKETS, _AIOHTTP)
            )
            + (Quantity("broadcast", "picows-uvloop" if ours == "ours-uvloop" else "picows"),),
            1.0,
        )
        for ours in _WEBSOCKETS
    ),
    *_each(_WEBSOCKETS, {"broadcast-deflate": 0.2}),
    *(
        Target(Quantity(scenario.name, ours, "peak"), (), 8)
        for scenario in STREAMS
        for ours in _WEBSOCKETS
    ),
    *(
        Target(Quantity("connections-10000", ours), (Quantity("connections-100", ours),), 1.5)
        for ours in _WEBSOCKETS
    ),
    *(
        Target(
            Quantity(scenario, "ours-trio"),
            tuple(Quantity(scenario, peer) for peer in _TRIO),
            bound,
        )
        for scenario, bound in {"16x256": 0.6, "100x1K": 0.6, "1x64": 0.35}.items()
    ),
]
