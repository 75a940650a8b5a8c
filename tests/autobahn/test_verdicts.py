"""A report that is not perfect is red, whatever makes it so."""

import pytest
from verdicts import judge

GROUPS = {1: 2, 7: 3, 10: 1}
OK = {"behavior": "OK", "behaviorClose": "OK"}
INFORMATIONAL = {"behavior": "INFORMATIONAL", "behaviorClose": "INFORMATIONAL"}
PERFECT = {
    "1.1.1": OK,
    "1.1.2": OK,
    "7.1.5": OK,
    "7.1.6": INFORMATIONAL,
    "7.13.1": INFORMATIONAL,
    "10.1.1": OK,
}


def test_a_perfect_report_has_counts_and_no_faults() -> None:
    judgement = judge(PERFECT, GROUPS)
    assert judgement.counts == {"OK": 4, "INFORMATIONAL": 2}
    assert judgement.faults == []


def test_ok_is_as_good_where_informational_is_allowed() -> None:
    assert judge(PERFECT | {"7.1.6": OK}, GROUPS).faults == []


@pytest.mark.parametrize("missing", PERFECT)
def test_a_missing_case(missing: str) -> None:
    report = {case: verdicts for case, verdicts in PERFECT.items() if case != missing}
    (fault,) = judge(report, GROUPS).faults
    assert fault.startswith(f"group {missing.partition('.')[0]}: ")


def test_an_empty_report_as_after_a_server_that_was_closed_from_the_start() -> None:
    judgement = judge({}, GROUPS)
    assert judgement.counts == {}
    assert judgement.faults == [
        "group 1: 0 cases, not 2",
        "group 7: 0 cases, not 3",
        "group 10: 0 cases, not 1",
    ]


def test_a_case_nobody_asked_for() -> None:
    assert judge(PERFECT | {"12.1.1": OK}, GROUPS).faults == ["group 12: 1 cases, not 0"]


def test_compression_that_was_not_negotiated() -> None:
    verdicts = {"behavior": "UNIMPLEMENTED", "behaviorClose": "OK"}
    judgement = judge(PERFECT | {"12.1.1": OK, "12.1.2": verdicts}, GROUPS | {12: 2})
    assert judgement.faults == ["case 12.1.2: UNIMPLEMENTED, its close OK"]


@pytest.mark.parametrize(
    "behavior", ["NON-STRICT", "FAILED", "WRONG CODE", "UNIMPLEMENTED", "INFORMATIONAL", None]
)
def test_any_other_behavior(behavior: str | None) -> None:
    verdicts = {"behavior": behavior, "behaviorClose": "OK"}
    judgement = judge(PERFECT | {"1.1.2": verdicts}, GROUPS)
    assert judgement.faults == [f"case 1.1.2: {behavior}, its close OK"]
    assert judgement.counts[f"{behavior}, its close OK"] == 1


@pytest.mark.parametrize("close", ["FAILED", "WRONG CODE", "UNCLEAN", "INFORMATIONAL"])
def test_a_failing_close_after_good_behavior(close: str) -> None:
    verdicts = {"behavior": "OK", "behaviorClose": close}
    judgement = judge(PERFECT | {"1.1.2": verdicts}, GROUPS)
    assert judgement.faults == [f"case 1.1.2: OK, its close {close}"]


@pytest.mark.parametrize("verdicts", [{}, {"behavior": "OK"}, {"behaviorClose": "OK"}])
def test_a_case_without_one_of_its_verdicts(verdicts: dict[str, str]) -> None:
    (fault,) = judge(PERFECT | {"1.1.2": verdicts}, GROUPS).faults
    assert fault.startswith("case 1.1.2: ")


def test_the_informational_cases_may_not_be_worse_than_that() -> None:
    verdicts = {"behavior": "INFORMATIONAL", "behaviorClose": "FAILED"}
    assert judge(PERFECT | {"7.1.6": verdicts}, GROUPS).faults == [
        "case 7.1.6: INFORMATIONAL, its close FAILED"
    ]


def test_faults_come_in_the_order_of_the_cases() -> None:
    bad = {"behavior": "FAILED", "behaviorClose": "FAILED"}
    report = {"10.1.1": bad, "7.13.1": bad, "7.1.5": bad} | {"7.1.6": OK, "1.1.1": OK, "1.1.2": OK}
    faults = judge(report, GROUPS).faults
    assert faults == ["case 7.1.5: FAILED", "case 7.13.1: FAILED", "case 10.1.1: FAILED"]
