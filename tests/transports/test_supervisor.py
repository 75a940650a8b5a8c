"""Which workers a supervisor starts, replaces, drains and kills: its state machine alone."""

import logging
import math

import pytest

from wstransports.workers.supervisor import (
    ANSWER_TIME,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    START_TIME,
    STEADY,
    Supervisor,
)

LEAVE_TIME = 40.0


class Office:
    """A supervisor, a clock, and what was ordered and reported."""

    def __init__(self, count: int = 2, leave_time: float = LEAVE_TIME) -> None:
        self.lines: list[tuple[int, str]] = []
        self.supervisor = Supervisor(count, leave_time, lambda *line: self.lines.append(line))
        self.now = 100.0

    def orders(self) -> list[str]:
        """The orders since the last call, each as one text."""
        return [f"{order.act.value} {order.worker}" for order in self.supervisor.orders()]

    def serve(self, *numbers: int) -> list[str]:
        """These workers serve; what is ordered then."""
        for number in numbers:
            self.supervisor.serves(number, self.now)
        return self.orders()

    def started(self) -> "Office":
        """The first workers serve."""
        self.supervisor.start()
        self.orders()
        self.serve(*range(1, len(self.supervisor._places) + 1))
        self.lines.clear()
        return self

    def end(self, number: int, how: str = "status 1") -> list[str]:
        """A worker ends; what is ordered then."""
        self.supervisor.ended(number, how, self.now)
        return self.orders()

    def wake(self, at: float | None = None) -> list[str]:
        """Let the time pass until `at`, or until the deadline; what is ordered then."""
        self.now = self.supervisor.deadline() if at is None else at
        self.supervisor.wake(self.now)
        return self.orders()

    def replace(self) -> list[str]:
        """SIGHUP."""
        self.supervisor.replace_all(self.now)
        return self.orders()

    def stop(self) -> list[str]:
        """SIGTERM."""
        self.supervisor.stop(self.now)
        return self.orders()

    def reported(self, level: int) -> list[str]:
        """The lines of that level."""
        return [text for one, text in self.lines if one == level]


def test_it_starts_as_many_as_asked_for() -> None:
    office = Office(3)
    office.supervisor.start()
    assert office.orders() == ["start 1", "start 2", "start 3"]
    assert office.orders() == []
    assert office.supervisor.deadline() == math.inf
    assert office.serve(1, 2, 3) == []
    assert office.reported(logging.INFO) == [f"worker {number} serves" for number in (1, 2, 3)]


def test_a_worker_that_worked_is_replaced_at_once() -> None:
    office = Office().started()
    office.now += STEADY
    assert office.end(1, "SIGSEGV") == []
    assert office.supervisor.deadline() == office.now
    assert office.wake() == ["start 3"]
    assert office.lines == [(logging.WARNING, "worker 1 ended: SIGSEGV")]
    assert office.wake(office.now) == []
    assert office.serve(3) == []


def test_one_that_ends_soon_is_replaced_ever_later() -> None:
    office = Office().started()
    pauses = []
    for number in (1, *range(3, 11)):
        office.end(number)
        pauses.append(office.supervisor.deadline() - office.now)
        assert office.wake(office.now + pauses[-1] - 0.01) == []
        assert office.wake() == [f"start {max(number, 2) + 1}"]
    assert pauses[:4] == pytest.approx([FIRST_PAUSE * 2**n for n in range(4)])
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE)
    assert office.reported(logging.WARNING)[:2] == [
        "worker 1 ended: status 1",
        "the next worker starts in 0.5 s",
    ]
    office.serve(11)
    office.now += STEADY
    office.end(11, "status 0")
    assert office.supervisor.deadline() == office.now
    assert office.lines[-1] == (logging.INFO, "worker 11 ended: status 0")


def test_it_fails_if_the_first_all_end_before_one_serves() -> None:
    office = Office()
    office.supervisor.start()
    office.end(1)
    assert not office.supervisor.over
    assert office.supervisor.deadline() == math.inf
    office.end(2)
    assert office.supervisor.over
    assert office.supervisor.failed


def test_it_does_not_fail_if_it_was_stopped_before_one_served() -> None:
    office = Office(1)
    office.supervisor.start()
    office.orders()
    assert office.stop() == ["drain 1"]
    office.end(1, "status 0")
    assert office.supervisor.over
    assert not office.supervisor.failed


def test_if_one_serves_the_others_are_tried_again() -> None:
    office = Office()
    office.supervisor.start()
    office.orders()
    assert office.end(1) == []
    assert office.serve(2) == []
    assert office.supervisor.deadline() == office.now + FIRST_PAUSE
    assert office.wake() == ["start 3"]


# --- Replacing all


def test_the_old_stop_accepting_when_all_the_new_ones_serve_and_drain_when_all_have_stopped() -> (
    None
):
    office = Office().started()
    assert office.replace() == ["start 3", "start 4"]
    assert office.serve(4) == []
    assert office.serve(3) == ["stop accepting 1", "stop accepting 2"]
    office.supervisor.accepts_no_more(1, office.now)
    assert office.orders() == []
    office.supervisor.accepts_no_more(2, office.now)
    assert office.orders() == ["drain 1", "drain 2"]
    assert office.supervisor.deadline() == office.now + LEAVE_TIME
    office.end(1, "status 0")
    office.end(2, "status 0")
    assert office.supervisor.deadline() == math.inf
    assert office.reported(logging.WARNING) == []
    office.now += STEADY
    office.end(3)
    assert office.wake() == ["start 5"]


