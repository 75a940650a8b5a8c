"""A server on a loop of its own in a thread of its own, for tests that block."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest
import uvloop

from wstransports import WebSocketServer

NewLoop = Callable[[], asyncio.AbstractEventLoop]

BOTH_LOOPS = pytest.mark.parametrize(
    "new_loop",
    [
        pytest.param(asyncio.new_event_loop, id="asyncio"),
        pytest.param(uvloop.new_event_loop, id="uvloop", marks=pytest.mark.slow),
    ],
)


@contextmanager
def serving(server: WebSocketServer, new_loop: NewLoop = asyncio.new_event_loop) -> Iterator[int]:
    """Serve during the block, at the port it gives. Raises what the server's loop raised."""
    entered: Future[tuple[int, Callable[[], object]]] = Future()
    left: Future[None] = Future()

    async def serve() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with server:
            entered.set_result((server.port, lambda: loop.call_soon_threadsafe(stopped.set)))
            await stopped.wait()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(serve())
        except BaseException as error:  # noqa: BLE001  # raised below, in the test's thread
            (left if entered.done() else entered).set_exception(error)
        else:
            left.set_result(None)

    # A daemon, so that a server that hangs cannot outlive the time limit of the test.
    threading.Thread(target=run, daemon=True).start()
    port, stop = entered.result()
    try:
        yield port
    finally:
        stop()
        left.result()
