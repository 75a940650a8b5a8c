"""What follows from a run: ratios round by round, their spread, verdicts; and valid targets."""

from pathlib import Path

import pytest

from benchmarks.contestants import CONTESTANTS, ROOT
from benchmarks.results import Results
from benchmarks.run import rotated
from benchmarks.scenarios import SCENARIOS
from benchmarks.spread import Spread, rounded
from benchmarks.summary import Reached, Summary
from benchmarks.targets import TARGETS, Comparison, Entry

OURS = Entry("16x256", "ours")
PICOWS = Entry("16x256", "picows")
AIOHTTP = Entry("16x256", "aiohttp")


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
    # The machine was twice as slow in the second round, for both: the ratio stays the same.
    run = results(ours=[10, 20, 10], picows=[5, 10, 5])
    assert run.ratio(OURS, PICOWS) == Spread(2, 2, 2)


def test_there_is_no_ratio_to_zero() -> None:
    assert results(ours=[1, 1], picows=[1, 0]).ratio(OURS, PICOWS) is None


def test_the_best_peer_counts() -> None:
    run = results(ours=[10, 10], picows=[4, 6], aiohttp=[20, 20])
    reached = run.summary().reached(Comparison(OURS, (PICOWS, AIOHTTP)))
    assert reached is not None
    assert reached.peer == PICOWS


def test_a_figure_without_peers_is_taken_as_it_is() -> None:
    summary = results(ours=[3, 1, 2]).summary()
    assert summary.reached(Comparison(OURS, ())) == Reached(Spread(2, 1, 3), None)


def test_what_was_not_measured_is_unknown() -> None:
    assert results(ours=[1]).summary().reached(Comparison(OURS, (PICOWS,))) is None
    assert results(picows=[1]).summary().reached(Comparison(OURS, (PICOWS,))) is None


def test_a_failure_takes_back_the_rounds_before() -> None:
    run = results(ours=[1, 1], picows=[1])
    run.failed("16x256", "picows", "it ended")
    assert run.summary().reached(Comparison(OURS, (PICOWS,))) is None
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


def test_a_summary_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = Results({"Date": "today"}, {"node": "Node.js is not installed"})
    for round_ in (1.23456789, 2, 3):
        run.add("16x256", "ours", {"cpu": round_, "rate": 1 / round_})
        run.add("16x256", "aiohttp", {"cpu": 2 * round_, "rate": round_})
    run.failed("1x64", "ours", "a wrong answer")
    summary = run.summary()
    summary.save(tmp_path / "results.json")
    assert Summary.load(tmp_path / "results.json") == summary
    assert summary.figures["16x256"]["ours"] == {"cpu": [2.0, 1.234568, 3.0], "rate": [0.5]}
    assert summary.ratio(OURS, AIOHTTP) == Spread(0.5, 0.5, 0.5)
    assert summary.left_out == {"node": "Node.js is not installed"}
    assert summary.failures == {"ours, 1x64": "a wrong answer"}


def test_a_summary_has_every_ratio_that_a_page_prints() -> None:
    run = Results({})
    for scenario in SCENARIOS.values():
        for contestant in scenario.contestants:
            run.add(scenario.name, contestant, {scenario.quantity: 2.0})
    summary = run.summary()
    for scenario in SCENARIOS.values():
        for contestant in scenario.contestants:
            if ours := CONTESTANTS[contestant].counterpart:
                theirs = Entry(scenario.name, contestant)
                assert summary.ratio(Entry(scenario.name, ours), theirs) == Spread(1, 1, 1)
    for target in TARGETS:
        for comparison in target.comparisons():
            assert summary.reached(comparison) is not None


@pytest.mark.parametrize(
    ("value", "text"), [(1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12 346")]
)
def test_figures_are_rounded_to_three_digits(value: float, text: str) -> None:
    assert rounded(value) == text


def test_each_contestant_begins_once() -> None:
    orders = [rotated("abc", turn) for turn in range(3)]
    assert sorted(order[0] for order in orders) == ["a", "b", "c"]
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_target_is_about_something_that_is_measured(target: object) -> None:
    assert isinstance(target, type(TARGETS[0]))
    comparisons = list(target.comparisons())
    assert comparisons
    for comparison in comparisons:
        for entry in (comparison.ours, *comparison.peers):
            assert entry.contestant in SCENARIOS[entry.scenario].contestants


def test_every_contestant_has_its_file() -> None:
    shared = {"__init__", "asgi_echo", "program", "workers", "connecting"}
    for folder, clients in ("servers", False), ("clients", True):
        modules = {one.module for one in CONTESTANTS.values() if one.client == clients}
        files = {file.stem for file in (ROOT / "benchmarks" / folder).iterdir() if file.is_file()}
        assert modules - {"sans_io"} == files - shared


def test_a_client_is_compared_with_ours() -> None:
    theirs = CONTESTANTS["picows.websockets-client-uvloop"]
    assert theirs.counterpart == "ours-client-uvloop"
    ours = CONTESTANTS[theirs.counterpart]
    assert (ours.client, ours.receives, ours.counterpart) == (True, False, None)


def test_an_asgi_server_is_compared_with_ours_under_uvicorn() -> None:
    for app in "bare", "fastapi":
        theirs = CONTESTANTS[f"{app}-wsproto-uvloop"]
        assert theirs.counterpart == f"ours-{app}-uvloop"
        ours = CONTESTANTS[theirs.counterpart]
        assert (ours.app, ours.module, ours.counterpart) == (app, "uvicorn", None)
