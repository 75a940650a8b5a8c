"""How long a run takes, from what the published run took."""

from collections.abc import Collection, Mapping
from statistics import mean

from .scenarios import SCENARIOS, Scenario


def besides_turns(scenario: Scenario, seconds: float, elapsed: float, rounds: int) -> float:
    """The seconds that a contestant's round took besides the `seconds` of its turns.

    The `rounds` of all contestants took `elapsed` seconds.
    """
    return max(0.0, elapsed / rounds - (seconds if scenario.timed else 0))


def expected(
    planned: Collection[tuple[Scenario, int]], seconds: float, took: Mapping[str, float]
) -> float | None:
    """The seconds of a run of these scenarios, each with the rounds of all its contestants.

    `took` is what a round took besides its turns, by scenario. A scenario that was not measured is
    taken for the mean of its kind, or of all. None if nothing was measured.
    """
    if not took:
        return None
    return sum(
        rounds * (_known(scenario, took) + (seconds if scenario.timed else 0))
        for scenario, rounds in planned
    )


def _known(scenario: Scenario, took: Mapping[str, float]) -> float:
    if scenario.name in took:
        return took[scenario.name]
    similar = [
        seconds
        for name, seconds in took.items()
        if name in SCENARIOS and SCENARIOS[name].kind == scenario.kind
    ]
    return mean(similar or took.values())
