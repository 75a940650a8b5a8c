"""What follows from a run: ratios round by round, their spread, verdicts; and targets that exist."""

import pytest

from benchmarks.contestants import CONTESTANTS, ROOT
from benchmarks.results import Reached, Results, Spread
from benchmarks.run import rotated
from benchmarks.scenarios import SCENARIOS
from benchmarks.targets import TARGETS, Comparison, Quantity

OURS = Quantity("16x256", "ours", "cpu")
PICOWS = Quantity("16x256", "picows", "cpu")
AIOHTTP = Quantity("16x256", "aiohttp", "cpu")


def results(**rounds: list[float]) -> Results:
    """A run of one scenario."""
    found = Results({})
    for contestant, values in rounds.items():
        for value in values:
            found.add("16x256", contestant, {"cpu": value})
    return found


def test_ratios_are_taken_round_by_round() -> None:
    run = results(ours=[10, 30, 20], picows=[10, 10, 10])
    assert run.ratio(OURS, PICOWS) == Spread(2, 1, 3)
    # The machine was twice as slow in the second round: for both, so that the ratio stays.
    run = results(ours=[10, 20, 10], picows=[5, 10, 5])
    assert run.ratio(OURS, PICOWS) == Spread(2, 2, 2)


def test_there_is_no_ratio_to_nothing() -> None:
    assert results(ours=[1, 1], picows=[1, 0]).ratio(OURS, PICOWS) is None


def test_the_best_peer_is_who_counts() -> None:
    run = results(ours=[10, 10], picows=[4, 6], aiohttp=[20, 20])
    reached = run.reached(Comparison(OURS, (PICOWS, AIOHTTP)))
    assert reached is not None
    assert reached.peer == PICOWS


def test_a_figure_without_peers_is_taken_as_it_is() -> None:
    assert results(ours=[3, 1, 2]).reached(Comparison(OURS, ())) == Reached(Spread(2, 1, 3), None)


def test_what_was_not_measured_is_unknown() -> None:
    assert results(ours=[1]).reached(Comparison(OURS, (PICOWS,))) is None
    assert results(picows=[1]).reached(Comparison(OURS, (PICOWS,))) is None


def test_a_failure_takes_back_the_rounds_before() -> None:
    run = results(ours=[1, 1], picows=[1])
    run.failed("16x256", "picows", "it ended")
    assert run.reached(Comparison(OURS, (PICOWS,))) is None
    assert run.failures == {"picows, 16x256": "it ended"}


@pytest.mark.parametrize(
    ("spread", "verdict"),
    [
        (Spread(0.9, 0.8, 1.2), "met"),
        (Spread(1.0, 0.8, 1.2), "met"),
        (Spread(1.1, 1.0, 1.2), "open"),
        (Spread(1.1, 1.01, 1.2), "missed"),
    ],
)
def test_a_target_is_missed_where_the_whole_spread_lies_above(spread: Spread, verdict: str) -> None:
    assert Reached(spread, None).verdict(1.0) == verdict


def test_everybody_begins_once() -> None:
    orders = [rotated("abc", turn) for turn in range(3)]
    assert sorted(order[0] for order in orders) == ["a", "b", "c"]
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_target_is_about_something_that_is_measured(target: object) -> None:
    assert isinstance(target, type(TARGETS[0]))
    comparisons = list(target.comparisons())
    assert comparisons
    for comparison in comparisons:
        for quantity in (comparison.ours, *comparison.peers):
            assert quantity.contestant in SCENARIOS[quantity.scenario].who


def test_every_contestant_has_its_file() -> None:
    servers = ROOT / "benchmarks" / "servers"
    modules = {one.module for one in CONTESTANTS.values()} - {"sans_io"}
    files = {file.stem for file in servers.iterdir() if file.is_file()}
    assert modules == files - {"__init__", "program"}
