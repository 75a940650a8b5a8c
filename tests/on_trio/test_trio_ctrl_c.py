"""Ctrl-C while a server serves: its block is left in bounded time, and the error comes out."""

import signal
from collections.abc import Awaitable, Callable

import pytest

pytest.importorskip("trio", reason="trio is not installed")

import trio
import trio.testing

from kit.frames import CLOSE, FIN, Frame
from kit.stream_peer import StreamPeer
from wstransports import Client, Reasons, WebSocketServer

SHUTDOWN_TIMEOUT = 7

Form = Callable[[WebSocketServer], Awaitable[None]]


async def block(server: WebSocketServer) -> None:
    """The main task's own."""
    async with server:
        await trio.sleep_forever()


async def nursery(server: WebSocketServer) -> None:
    """A task next to the main one."""
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        await trio.sleep_forever()


@pytest.mark.parametrize("form", [block, nursery, WebSocketServer.serve_forever])
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c(form: Form, times: int) -> None:
    """The client answers nothing, and its callback waits. A second Ctrl-C waits for neither where
    the main task is in the server's block; where it is in a nursery, trio holds it back."""
    server = WebSocketServer("127.0.0.1", 0, shutdown_timeout=SHUTDOWN_TIMEOUT)
    interrupted: list[float] = []
    callbacks: list[str] = []
    peers: list[StreamPeer] = []
    seconds: list[float] = []

    @server.connection
    async def on_connection(client: Client) -> None:
        try:
            await trio.sleep_forever()
        finally:
            callbacks.append("cancelled")

    def interrupt() -> None:
        interrupted.append(trio.current_time())
        signal.raise_signal(signal.SIGINT)

    async def visit() -> None:
        while not server.port:
            await trio.lowlevel.checkpoint()
        peers.append(await StreamPeer.connected(server.port))
        interrupt()
        assert await peers[0].frame() == Frame(FIN | CLOSE, Reasons.GOING_AWAY.to_bytes(2))
        if times == 2:
            interrupt()

    async def main() -> None:
        trio.lowlevel.spawn_system_task(visit)
        try:
            await form(server)
        finally:
            seconds.append(trio.current_time() - interrupted[-1])
            await trio.aclose_forcefully(peers[0].stream)

    with pytest.raises(BaseException) as caught:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.05))
    if form is nursery and times == 1:
        assert isinstance(caught.value, BaseExceptionGroup)
        assert caught.value.split(KeyboardInterrupt)[1] is None
    else:
        assert isinstance(caught.value, KeyboardInterrupt)
    assert len(interrupted) == times
    assert callbacks == ["cancelled"]
    at_once = times == 2 and form is not nursery
    assert seconds == [pytest.approx(0 if at_once else SHUTDOWN_TIMEOUT)]
