"""`wstransports.sync`: Ctrl-C, the end of the interpreter, and fork."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from types import FrameType
from typing import Any

import pytest

from kit.background import background
from kit.blocking_echo import PATIENCE, Echo, loop_threads, no_loop_thread_left, uri_of
from kit.in_thread import serving
from kit.nowhere import Where, closed_address
from wstransports import ConnectionClosed
from wstransports.sync import Client, connect
from wstransports.sync.loop_thread import LoopStopped, LoopThread, _end_all

closed = pytest.fixture(closed_address)


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Each connection's thread ends with it."""
    yield from no_loop_thread_left()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    with serving(server):
        yield server


def ctrl_c() -> None:
    """What the terminal does: the main thread gets SIGINT, even where it waits."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def interrupt_in_receive(client: Client, first: bool) -> None:
    """Ctrl-C while the next receive() waits; or, unless `first`, when it has its message."""
    receive = client._client.receive

    async def interrupted(*args: Any, **options: Any) -> Any:
        client._client.receive = receive  # type: ignore[method-assign]
        if first:
            ctrl_c()
        message = await receive(*args, **options)
        if not first:
            ctrl_c()
        return message

    client._client.receive = interrupted  # type: ignore[method-assign]


def test_ctrl_c_ends_a_receive(echo: Echo) -> None:
    with connect(uri_of(echo)) as client:
        interrupt_in_receive(client, first=True)
        with pytest.raises(KeyboardInterrupt):
            client.receive()
        client.send("Hello")
        assert client.receive(timeout=PATIENCE) == "Hello"


def test_ctrl_c_loses_no_message(echo: Echo) -> None:
    with connect(uri_of(echo)) as client:
        for number in range(20):
            client.send(f"{number}")
        for number in range(20):
            interrupt_in_receive(client, first=False)
            try:
                message = client.receive(timeout=PATIENCE)
            except KeyboardInterrupt:
                message = client.receive(timeout=PATIENCE)
            assert message == f"{number}"


def test_ctrl_c_ends_a_block(echo: Echo) -> None:
    with pytest.raises(KeyboardInterrupt), connect(uri_of(echo)) as client:
        interrupt_in_receive(client, first=True)
        client.receive()
    assert loop_threads() == []
    assert echo.left() == [1000]


def test_ctrl_c_ends_a_wait_between_connections(closed: Where) -> None:
    attempts: list[int] = []

    def headers(attempt: int) -> dict[str, str]:
        attempts.append(attempt)
        if attempt == 2:
            ctrl_c()
        return {}

    with pytest.raises(KeyboardInterrupt):
        for _ in connect(f"ws://127.0.0.1:{closed[1]}", headers=headers, delays=[0, 1000]):
            raise AssertionError("nobody listens there")
    assert attempts == [1, 2]


# Where the waiting thread is; elsewhere a Ctrl-C may meet a destructor, which ignores it.
WAITING = ("wstransports.sync.loop_thread", "concurrent.futures._base", "threading")


def interrupted_at(step: int, function: Callable[[], object]) -> bool:
    """Call a function, with a Ctrl-C. Returns whether there were so many steps.

    Python handles signals when a function begins, and when one in C has returned.
    """
    left = step

    def profile(frame: FrameType, event: str, _: Any) -> None:
        nonlocal left
        if frame.f_globals["__name__"] in WAITING:
            left -= event in ("call", "c_return")
        if not left:
            raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        function()
    except KeyboardInterrupt:
        assert left <= 0
    finally:
        sys.setprofile(None)
    return left <= 0


def test_ctrl_c_anywhere_in_a_call() -> None:
    """Python raises it between any two steps of the waiting thread: no lock may be left locked."""
    thread = LoopThread("interrupted")
    results: list[str] = []

    async def slow() -> None:
        await asyncio.sleep(0)
        results.append("done")

    for step in count(1):
        if not interrupted_at(step, lambda: thread.call(slow)):
            break
        thread.call(slow)
        assert results.pop() == "done"
    assert step > 10
    thread.end()


def test_a_call_that_is_not_begun_when_the_loop_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task would begin too late to be cancelled."""
    thread = LoopThread("ending")
    held, came = threading.Event(), threading.Event()
    call_soon = thread._loop.call_soon_threadsafe

    def scheduling(step: Callable[[], object]) -> None:
        call_soon(step)
        came.set()

    thread._schedule(lambda: held.wait(PATIENCE))
    with monkeypatch.context() as patch:
        patch.setattr(thread._loop, "call_soon_threadsafe", scheduling)
        call = background(lambda: thread.call(asyncio.sleep, 0))
        assert came.wait(PATIENCE)
    thread.stop()
    held.set()
    thread.end()
    with pytest.raises(LoopStopped):
        call.result(PATIENCE)


