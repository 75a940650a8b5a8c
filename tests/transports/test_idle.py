"""What counts as something to do, where a broadcast looks whether it must let others run."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from wstransports.adapters.asyncio_loop import is_idle, shows_all


@pytest.fixture
def own_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.SelectorEventLoop()
    yield loop
    loop.close()


def test_a_loop_that_waits_for_a_later_timer_is_idle(own_loop: asyncio.AbstractEventLoop) -> None:
    assert shows_all(own_loop)
    assert is_idle(own_loop)
    own_loop.call_later(3600, int)
    assert is_idle(own_loop)


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(lambda loop: loop.call_soon(int), id="a call"),
        pytest.param(lambda loop: loop.call_at(loop.time(), int), id="a timer that is due"),
    ],
)
def test_a_loop_with_something_to_do_is_not(
    own_loop: asyncio.AbstractEventLoop, begin: Callable[[asyncio.AbstractEventLoop], object]
) -> None:
    begin(own_loop)
    assert not is_idle(own_loop)
