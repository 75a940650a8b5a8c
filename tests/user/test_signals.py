"""Ctrl-C and SIGTERM, as the user of a script, and who supervises it, know them."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kit.blocking_peer import connected
from kit.frames import FIN, TEXT, Frame
from kit.script import Script

pytestmark = pytest.mark.slow

IMPORTS = """\
import asyncio, signal, threading
import socket as socket_module
import uvloop
from wstransports import WebSocketServer

"""

# `with`, as in the user's document; what is in braces is the test's.
WITH = (
    IMPORTS
    + """\
loop = {loop}.new_event_loop()
socket = WebSocketServer("127.0.0.1", 0, loop=loop, shutdown_timeout={shutdown_timeout})

before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

with socket as server:
    print(socket.port)
    loop.run_forever()
    print("The server is going to close!")
print("The server closed")

assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
"""
)

CLOSING = ["The server is going to close!", "The server closed"]

BOTH_LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
BOTH_SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What a test opens, and its end closes."""
    with ExitStack() as stack:
        yield stack


@BOTH_SIGNALS
@BOTH_LOOPS
def test_a_signal_runs_what_follows_run_forever(
    loop: str, number: signal.Signals, tmp_path: Path, stack: ExitStack
) -> None:
    script = stack.enter_context(Script(WITH.format(loop=loop, shutdown_timeout=20), tmp_path))
    peers = [stack.enter_context(connected(port)) for port in [script.number()] * 2]
    script.signal(number)
    for peer in peers:
        assert peer.closed() == (1001, "")
    assert script.end() == (CLOSING, "", 0)


@BOTH_SIGNALS
@BOTH_LOOPS
def test_a_signal_ends_a_server_that_nobody_uses(
    loop: str, number: signal.Signals, tmp_path: Path, stack: ExitStack
) -> None:
    script = stack.enter_context(Script(WITH.format(loop=loop, shutdown_timeout=20), tmp_path))
    script.number()
    script.signal(number)
    assert script.end() == (CLOSING, "", 0)


@BOTH_SIGNALS
@BOTH_LOOPS
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_interrupts_at_once(
    first: signal.Signals,
    number: signal.Signals,
    loop: str,
    tmp_path: Path,
    stack: ExitStack,
) -> None:
    source = WITH.format(loop=loop, shutdown_timeout=600)
    script = stack.enter_context(Script(source, tmp_path))
    peer = stack.enter_context(connected(script.number()))
    peer.answers_close = False
    script.signal(first)
    assert script.line() == "The server is going to close!"
    assert peer.close_frame() == (1001, "")  # and it is never answered
    script.signal(number)
    lines, stderr, status = script.end()
    assert lines == []
    assert status == -number
    if number == signal.SIGINT:
        assert stderr.splitlines()[-1] == "KeyboardInterrupt"
        assert stderr.count("Traceback") == 1
    else:
        assert stderr == ""


@BOTH_LOOPS
def test_a_peer_that_does_not_answer_the_close_holds_it_up_for_a_bounded_time(
    loop: str, tmp_path: Path, stack: ExitStack
) -> None:
    script = stack.enter_context(Script(WITH.format(loop=loop, shutdown_timeout=0.1), tmp_path))
    peer = stack.enter_context(connected(script.number()))
    peer.answers_close = False
    script.signal(signal.SIGINT)
    assert peer.close_frame() == (1001, "")
    assert script.end() == (CLOSING, "", 0)


@BOTH_LOOPS
def test_a_signal_that_comes_while_the_loop_does_not_run(
    loop: str, tmp_path: Path, stack: ExitStack
) -> None:
    source = (
        IMPORTS
        + """\
loop = {loop}.new_event_loop()
socket = WebSocketServer("127.0.0.1", 0, loop=loop)
with socket:
    signal.raise_signal(signal.SIGINT)
    loop.run_forever()
    print("before")
with socket:
    loop.call_later(0, loop.stop)
    loop.run_forever()
    signal.raise_signal(signal.SIGTERM)
    print("after")
with socket:
    signal.raise_signal(signal.SIGINT)
with socket:
    signal.raise_signal(signal.SIGTERM)
    loop.run_until_complete(asyncio.sleep(3600))
    print("not reached")
print("closed")
"""
    ).format(loop=loop)
    script = stack.enter_context(Script(source, tmp_path))
    assert script.end() == (["before", "after", "closed"], "", 0)


def test_handlers_of_the_user_stay(tmp_path: Path, stack: ExitStack) -> None:
    source = (
        IMPORTS
        + """\
loop = asyncio.new_event_loop()
socket = WebSocketServer("127.0.0.1", 0, loop=loop)

def mine(number, frame):
    print("mine")
    loop.call_soon_threadsafe(loop.stop)

signal.signal(signal.SIGINT, mine)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with socket:
    assert signal.getsignal(signal.SIGINT) is mine
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    print(socket.port)
    loop.run_forever()
    print("going to close")
assert signal.getsignal(signal.SIGINT) is mine
assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
"""
    )
    script = stack.enter_context(Script(source, tmp_path))
    peer = stack.enter_context(connected(script.number()))
    script.signal(signal.SIGTERM)
    script.signal(signal.SIGINT)
    assert peer.closed() == (1001, "")
    assert script.end() == (["mine", "going to close"], "", 0)