def test_an_old_one_that_ends_does_not_keep_the_others_from_draining() -> None:
    office = Office().started()
    office.replace()
    office.serve(3, 4)
    office.supervisor.accepts_no_more(1, office.now)
    assert office.end(2) == ["drain 1"]


def test_an_old_one_that_says_nothing_does_neither() -> None:
    office = Office().started()
    office.replace()
    office.serve(3, 4)
    office.supervisor.accepts_no_more(1, office.now)
    assert office.supervisor.deadline() == office.now + ANSWER_TIME
    assert office.wake() == ["drain 1", "drain 2"]
    office.supervisor.accepts_no_more(2, office.now)  # late
    assert office.orders() == []


def test_no_old_one_is_left_to_drain() -> None:
    office = Office(1).started()
    office.now += STEADY
    office.end(1)
    assert office.replace() == ["start 2"]
    assert office.wake(office.now) == []  # its replacement is on the way
    assert office.serve(2) == []
    assert office.supervisor.deadline() == math.inf


def test_one_that_hangs_is_killed() -> None:
    office = Office(1).started()
    office.replace()
    office.serve(2)
    office.supervisor.accepts_no_more(1, office.now)
    assert office.orders() == ["drain 1"]
    assert office.wake() == ["kill 1"]
    assert office.reported(logging.WARNING) == ["worker 1 did not leave: it is killed"]
    assert office.supervisor.deadline() == math.inf
    office.end(1, "SIGKILL")


def test_without_a_limit_none_is_killed() -> None:
    office = Office(leave_time=math.inf).started()
    assert office.stop() == ["drain 1", "drain 2"]
    assert office.supervisor.deadline() == math.inf


def test_if_a_new_one_ends_too_soon_the_old_ones_stay() -> None:
    office = Office().started()
    office.replace()
    office.serve(3)
    assert office.end(4) == ["drain 3"]  # it may have clients
    assert office.reported(logging.ERROR) == [
        "the new workers are given up, and the old ones stay: worker 4 ended before all of them"
        " served"
    ]
    office.end(3, "status 0")
    assert office.supervisor.deadline() == math.inf
    assert office.replace() == ["start 5", "start 6"]


def test_if_the_new_ones_never_serve_the_old_ones_stay() -> None:
    office = Office().started()
    office.replace()
    office.serve(3)
    assert office.supervisor.deadline() == office.now + START_TIME
    assert office.wake() == ["drain 3", "drain 4"]
    assert office.wake() == ["kill 3", "kill 4"]


def test_an_old_one_that_ended_meanwhile_is_replaced_if_the_new_ones_are_given_up() -> None:
    office = Office().started()
    office.replace()
    office.now += STEADY
    office.end(1)
    assert office.wake(office.now) == []
    office.end(3)
    assert office.wake(office.now) == ["start 5"]


def test_a_second_request_meanwhile_replaces_all_once_more() -> None:
    """What the new ones loaded may be older than the second request."""
    office = Office(1).started()
    assert office.replace() == ["start 2"]
    assert office.replace() == []
    assert office.replace() == []
    assert office.serve(2) == ["stop accepting 1", "start 3"]
    assert office.serve(3) == ["stop accepting 2"]
    office.supervisor.accepts_no_more(1, office.now)
    assert office.orders() == []
    office.supervisor.accepts_no_more(2, office.now)
    assert office.orders() == ["drain 1", "drain 2"]


def test_a_second_request_counts_too_if_the_new_ones_are_given_up() -> None:
    office = Office(1).started()
    office.replace()
    office.replace()
    assert office.end(2) == ["start 3"]


def test_the_first_ones_are_replaced_before_they_serve() -> None:
    office = Office(1)
    office.supervisor.start()
    office.orders()
    assert office.replace() == ["start 2"]
    office.end(1)
    office.end(2)
    assert office.supervisor.failed


# --- The end


def test_all_drain_at_the_end() -> None:
    office = Office().started()
    office.replace()
    assert office.stop() == ["drain 1", "drain 2", "drain 3", "drain 4"]
    assert office.serve(3, 4) == []
    assert office.replace() == []
    for number in (1, 2, 3, 4):
        assert not office.supervisor.over
        office.end(number, "status 0")
    assert office.supervisor.over
    assert not office.supervisor.failed


def test_what_drains_already_is_not_told_again() -> None:
    office = Office(1).started()
    office.replace()
    office.serve(2)
    office.supervisor.accepts_no_more(1, office.now)
    assert office.orders() == ["drain 1"]
    assert office.stop() == ["drain 2"]


def test_none_is_started_after_the_end_was_asked_for() -> None:
    office = Office().started()
    office.end(1)
    office.stop()
    assert office.wake(office.now + 30) == []


def test_a_second_stop_kills() -> None:
    office = Office().started()
    office.stop()
    assert office.stop() == ["kill 1", "kill 2"]
    office.end(1, "SIGKILL")
    office.end(2, "SIGKILL")
    assert office.supervisor.over
