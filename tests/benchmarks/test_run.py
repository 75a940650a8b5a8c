"""Rounds: who takes part, in which order, and what becomes of who fails."""

from collections.abc import Generator
from dataclasses import replace

import pytest

from benchmarks import run
from benchmarks.contestants import Contestant
from benchmarks.process import BenchmarkError
from benchmarks.results import Results
from benchmarks.scenarios import SCENARIOS, Scenario

SCENARIO = SCENARIOS["16x256"]
WHO = ["ours", "picows", "websockets"]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who did something, in order: each is made ready, and has a turn. picows fails at that."""
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


def test_turns_rotate_and_who_fails_is_left_out(steps: list[str]) -> None:
    results = Results({})
    run.run(results, SCENARIO, WHO, rounds=2, seconds=0.5)
    first, second = steps[:6], steps[6:]
    assert first == [*WHO, "picows", "websockets", "ours"]
    assert second == ["websockets", "ours", "ours", "websockets"]
    assert results.failures == {"picows, 16x256": "a wrong answer"}
    measured = {"cpu": [0.5, 0.5]}
    assert results.rounds["16x256"] == {"ours": measured, "websockets": measured}


def test_so_many_connections_that_they_are_open_one_after_the_other(steps: list[str]) -> None:
    crowded = replace(SCENARIO, connections=run.MOST_CONNECTIONS)
    run.run(Results({}), crowded, ["ours", "websockets"], rounds=1, seconds=0.5)
    assert steps == ["ours", "ours", "websockets", "websockets"]
