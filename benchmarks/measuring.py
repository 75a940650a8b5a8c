"""How a scenario is measured: one round of it, with one contestant."""

from collections.abc import Callable

from .contestants import Contestant
from .process import Server, run_alone, serving
from .scenarios import MIB, Kind, Scenario

# What a round gives: quantities by name, in the units of `results.UNITS`.
Measured = dict[str, float]

# Handshakes in a round: bounded, because each leaves a port in TIME_WAIT.
MOST_HANDSHAKES = 5000


def measure(scenario: Scenario, contestant: Contestant, seconds: float) -> Measured:
    """One round, of about so many seconds where it is time that bounds it.

    Raises BenchmarkError where an answer was wrong or did not come.
    """
    if scenario.kind == "sans-io":
        return _sans_io(scenario, contestant, seconds)
    task = scenario.kind if scenario.kind in ("broadcast", "stream") else "echo"
    with serving(contestant, task, scenario.deflate) as server:
        return _WITH_SERVER[scenario.kind](server, scenario, seconds)


def _messages(server: Server, scenario: Scenario, seconds: float) -> Measured:
    """Messages, until the time is over."""
    bounds = [f"--warm-up={scenario.warm_up}", f"--seconds={seconds}", "--messages=1e9"]
    measured = server.load(scenario.kind, *scenario.load(), *bounds)
    return {
        "cpu": measured["server_cpu"] / measured["messages"] * 1e6,
        "rate": measured["messages"] / measured["seconds"],
        "p50": measured["p50"],
        "p99": measured["p99"],
        "faults": measured["faults"] / measured["messages"],
        "load": measured["load_cpu"] / measured["messages"] * 1e6,
    }


def _handshakes(server: Server, scenario: Scenario, seconds: float) -> Measured:
    """Connections opened and closed again, until the time is over."""
    bounds = [
        f"--warm-up={scenario.warm_up}",
        f"--seconds={seconds}",
        f"--messages={MOST_HANDSHAKES}",
    ]
    measured = server.load("handshake", *scenario.load(), *bounds)
    opening, closing = measured["opening_cpu"], measured["closing_cpu"]
    return {
        "cpu": (opening + closing) / measured["messages"] * 1e6,
        "opening": opening / measured["messages"] * 1e6,
        "rate": measured["messages"] / measured["seconds"],
    }


def _idle(server: Server, scenario: Scenario, seconds: float) -> Measured:
    """Connections that do nothing: what each holds."""
    with server.holding(*scenario.load()) as held:
        held.open(scenario.warm_up)
        before = server.memory()
        held.open(scenario.connections)
        after = server.memory()
    count = scenario.connections - scenario.warm_up
    return {
        "resident": (after["Rss"] - before["Rss"]) / count,
        "proportional": (after["Pss"] - before["Pss"]) / count,
    }


def _stream(server: Server, scenario: Scenario, seconds: float) -> Measured:
    """One long message: how much more is resident meanwhile than after a short one."""
    server.load("stream", *scenario.load(), f"--size={MIB}")
    idle = server.memory()["Rss"]
    server.forget_peak()
    measured = server.load("stream", *scenario.load(), "--limit=200")
    return {
        "peak": (server.peak() - idle) / 1024,
        "cpu": measured["server_cpu"] / scenario.size * MIB * 1e6,
    }


def _sans_io(scenario: Scenario, contestant: Contestant, seconds: float) -> Measured:
    measured = run_alone(contestant, str(scenario.size), str(scenario.chunk), str(seconds))
    return {"cpu": measured["server_cpu"] / measured["messages"] * 1e6}


_WITH_SERVER: dict[Kind, Callable[[Server, Scenario, float], Measured]] = {
    "echo": _messages,
    "broadcast": _messages,
    "handshake": _handshakes,
    "idle": _idle,
    "stream": _stream,
}