def test_a_call_that_comes_as_the_loop_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread stops the loop: what it does not run any more returns nevertheless."""
    thread = LoopThread("ending")
    came = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(thread._loop, "call_soon_threadsafe", lambda step: came.set())
        call = background(lambda: thread.call(asyncio.sleep, 0))
        assert came.wait(PATIENCE)
    thread.end()
    with pytest.raises(LoopStopped):
        call.result(PATIENCE)


def test_a_call_that_is_done_as_the_loop_ends() -> None:
    thread = LoopThread("ending")
    running = threading.Lock()
    thread._calls.add(running)
    thread.end()
    assert not running.locked()


def test_ctrl_c_before_a_call_is_begun(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(uri_of(echo)) as client:
        schedule = client._thread._schedule

        def interrupted(*args: Any) -> None:
            monkeypatch.undo()
            raise KeyboardInterrupt

        monkeypatch.setattr(client._thread, "_schedule", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.send("never")
        assert client._thread._schedule == schedule
        client.send("Hello")
        assert client.receive() == "Hello"


def test_ctrl_c_in_the_end_of_a_block(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), connect(uri_of(echo)) as client:
        monkeypatch.setattr(client, "close", interrupted)
    assert echo.left() == [1000]


# The end of the interpreter.


def test_the_end_of_the_interpreter_closes(echo: Echo) -> None:
    client = connect(uri_of(echo)).open()
    receiving = background(client.receive)
    _end_all()
    assert loop_threads() == []
    with pytest.raises(ConnectionClosed) as caught:
        receiving.result(PATIENCE)
    assert caught.value.client is client
    assert echo.left() == [1000]
    client.close()  # or it would warn


PROGRAMS = {
    "unclosed": "client = connect(uri).open()",
    "in a function": "def main():\n    client = connect(uri).open()\n    sys.exit()\nmain()",
    "in a cycle": "client = connect(uri).open()\ncycle = [client]\ncycle.append(cycle)",
    "reconnecting": "clients = iter(connect(uri))\nclient = next(clients)",
    "in a daemon": (
        "client = connect(uri).open()\nthreading.Thread(target=client.receive, daemon=True).start()"
    ),
    "an error": "client = connect(uri).open()\nraise SystemExit(0)",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])  # the latter is looked up in a thread
def test_a_program_ends_though_it_leaves_a_connection_open(
    echo: Echo, name: str, host: str
) -> None:
    complaint = run(echo, PROGRAMS[name], host)
    if name != "in a daemon":  # whose frames are never freed
        assert ("ResourceWarning: unclosed <Client" in complaint) is (name != "reconnecting")
    assert echo.left() == [1000]


def run(echo: Echo, program: str, host: str = "127.0.0.1") -> str:
    """Run a program with `connect` and `uri`; returns what it writes to stderr."""
    before = "import os, sys, threading\nfrom wstransports.sync import connect\n"
    before += f"uri = 'ws://{host}:{echo.port}'\n"
    done = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", before + program],
        check=True,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
    )
    return done.stderr


# Fork.

FORKING = """
with connect(uri) as client:
    client.send("Hello")
    child = os.fork()
    if not child:
        try:
            client.send("never")
        except RuntimeError as error:
            assert "belongs to the process that opened it" in str(error), error
        client.close()
        with connect(uri) as own:
            own.send("from the child")
            assert own.receive() == "from the child"
        sys.exit()
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    client.send("bye")
    assert [client.receive(), client.receive()] == ["Hello", "bye"]
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_leaves_the_connection_alone(echo: Echo) -> None:
    assert "ResourceWarning" not in run(echo, FORKING)
    assert echo.left(2) == [1000, 1000]


def test_in_another_process_nothing_can_be_called(
    echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(uri_of(echo)) as client:
        with monkeypatch.context() as patched:
            patched.setattr(os, "getpid", lambda: -1)
            with pytest.raises(RuntimeError, match=r"call connect\(\) after fork"):
                client.send("never")
            client.close()
            client._thread.stop()
        client.send("Hello")
        assert client.receive() == "Hello"
