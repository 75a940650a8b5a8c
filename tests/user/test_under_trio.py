"""Under trio, for which there is no adapter yet: a clear word instead of a blocked loop."""

from collections.abc import Awaitable, Callable

import pytest

from wstransports import Buffer, WebSocketServer

trio = pytest.importorskip("trio", reason="trio is not installed")


async def with_form() -> None:
    with WebSocketServer("127.0.0.1", 0):
        raise AssertionError("it listens")


async def async_with_form() -> None:
    async with WebSocketServer("127.0.0.1", 0):
        raise AssertionError("it listens")


async def run() -> None:
    WebSocketServer("127.0.0.1", 0).run()


async def a_wait_of_ours() -> None:
    await Buffer().read(1)


@pytest.mark.parametrize("use", [with_form, async_with_form, run, a_wait_of_ours])
def test_the_mistake_is_named(use: Callable[[], Awaitable[None]]) -> None:
    with pytest.raises(RuntimeError, match="trio runs here, and wstransports has no adapter"):
        trio.run(use)
