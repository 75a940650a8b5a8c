"""`serve_forever(signals=True)`: SIGINT and SIGTERM end it, on every loop."""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from kit.loops import Loop, on_each_loop
from wstransports import WebSocketServer
from wstransports.adapters import asyncio_signals
from wstransports.adapters.asyncio_signals import stop_signals
from wstransports.signal_socket import SignalSocket

BOTH_SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def handlers() -> list[Any]:
    """What the process does on the two signals."""
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


async def serve_itself(server: WebSocketServer) -> None:
    await server.serve_forever(signals=True)


async def serve_in_a_block(server: WebSocketServer) -> None:
    async with server as listening:
        await listening.serve_forever(signals=True)


@BOTH_SIGNALS
@pytest.mark.parametrize("serve", [serve_itself, serve_in_a_block])
@on_each_loop
async def test_a_signal_ends_it(
    loop: Loop, serve: Callable[[WebSocketServer], Any], number: signal.Signals
) -> None:
    before = handlers()
    server = loop.server()
    serving = loop.spawn(serve(server))
    await loop.until(lambda: server.port and handlers() != before)
    peer = await loop.connect(server)
    signal.raise_signal(number)
    assert handlers() == before  # a second signal interrupts
    assert await peer.closed() == (1001, "")
    await serving.wait()
    assert handlers() == before


@on_each_loop
async def test_a_cancellation_puts_the_handlers_back(loop: Loop) -> None:
    before = handlers()
    server = loop.server()
    serving = loop.spawn(server.serve_forever(signals=True))
    await loop.until(lambda: server.port)
    assert handlers() != before
    serving.cancel()
    with pytest.raises(loop.cancelled):
        await serving.wait()
    assert handlers() == before


def test_another_thread_cannot_take_signals() -> None:
    errors: list[BaseException] = []

    def serve() -> None:
        server = WebSocketServer("127.0.0.1", 0)
        try:
            asyncio.run(server.serve_forever(signals=True))
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    [error] = errors
    assert str(error).startswith("signals=True works in the main thread only")


def test_a_signal_wakes_a_loop_that_is_about_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a signal has tripped, and the interpreter does not run before the loop waits: the byte
    that it wrote is all that wakes the loop."""
    loop = asyncio.SelectorEventLoop()
    end = SignalSocket()
    monkeypatch.setattr(asyncio_signals, "SignalSocket", lambda: end)
    monkeypatch.setattr(asyncio_signals, "is_woken", lambda: False)
    with stop_signals(loop, loop.stop):
        woken = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        assert woken != -1
        with socket.socket(fileno=woken) as written:
            written.send(b"\x0f")
            loop.run_until_complete(asyncio.sleep(0))
            with pytest.raises(BlockingIOError):
                end.woken.recv(1)  # the loop has read the byte
            written.detach()
    assert signal.set_wakeup_fd(-1) == -1
    loop.close()


def test_what_is_woken_already_stays() -> None:
    loop = asyncio.SelectorEventLoop()
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    woken = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(woken)
    with stop_signals(loop, loop.stop):
        assert signal.set_wakeup_fd(woken) == woken
    assert signal.set_wakeup_fd(woken) == woken
    loop.close()


def test_what_is_woken_since_stays() -> None:
    loop = asyncio.SelectorEventLoop()
    with stop_signals(loop, loop.stop):
        loop.add_signal_handler(signal.SIGUSR1, loop.stop)
        woken = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(woken)
    assert signal.set_wakeup_fd(woken) == woken
    loop.close()


def test_a_loop_that_is_closed_in_the_block() -> None:
    loop = asyncio.SelectorEventLoop()
    with stop_signals(loop, loop.stop):
        loop.close()
    assert signal.set_wakeup_fd(-1) == -1
