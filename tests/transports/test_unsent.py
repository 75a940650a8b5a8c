"""The bytes that a stream has not taken: in order, and long ones where they are."""

import random

import pytest

from wstransports.adapters.unsent import LONG, Unsent


@pytest.mark.parametrize("seed", range(20))
def test_all_come_out_in_order(seed: int) -> None:
    choose = random.Random(seed)
    unsent = Unsent()
    expected, got = b"", b""
    for number in range(200):
        if choose.random() < 0.5 or not unsent.size:
            data = bytes([number]) * choose.choice([0, 1, 100, LONG - 1, LONG, 3 * LONG])
            start = choose.choice([0, 0, 1, 50])
            unsent.append(memoryview(data)[start:])
            expected += data[start:]
        else:
            first = unsent.first()
            size = choose.choice([0, 1, len(first) // 2, len(first)])
            got += bytes(first[:size])
            unsent.taken(min(size, len(first)))
        assert unsent.size == len(expected) - len(got)
    while unsent.size:
        got += bytes(unsent.first())
        unsent.taken(len(unsent.first()))
    assert got == expected


def test_a_long_one_is_not_copied() -> None:
    data = bytes(LONG + 1)
    unsent = Unsent()
    unsent.append(memoryview(b"short"))
    unsent.append(memoryview(data)[1:])
    unsent.append(memoryview(b"short"))
    unsent.taken(5)
    for size in (100, LONG - 100):
        first = unsent.first()
        assert isinstance(first, memoryview)
        assert first.obj is data
        unsent.taken(size)
    assert bytes(unsent.first()) == b"short"


def test_short_ones_are_gathered() -> None:
    """An object for each would take more than its bytes."""
    unsent = Unsent()
    for _ in range(LONG):
        unsent.append(memoryview(b"ab"))
    for _ in range(2):
        assert bytes(unsent.first()) == b"ab" * (LONG // 2)
        unsent.taken(LONG)