def test_handlers_set_inside_of_the_block_stay_too(tmp_path: Path, stack: ExitStack) -> None:
    source = (
        IMPORTS
        + """\
def mine(number, frame):
    print("mine")

loop = asyncio.new_event_loop()
with WebSocketServer("127.0.0.1", 0, loop=loop):
    signal.signal(signal.SIGTERM, mine)
    signal.raise_signal(signal.SIGINT)
    loop.run_forever()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.raise_signal(signal.SIGTERM)
assert signal.getsignal(signal.SIGTERM) is mine
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""
    )
    script = stack.enter_context(Script(source, tmp_path))
    assert script.end() == (["mine"], "", 0)


def test_elsewhere_than_in_the_main_thread_signals_are_left_alone(
    tmp_path: Path, stack: ExitStack
) -> None:
    source = (
        IMPORTS
        + """\
loops = []

def serve():
    socket = WebSocketServer("127.0.0.1", 0)
    with socket as server:
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        loops.append(server.get_loop())
        print(socket.port)
        loops[0].run_forever()
        print("going to close")
    print("closed")

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # before the parent can send it
thread = threading.Thread(target=serve)
thread.start()
signal.sigwait([signal.SIGINT])
print("interrupted")
loops[0].call_soon_threadsafe(loops[0].stop)
thread.join()
assert loops[0].is_closed()  # for the block had made it
"""
    )
    script = stack.enter_context(Script(source, tmp_path))
    peer = stack.enter_context(connected(script.number()))
    script.signal(signal.SIGINT)
    assert script.line() == "interrupted"
    assert peer.closed() == (1001, "")
    assert script.end() == (["going to close", "closed"], "", 0)


def test_a_loop_that_the_block_made_is_the_threads_loop_and_ends_with_the_block(
    tmp_path: Path, stack: ExitStack
) -> None:
    source = (
        IMPORTS
        + """\
async def background():
    try:
        await asyncio.Event().wait()
    finally:
        print("background ended")

def serve():
    socket = WebSocketServer("127.0.0.1", 0)
    for _ in range(2):
        with socket:
            loop = socket.loop
            assert asyncio.get_event_loop() is loop
            task = loop.create_task(background())
            loop.run_until_complete(asyncio.sleep(0))
        assert task.cancelled()
        assert loop.is_closed()
        assert socket.loop is None
    print("closed")

thread = threading.Thread(target=serve)
thread.start()
thread.join()
"""
    )
    script = stack.enter_context(Script(source, tmp_path))
    assert script.end() == (["background ended", "background ended", "closed"], "", 0)


@BOTH_SIGNALS
@BOTH_LOOPS
def test_a_signal_ends_run_until_complete_and_raises_nothing(
    loop: str, number: signal.Signals, tmp_path: Path, stack: ExitStack
) -> None:
    source = (
        IMPORTS
        + f"""\
loop = {loop}.new_event_loop()
socket = WebSocketServer("127.0.0.1", 0, loop=loop)
with socket:
    print(socket.port)
    loop.run_until_complete(loop.create_future())
    print("not reached")
print("closed")
"""
    )
    script = stack.enter_context(Script(source, tmp_path))
    peer = stack.enter_context(connected(script.number()))
    script.signal(number)
    assert peer.closed() == (1001, "")
    assert script.end() == (["closed"], "", 0)


@BOTH_LOOPS
@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param(
            "raise RuntimeError('mine')",
            "RuntimeError: mine",
            id="of the user",
        ),
        pytest.param(
            "signal.raise_signal(signal.SIGINT); loop.run_forever(); raise RuntimeError('mine')",
            "RuntimeError: mine",
            id="of the user, after a signal",
        ),
        pytest.param(
            "loop.call_soon(loop.stop); loop.run_until_complete(loop.create_future())",
            "RuntimeError: Event loop stopped before Future completed.",
            id="of a stop by the user",
        ),
        pytest.param(
            "signal.raise_signal(signal.SIGINT); loop.run_forever(); raise KeyError('mine')",
            "KeyError: 'mine'",
            id="of another kind",
        ),
    ],
)
def test_other_exceptions_leave_the_block(
    loop: str, body: str, error: str, tmp_path: Path, stack: ExitStack
) -> None:
    source = (
        IMPORTS
        + f"""\
loop = {loop}.new_event_loop()
with WebSocketServer("127.0.0.1", 0, loop=loop) as server:
    {body}
"""
    )
    script = stack.enter_context(Script(source, tmp_path))
    lines, stderr, status = script.end()
    assert lines == []
    assert stderr.splitlines()[-1] == error
    assert stderr.count("Traceback") == 1
    assert status == 1


# Where nothing can be printed once the server listens: a socket that listens before.
SOCK = """\
sock = socket_module.create_server(("127.0.0.1", 0))
print(sock.getsockname()[1])
"""


@BOTH_SIGNALS
@pytest.mark.parametrize("loop", ["None", "asyncio.new_event_loop()", "uvloop.new_event_loop()"])
def test_run_serves_until_a_signal(
    loop: str, number: signal.Signals, tmp_path: Path, stack: ExitStack
) -> None:
    source = (
        IMPORTS
        + SOCK
        + f"""\
socket = WebSocketServer(None, 0, loop={loop}, sock=sock)

@socket.connection
async def on_connection(client):
    # A client that waits in `sock` is served before run() has taken the signals.
    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        await asyncio.sleep(0)
    await client.writer.send("Hello!")

socket.run()
print("closed")
"""
    )
    script = stack.enter_context(Script(source, tmp_path))
    peer = stack.enter_context(connected(script.number()))
    assert peer.frame() == Frame(FIN | TEXT, b"Hello!")
    script.signal(number)
    assert peer.closed() == (1001, "")
    assert script.end() == (["closed"], "", 0)


IN_A_LOOP = (
    IMPORTS
    + SOCK
    + """\
async def main():
    socket = WebSocketServer(None, 0, sock=sock, shutdown_timeout=600)
    {form}

try:
    {loop}.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
)

