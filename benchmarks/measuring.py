"""How a scenario is measured: one round of it, with one contestant."""

from collections.abc import Callable

from .contestants import Contestant
from .process import Server, serving
from .scenarios import Scenario

# What a round gives: quantities by name, in the units that `results.UNITS` tells.
Measured = dict[str, float]


def measure(scenario: Scenario, contestant: Contestant, seconds: float) -> Measured:
    """One round: a new server, a warm-up, a measurement of about so many seconds."""
    task = "echo" if scenario.kind in ("handshake", "idle") else scenario.kind
    with serving(contestant, task, scenario.deflate) as server:
        return _KINDS[scenario.kind](server, scenario, seconds)


def _messages(server: Server, scenario: Scenario, seconds: float) -> Measured:
    measured = server.load(
        scenario.kind,
        *scenario.load(),
        f"--warm-up={max(scenario.warm_up, scenario.connections)}",
        f"--seconds={seconds}",
        "--messages=1000000000",
    )
    return {
        "cpu": measured["server_cpu"] / measured["messages"] * 1e6,
        "rate": measured["messages"] / measured["seconds"],
        "p50": measured["p50"],
        "p99": measured["p99"],
    }


_KINDS: dict[str, Callable[[Server, Scenario, float], Measured]] = {
    "echo": _messages,
    "broadcast": _messages,
}
