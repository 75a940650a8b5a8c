"""The `with` form and `run()`, which drive a loop themselves, and the signals that stop it."""

import asyncio
import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, cast

import pytest

from kit.background import background
from kit.blocking_peer import connected
from wstransports import Client, WebSocketServer
from wstransports.runtime import Runner
from wstransports.testing import MemoryRuntime

BOTH_SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def handlers() -> list[Any]:
    """What the process does on the two signals."""
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.fixture(autouse=True)
def before() -> Iterator[list[Any]]:
    """Python's own handlers, which must be back at the end, and a thread without a loop."""
    outer = handlers()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asyncio.set_event_loop(None)
    before = handlers()
    yield before
    asyncio.set_event_loop(None)
    after = handlers()
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), outer, strict=True):
        signal.signal(number, handler)
    assert after == before


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that does not run."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def server(loop: asyncio.AbstractEventLoop | None = None, port: int = 0) -> WebSocketServer:
    return WebSocketServer("127.0.0.1", port, loop=loop)


@BOTH_SIGNALS
def test_a_signal_runs_what_follows_run_forever(
    number: signal.Signals, loop: asyncio.AbstractEventLoop, before: list[Any]
) -> None:
    with server(loop) as listening:
        port = listening.sockets[0].getsockname()[1]
        loop.call_soon(signal.raise_signal, number)
        loop.run_forever()
        assert handlers() == before  # a second signal interrupts
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@BOTH_SIGNALS
def test_a_signal_ends_run(
    number: signal.Signals, loop: asyncio.AbstractEventLoop, before: list[Any]
) -> None:
    def raise_when_taken() -> None:
        if handlers() == before:
            loop.call_soon(raise_when_taken)
        else:
            signal.raise_signal(number)

    one = server(loop)
    loop.call_soon(raise_when_taken)
    one.run()
    assert one.loop is loop
    assert not loop.is_running()


def _run_on(name: str) -> Runner | None:
    """What `run` gets to run on it."""
    if name == "asyncio":
        return lambda serve: asyncio.run(serve())
    if name == "trio":
        trio = pytest.importorskip("trio", reason="trio is not installed")
        return cast(Runner, trio.run)
    return None


@pytest.mark.parametrize("runner", ["none", "asyncio", "trio"])
@pytest.mark.parametrize(("seconds", "code"), [(20, 1012), (0, 1001)])
def test_run_drains_before_it_ends(runner: str, seconds: float, code: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        one = WebSocketServer(None, 0, sock=listening)

        @one.connection
        async def on_connection(client: Client) -> None:
            async for _ in client:
                signal.raise_signal(signal.SIGTERM)

        def visit() -> tuple[int, str]:
            with connected(port) as peer:
                peer.send("end")
                return peer.closed()

        visitor = background(visit)
        one.run(drain=seconds, runner=_run_on(runner))
        assert visitor.result() == (code, "")


@pytest.mark.parametrize("more", [{"workers": 1}, {"runner": asyncio.run}])
@pytest.mark.parametrize("own", ["loop", "runtime"])
def test_run_makes_loops_or_gets_one(
    own: str, more: dict[str, Any], loop: asyncio.AbstractEventLoop
) -> None:
    given: dict[str, Any] = {own: loop if own == "loop" else MemoryRuntime()}
    with pytest.raises(ValueError, match="leave loop and runtime out"):
        WebSocketServer("127.0.0.1", 0, **given).run(**more)


def test_a_signal_ends_what_the_block_waits_for(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio then raises RuntimeError, which the block takes for the stop that it is."""
    with server(loop):
        loop.call_soon(signal.raise_signal, signal.SIGINT)
        loop.run_until_complete(asyncio.sleep(1000))
        raise AssertionError("the signal did not stop the loop")


def test_another_error_after_a_signal_leaves_the_block(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(RuntimeError, match="mine"), server(loop):
        signal.raise_signal(signal.SIGINT)
        loop.run_forever()
        raise RuntimeError("mine")


def test_a_signal_while_the_loop_stands_does_not_end_the_closing(
    loop: asyncio.AbstractEventLoop,
) -> None:
    with server(loop) as listening:
        signal.raise_signal(signal.SIGTERM)
    assert not listening.is_serving()


@BOTH_SIGNALS
def test_a_handler_of_the_users_stays(
    number: signal.Signals, loop: asyncio.AbstractEventLoop
) -> None:
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    def in_the_block() -> None:
        signal.signal(number, note)

    def before_the_block() -> None:
        """Set already."""

    for begin in (in_the_block, before_the_block):
        with server(loop):
            begin()
            assert signal.getsignal(number) is note
            signal.raise_signal(number)
        assert signal.getsignal(number) is note
    assert came == [number, number]
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def test_the_threads_loop_is_driven_and_left_open(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    one = server()
    with one as listening:
        assert isinstance(listening, asyncio.AbstractServer)
        assert listening.get_loop() is loop
        assert one.loop is loop
    assert one.loop is None
    assert not loop.is_closed()


def test_a_closed_loop_of_the_thread_is_replaced(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    asyncio.set_event_loop(loop)
    with server() as listening:
        assert isinstance(listening, asyncio.AbstractServer)
        made = listening.get_loop()
        assert made is not loop
    assert made.is_closed()


def test_a_new_loop_is_closed_where_it_cannot_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[asyncio.AbstractEventLoop] = []
    new_event_loop = asyncio.new_event_loop

    def keep() -> asyncio.AbstractEventLoop:
        made.append(new_event_loop())
        return made[-1]

    monkeypatch.setattr("asyncio.runners.events.new_event_loop", keep)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        one = server(port=taken.getsockname()[1])
        with pytest.raises(OSError, match="another program listens") as caught, one:
            raise AssertionError("it cannot listen")
    assert caught.value.errno == errno.EADDRINUSE
    assert one.loop is None
    [loop] = made
    assert loop.is_closed()


def test_a_given_loop_that_is_closed(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    with pytest.raises(RuntimeError, match="the server's loop is closed"):
        server(loop).run()


def in_a_thread(call: Callable[[], None]) -> None:
    """Call it where signals cannot be taken; raises what it raises."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  # raised in the test's own thread
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    for error in errors:
        raise error


def test_a_given_loop_that_runs_in_another_thread() -> None:
    async def main() -> None:
        one = server(asyncio.get_running_loop())
        with pytest.raises(RuntimeError, match="the server's loop runs already"):
            in_a_thread(one.run)

    asyncio.run(main())


def test_another_thread_takes_no_signals(before: list[Any]) -> None:
    def serve() -> None:
        with server() as listening:
            assert handlers() == before
            assert isinstance(listening, asyncio.AbstractServer)
            made.append(listening.get_loop())

    made: list[asyncio.AbstractEventLoop] = []
    in_a_thread(serve)
    [loop] = made
    assert loop.is_closed()
