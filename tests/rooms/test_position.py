"""Positions, and the tokens that clients keep of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wstransports.rooms import Position

EPOCHS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


@given(EPOCHS, st.integers(0, 2**63 - 1))
def test_a_token_is_read_back(epoch: str, offset: int) -> None:
    position = Position(epoch, offset)
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "k3",
        "k3.",
        ".7",
        "k3.-1",
        "k3.07",
        "k3.1.2",
        "k 3.1",
        "k3.1\n",
        "k3.\u0663",
        "k" * 65 + ".1",
        f"k3.{2**63}",
        "k3.1" + "0" * 5000,
    ],
)
def test_anything_else_is_refused_and_named_in_short(token: str) -> None:
    with pytest.raises(ValueError, match=r"a position reads EPOCH\.OFFSET") as caught:
        Position.parse(token)
    assert len(str(caught.value)) < 300


@given(st.text())
def test_whatever_comes_is_read_or_refused(token: str) -> None:
    try:
        assert str(Position.parse(token)) == token
    except ValueError:
        pass