FORMS = pytest.mark.parametrize(
    "form",
    [
        pytest.param("async with socket: await asyncio.Event().wait()", id="async with"),
        pytest.param("await socket.serve_forever()", id="serve_forever"),
        pytest.param(
            "async with socket as server: await server.serve_forever()",
            id="serve_forever of what the block yields",
        ),
        pytest.param(
            "async with socket as server, server: await asyncio.Event().wait()",
            id="a block of what the block yields",
        ),
        pytest.param(
            "async with socket as server: await server.wait_closed()",
            id="wait_closed of what the block yields",
        ),
    ],
)


@FORMS
@BOTH_LOOPS
def test_ctrl_c_inside_a_running_loop_closes_gracefully(
    loop: str, form: str, tmp_path: Path, stack: ExitStack
) -> None:
    script = stack.enter_context(Script(IN_A_LOOP.format(loop=loop, form=form), tmp_path))
    peers = [stack.enter_context(connected(port)) for port in [script.number()] * 2]
    script.signal(signal.SIGINT)
    for peer in peers:
        assert peer.closed() == (1001, "")
    assert script.end() == (["interrupted"], "", 0)


@FORMS
@BOTH_LOOPS
def test_a_second_ctrl_c_inside_a_running_loop_interrupts_at_once(
    loop: str, form: str, tmp_path: Path, stack: ExitStack
) -> None:
    script = stack.enter_context(Script(IN_A_LOOP.format(loop=loop, form=form), tmp_path))
    peer = stack.enter_context(connected(script.number()))
    peer.answers_close = False
    script.signal(signal.SIGINT)
    assert peer.close_frame() == (1001, "")  # and it is never answered
    script.signal(signal.SIGINT)
    assert script.end() == (["interrupted"], "", 0)


@BOTH_LOOPS
def test_inside_a_running_loop_sigterm_is_left_alone(
    loop: str, tmp_path: Path, stack: ExitStack
) -> None:
    form = FORMS.args[1][0].values[0]
    script = stack.enter_context(Script(IN_A_LOOP.format(loop=loop, form=form), tmp_path))
    stack.enter_context(connected(script.number()))
    script.signal(signal.SIGTERM)
    assert script.end() == ([], "", -signal.SIGTERM)


def test_ctrl_c_under_trio(tmp_path: Path, stack: ExitStack) -> None:
    pytest.importorskip("trio", reason="trio is not installed")
    source = "import trio\n" + IN_A_LOOP.replace("{loop}.run(main())", "trio.run(main)")
    form = "async with socket as server: await server.serve_forever()"
    script = stack.enter_context(Script(source.format(form=form), tmp_path))
    peer = stack.enter_context(connected(script.number()))
    script.signal(signal.SIGINT)
    assert peer.closed() == (1001, "")
    assert script.end() == (["interrupted"], "", 0)


ANSWERING = (
    IMPORTS
    + """\
socket = WebSocketServer("127.0.0.1", 0)


@socket.connection
async def on_connection(client):
    @client.message
    async def on_message(reader):
        message = await reader.get()
        print("taken")
        await asyncio.sleep(0.3)
        await client.writer.send(message)


with socket:
    print(socket.port)
    socket.loop.run_forever()
"""
)


def test_what_callbacks_have_taken_is_answered(tmp_path: Path, stack: ExitStack) -> None:
    script = stack.enter_context(Script(ANSWERING, tmp_path))
    port = script.number()
    peers = [stack.enter_context(connected(port)) for _ in range(50)]
    for peer in peers:
        peer.send("hello")
    for _ in peers:
        assert script.line() == "taken"
    script.signal(signal.SIGTERM)
    for peer in peers:
        assert peer.message() == "hello"
        assert peer.closed() == (1001, "")
    assert script.end() == ([], "", 0)
