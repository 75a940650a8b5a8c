"""What is run is what is said to be run, and nothing is forgotten."""

import re

import pytest
from selection import COMPRESSION, DIRECTIONS, EVERYTHING, GROUPS, SHORT, Direction, Selection

# The suite has groups whose numbers begin in the same way: "1.*" must not take group 10 too.
SOME_CASES = ["1.1.1", "9.8.6", "10.1.1", "12.1.1", "12.1.10", "12.5.18", "13.1.1", "13.7.18"]


def taken(selection: Selection, cases: list[str]) -> list[str]:
    """Which of `cases` the suite takes, by its own reading of patterns."""
    return [
        case
        for case in cases
        for pattern in selection.patterns()
        if (
            re.match(pattern.replace(".", r"\.").replace("*", ".*"), case)
            if "*" in pattern
            else pattern == case
        )
    ]


def test_everything_is_the_517_cases() -> None:
    assert EVERYTHING.total() == 517
    assert EVERYTHING.counts() == GROUPS
    assert EVERYTHING.left_out() == ""
    assert taken(EVERYTHING, SOME_CASES) == SOME_CASES


def test_patterns_and_counts_agree() -> None:
    selection = Selection((1, 10), (1, 11))
    assert selection.patterns()[:5] == ["1.*", "10.*", "12.1.1", "12.1.11", "12.2.1"]
    assert selection.counts() == {1: 16, 10: 1, 12: 10, 13: 14}
    assert selection.total() == 41 == 17 + len(selection.patterns()) - 2
    assert taken(selection, SOME_CASES) == ["1.1.1", "10.1.1", "12.1.1", "13.1.1"]


def test_what_is_left_out() -> None:
    assert Selection((1, 2, 3, 4, 5, 6, 7), tuple(range(1, 17))).left_out() == (
        "group 9; group 10; 12.x.y and 13.x.y with y = 17, 18"
    )


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_the_short_selection_has_each_subgroup_of_compression(direction: Direction) -> None:
    selection = SHORT[direction]
    for group, subgroups in COMPRESSION.items():
        cases = [f"{group}.{subgroup}.1" for subgroup in range(1, subgroups + 1)]
        assert taken(selection, cases) == cases
    assert 0 < selection.total() < EVERYTHING.total()
    assert selection.left_out()
