"""A short soak finds nothing, and a long one would tell what it found."""

import os
import sys

import pytest
from attack import LOOPS
from target import Target
from visitor import Account

import soak
from soak import Sample, judge

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_few_seconds(
    loop: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (*soak.MALLOC, "PYTHONPATH"):
        monkeypatch.setitem(os.environ, name, "")  # put back afterwards
    monkeypatch.setattr(sys, "argv", ["soak.py", "--minutes=0.02", f"--loop={loop}"])
    status = soak.main()
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert f"{loop} over TLS, 0.02 minutes: " in printed
    assert printed.endswith("No excesses\n")


class Quiet(Target):
    """A server that says what the test says."""

    def __init__(self, log: list[str], **stats: int) -> None:
        self._log = log
        self._stats = stats

    def __del__(self) -> None:
        """No process was started."""

    def log_lines(self) -> list[str]:
        return self._log

    def stats(self, collect: bool = False) -> dict[str, int]:
        return self._stats


@pytest.mark.parametrize(
    "left, looks", [(0, 4), (1, soak.SETTLE + 1)], ids=["passing", "a task that stays"]
)
def test_what_passes_is_not_left(left: int, looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors, tasks = iter([14, 12, 9, 11] * 5), iter([10, 10, 10, 9 + left] * 5)
    taken: list[Sample] = []

    def sample(target: Target) -> Sample:
        taken.append(Sample(10, next(descriptors), next(tasks)))
        return taken[-1]

    monkeypatch.setattr(soak, "sample", sample)
    monkeypatch.setattr("soak.time.sleep", lambda seconds: None)
    assert soak.settled(Quiet([]), Sample(10, 9, 9)) == Sample(10, 9, 9 + left)
    assert len(taken) == looks


def test_what_is_not_flat_and_does_not_add_up() -> None:
    account = Account(visits=3, sent=10, echoed=9, kept=9, faults=["a fault"])
    samples = [Sample(10 + number, 10 + number, 5 + number) for number in range(20)]
    target = Quiet(["Traceback (most recent call last):"], clients=2, begun=11, answered=8)
    figures = {figure.name: figure.value for figure in judge(target, account, samples)}
    assert figures == {
        "MiB of growth": 10,
        "descriptors left": 19,
        "tasks left": 19,
        "clients left": 2,
        "tracebacks": 1,
        "faults that visitors saw": 1,
        "messages lost": 1,
        "messages too many": 1,
        "echoes too many": 1,
    }
