"""Rounds: which contestants take part, in which order, and what happens after a failure."""

import sys
from collections.abc import Generator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmarks import run
from benchmarks.contestants import ROOT, Contestant
from benchmarks.duration import expected
from benchmarks.process import BenchmarkError
from benchmarks.results import Results
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.summary import Summary

SCENARIO = SCENARIOS["16x256"]
NAMES = ["ours", "picows", "websockets"]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The contestants in the order in which they start and take turns; picows fails in its own."""
    steps: list[str] = []

    def measure(
        scenario: Scenario, contestant: Contestant, seconds: float
    ) -> Generator[None, None, dict[str, float]]:
        steps.append(contestant.name)
        yield
        steps.append(contestant.name)
        if contestant.name == "picows":
            raise BenchmarkError("a wrong answer")
        return {"cpu": seconds}

    monkeypatch.setattr(run, "measure", measure)
    return steps


def test_turns_rotate_and_a_contestant_that_fails_is_left_out(steps: list[str]) -> None:
    results = Results({})
    run.run(results, SCENARIO, NAMES, rounds=2, seconds=0.5)
    first, second = steps[:6], steps[6:]
    assert first == [*NAMES, "picows", "websockets", "ours"]
    assert second == ["websockets", "ours", "ours", "websockets"]
    assert results.failures == {"picows, 16x256": "a wrong answer"}
    measured = {"cpu": [0.5, 0.5]}
    assert results.rounds["16x256"] == {"ours": measured, "websockets": measured}


@pytest.mark.parametrize("part", [["--smoke"], ["--only", "1x64"], ["--contestants", "ours"]])
def test_a_part_of_a_run_does_not_replace_the_published_results(
    part: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run", "--publish", str(ROOT), *part])
    with pytest.raises(SystemExit):
        run.main()
    assert "takes a whole run" in capsys.readouterr().err


def test_what_a_round_takes_besides_its_turns_is_kept(
    steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 109.0])
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    results = Results({})
    run.run(results, SCENARIO, ["ours", "picows", "websockets"], rounds=2, seconds=0.5)
    assert results.took == {"16x256": 1.3}  # picows had one round: 9 s / 5 - 0.5 s


def test_a_run_begins_with_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published = Summary({}, took={"16x256": 1.0})
    monkeypatch.setattr(Summary, "load", lambda path: published)
    run.announce([(SCENARIO, NAMES, 5), (SCENARIOS["idle"], NAMES, 25)], seconds=0.5)
    assert capsys.readouterr().out == (
        "6 pairs of scenario and contestant, 90 rounds: about 2 minutes.\n"
    )


def test_how_long_scenarios_take_that_were_not_measured() -> None:
    echo, other, idle = SCENARIO, SCENARIOS["1x64"], SCENARIOS["idle"]
    assert expected([(echo, 1)], 0.5, {}) is None
    took = {"16x256": 1.0, "100x1K": 3.0, "stream": 8.0}
    assert expected([(echo, 10)], 0.5, took) == 15
    assert expected([(other, 10)], 0.5, took) == 25  # as other echoes
    assert expected([(idle, 10)], 0.5, took) == 40  # as all, and its turns take no time
    assert expected([(echo, 2), (other, 2)], 0.5, took) == 8


def test_with_too_many_connections_contestants_run_one_after_the_other(steps: list[str]) -> None:
    crowded = replace(SCENARIO, connections=run.MOST_CONNECTIONS)
    run.run(Results({}), crowded, ["ours", "websockets"], rounds=1, seconds=0.5)
    assert steps == ["ours", "ours", "websockets", "websockets"]
