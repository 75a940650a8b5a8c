"""The forms that drive a loop of their own, inside a loop that runs already."""

from collections.abc import Awaitable, Callable

import pytest

from wstransports import WebSocketServer

trio = pytest.importorskip("trio", reason="trio is not installed")


async def with_form() -> None:
    with WebSocketServer("127.0.0.1", 0):
        raise AssertionError("it listens")


async def run() -> None:
    WebSocketServer("127.0.0.1", 0).run()


async def run_workers() -> None:
    WebSocketServer("127.0.0.1", 0).run(workers=1)


@pytest.mark.parametrize("use", [with_form, run, run_workers])
def test_the_mistake_is_named(use: Callable[[], Awaitable[None]]) -> None:
    with pytest.raises(
        RuntimeError, match="an event loop is running already: use `async with server:`"
    ):
        trio.run(use)
