"""One round of a scenario with one contestant, in turns."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack

from .contestants import Contestant
from .process import Server, run_alone, serving
from .redis_server import RedisServer, redis_server
from .scenarios import MIB, Kind, Scenario

# The quantities of a round by name; `tables.HEADINGS` has their units.
Measured = dict[str, float]

# Yields when the turn of another contestant comes; returns the quantities of the round.
Round = Generator[None, None, Measured]

# Contestants take short turns, so that a change on the machine during a round affects all of them.
# Every connection carries at least one message a turn: with thousands of them, there are fewer
# turns.
TURNS = 10
CONNECTIONS_IN_ALL = 20_000

# Handshakes in a turn. Each of them leaves a port in TIME_WAIT.
MOST_HANDSHAKES = 1000

# The load generator gives up after this many seconds.
LIMIT = 90


def measure(scenario: Scenario, contestant: Contestant, seconds: float) -> Round:
    """One round; `seconds` bounds those kinds that are bounded by time.

    Raises BenchmarkError if an answer is wrong or missing.
    """
    if scenario.kind == "sans-io":
        return _sans_io(contestant, scenario, seconds)
    if scenario.kind == "rooms":
        return (yield from _in_rooms(contestant, scenario, seconds))
    with serving(contestant, scenario) as server:
        if scenario.kind in _AT_ONCE:
            return _AT_ONCE[scenario.kind](server, scenario)
        return (yield from _IN_TURNS[scenario.kind](server, scenario, seconds))


def _turns(
    server: Server,
    scenario: Scenario,
    messages: float,
    seconds: float,
    others: Sequence[Server] = (),
    redis: RedisServer | None = None,
) -> Round:
    """Turns that take `seconds` in all, of at most `messages` messages each."""
    redis_cpu = 0.0
    turns = max(1, min(TURNS, CONNECTIONS_IN_ALL // scenario.connections))
    bounds = [f"--warm-up={scenario.warm_up}", f"--messages={messages:.0f}", f"--limit={LIMIT}"]
    with server.load(scenario.kind, *scenario.load(), *bounds, others=others) as load:
        for _ in range(turns):
            yield
            before = redis.cpu() if redis else 0.0
            measured = load.turn(seconds / turns)
            redis_cpu += redis.cpu() - before if redis else 0.0
    return {**measured, "redis_cpu": redis_cpu}


def _messages(server: Server, scenario: Scenario, seconds: float) -> Round:
    """Messages, until the time is up."""
    return _of_a_message((yield from _turns(server, scenario, 1e9, seconds)))


def _of_a_message(measured: Measured) -> Measured:
    return {
        "cpu": measured["server_cpu"] / measured["messages"] * 1e6,
        "rate": measured["messages"] / measured["seconds"],
        "p50": measured["p50"],
        "p99": measured["p99"],
        "faults": measured["faults"] / measured["messages"],
        "load": measured["load_cpu"] / measured["messages"] * 1e6,
    }


def _in_rooms(contestant: Contestant, scenario: Scenario, seconds: float) -> Round:
    """Messages to members at one process; over Redis at two, and a third one publishes."""
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server()) if contestant.redis else None
        url = redis.url if redis else ""
        first, *others = [
            stack.enter_context(serving(contestant, scenario, url))
            for _ in range(3 if redis else 1)
        ]
        if others:
            first.step_aside()
        measured = yield from _turns(first, scenario, 1e9, seconds, others, redis)
    redis_cpu = measured["redis_cpu"] / measured["messages"] * 1e6
    return {**_of_a_message(measured), "redis": redis_cpu}


def _handshakes(server: Server, scenario: Scenario, seconds: float) -> Round:
    """Connections that are opened and closed again, until the time is up."""
    measured = yield from _turns(server, scenario, MOST_HANDSHAKES, seconds)
    opening, closing = measured["opening_cpu"], measured["closing_cpu"]
    return {
        "cpu": (opening + closing) / measured["messages"] * 1e6,
        "opening": opening / measured["messages"] * 1e6,
        "rate": measured["messages"] / measured["seconds"],
    }


def _idle(server: Server, scenario: Scenario) -> Measured:
    """The memory of each connection that does nothing."""
    with server.load("idle", *scenario.load()) as load:
        load.open(scenario.warm_up)
        before = server.memory()
        load.open(scenario.connections)
        after = server.memory()
    count = scenario.connections - scenario.warm_up
    return {
        "resident": (after["Rss"] - before["Rss"]) / count,
        "proportional": (after["Pss"] - before["Pss"]) / count,
    }


def _stream(server: Server, scenario: Scenario) -> Measured:
    """The peak memory of one long message, above what the server holds after a short one."""
    with server.load("stream", *scenario.load(), f"--size={MIB}") as load:
        load.turn(LIMIT)
    idle = server.memory()["Rss"]
    server.forget_peak()
    with server.load("stream", *scenario.load(), "--limit=200") as load:
        measured = load.turn(LIMIT)
    return {
        "peak": (server.peak() - idle) / 1024,
        "cpu": measured["server_cpu"] / scenario.size * MIB * 1e6,
    }


def _sans_io(contestant: Contestant, scenario: Scenario, seconds: float) -> Measured:
    measured = run_alone(contestant, str(scenario.size), str(scenario.chunk), str(seconds))
    return {"cpu": measured["server_cpu"] / measured["messages"] * 1e6}


_IN_TURNS: dict[Kind, Callable[[Server, Scenario, float], Round]] = {
    "echo": _messages,
    "broadcast": _messages,
    "handshake": _handshakes,
}

_AT_ONCE: dict[Kind, Callable[[Server, Scenario], Measured]] = {
    "idle": _idle,
    "stream": _stream,
}
