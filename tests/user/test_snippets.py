"""The snippets of the user's getting-started document, word for word, each run as a script.

Added to them: the imports, an address, the indentation that the document's text form lost, and
a line that prints the port where the snippet itself does not. The callbacks run in the document's
`with` form, and in the `async with` form that stands in its place inside asyncio, uvloop and trio.
"""

import ast
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from textwrap import indent

import pytest

from kit.blocking_peer import connected
from kit.frames import BINARY, FIN, PONG, TEXT, Frame, masked
from kit.script import Script

pytestmark = pytest.mark.slow

IMPORTS = """\
import asyncio
from wstransports import Client, WebSocketReader, WebSocketServer

address, port = "127.0.0.1", 0
"""

CREATE = """\
loop = asyncio.get_event_loop()
socket = WebSocketServer(address, port, loop=loop)
"""
if sys.version_info >= (3, 14):  # where that line raises
    CREATE = CREATE.replace("get_event_loop", "new_event_loop")

ON_CONNECTION = """\
@socket.connection
async def on_connection(client: Client):
    print("We just got a new connection!")
"""

START = """\
with socket as server:
    print(f'Serving on {server.sockets[0].getsockname()}')
print("The server closed")
"""

RUN = """\
with socket as server:
    loop.run_forever()
    print("The server is going to close!")
print("The server closed")
"""

ADDRESSES = """\
@socket.connection
async def on_connection(client: Client):
    print(f"We just got a new connection from {client.addr, client.port}!")
"""

CLIENTS = """\
@socket.connection
async def on_connection(client: Client):
    for other in socket.clients.values():
        print(f"Client {other.addr, other.port} was connected before {client.addr, client.port}")
"""

ON_MESSAGE = """\
@socket.connection
async def on_connection(client: Client):
    @client.message
    async def on_message(reader: WebSocketReader):
        print(f"The client {client.addr, client.port} sent an message.")
"""

# The document's next snippet is what stands inside of on_connection.
READING = "@socket.connection\nasync def on_connection(client: Client):\n" + indent(
    """\
@client.message
async def on_message(reader: WebSocketReader):
    msg = await reader.get()
    print(f"The client {client.addr, client.port} sent the message {msg}.")
""",
    "    ",
)

SENDING = """\
@socket.connection
async def on_connection(client: Client):
    for other in socket.clients.values():
        await other.writer.send('You are a client connected to my server.')
"""

ANSWERING = """\
@socket.connection
async def on_connection(client: Client):
    @client.message
    async def on_message(reader: WebSocketReader):
        msg = await reader.get()
        await client.writer.send('You just send me the following message.')
        await client.writer.send(msg)
"""

# Ours: the port, as soon as there is one.
ANNOUNCE = """\
def announce():
    print(socket.port) if socket.port else loop.call_soon(announce)
loop.call_soon(announce)
"""

# The same for a loop that runs: how to make the server, and what to do with it then.
CREATE_ASYNC = "socket = WebSocketServer(address, port)\n"

START_ASYNC = """\
async def main():
    async with socket as server:
        print(f'Serving on {server.sockets[0].getsockname()}')
    print("The server closed")
"""

RUN_ASYNC = """\
async def main():
    try:
        async with socket as server:
            print(socket.port)
            try:
                await sleep_forever()
            finally:
                print("The server is going to close!")
    finally:
        print("The server closed")
"""

# How each loop runs that, until Ctrl-C.
LOOPS = {
    "asyncio": """\
sleep_forever = lambda: asyncio.Event().wait()
run = asyncio.run
""",
    "uvloop": """\
import uvloop
sleep_forever = lambda: asyncio.Event().wait()
def run(main):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
""",
    "trio": """\
import trio
from trio import sleep_forever
run = lambda main: trio.run(lambda: main)
""",
}

RUN_MAIN = """\
try:
    run(main())
except KeyboardInterrupt:
    pass
"""

CLOSING = ["The server is going to close!", "The server closed"]

# What the document's own `asyncio.get_event_loop()` brings on some Pythons before 3.14.
_WARNING = re.compile(
    r".*: DeprecationWarning: There is no current event loop\n"
    r"  loop = asyncio\.get_event_loop\(\)\n"
)


def complaints(stderr: str) -> str:
    """What a script wrote to stderr, but for the warning that the document's own line brings."""
    return _WARNING.sub("", stderr, count=1)


class Server(Script):
    """A script that serves: snippets, then the one that runs the loop."""

    def __init__(self, folder: Path, source: str) -> None:
        super().__init__(source, folder)
        self.port = self.number()

    def stop(self) -> list[str]:
        """Stop it as its user would; the lines it had still to print, the closing ones apart."""
        self.signal(signal.SIGINT)
        lines, stderr, status = self.end()
        assert complaints(stderr) == ""
        assert status == 0
        assert lines[-2:] == CLOSING
        return lines[:-2]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What a test opens, and its end closes."""
    with ExitStack() as stack:
        yield stack


Serve = Callable[..., Server]


def in_loop(loop: str, *snippets: str) -> str:
    """The script that runs snippets, of which the last has a `main`, on a loop."""
    return IMPORTS + CREATE_ASYNC + "".join(snippets) + LOOPS[loop] + RUN_MAIN


def leave_out(loop: str) -> None:
    """Skip what cannot run here."""
    if loop not in sys.stdlib_module_names and find_spec(loop) is None:
        pytest.skip(f"{loop} is not installed")


@pytest.fixture(params=["with", *LOOPS])
def serve(request: pytest.FixtureRequest, tmp_path: Path, stack: ExitStack) -> Serve:
    """What serves with snippets, in each form."""

    def begin(*snippets: str) -> Server:
        if request.param == "with":
            source = IMPORTS + CREATE + "".join(snippets) + ANNOUNCE + RUN
        else:
            source = in_loop(request.param, *snippets, RUN_ASYNC)
        return stack.enter_context(Server(tmp_path, source))

    if request.param != "with":
        leave_out(request.param)
    return begin


@pytest.mark.parametrize("form", ["with", *LOOPS])
def test_the_server_starts_tells_where_and_closes_as_the_block_ends(
    form: str, tmp_path: Path
) -> None:
    if form == "with":
        source = IMPORTS + CREATE + ON_CONNECTION + START
    else:
        leave_out(form)
        source = in_loop(form, ON_CONNECTION, START_ASYNC)
    with Script(source, tmp_path) as script:
        lines, stderr, status = script.end()
    serving, closed = lines
    prefix = "Serving on "
    assert serving.startswith(prefix)
    host, port = ast.literal_eval(serving.removeprefix(prefix))
    assert host == "127.0.0.1"
    assert 1024 <= port <= 65535
    assert closed == "The server closed"
    assert complaints(stderr) == ""
    assert status == 0


def test_a_connection_calls_on_connection(serve: Serve, stack: ExitStack) -> None:
    server = serve(ON_CONNECTION)
    for _ in range(2):
        peer = stack.enter_context(connected(server.port))
        assert server.line() == "We just got a new connection!"
        peer.finish()
    assert server.stop() == []


def test_the_loop_keeps_the_server_alive_until_it_stops(serve: Serve, stack: ExitStack) -> None:
    server = serve(ON_CONNECTION)
    peers = [stack.enter_context(connected(server.port)) for _ in range(2)]
    for _ in peers:
        assert server.line() == "We just got a new connection!"
    for peer in peers:  # trio raises KeyboardInterrupt wherever it is, in the callback too
        peer.ping(b"has it ended?")
        assert peer.frame() == Frame(FIN | PONG, b"has it ended?")
    server.signal(signal.SIGINT)
    assert server.line() == "The server is going to close!"
    for peer in peers:
        assert peer.closed() == (1001, "")
    lines, stderr, status = server.end()
    assert lines == ["The server closed"]
    assert complaints(stderr) == ""
    assert status == 0


def test_a_client_has_the_address_and_the_port_of_the_remote_socket(
    serve: Serve, stack: ExitStack
) -> None:
    server = serve(ADDRESSES)
    peer = stack.enter_context(connected(server.port))
    assert server.line() == f"We just got a new connection from {peer.name}!"
    peer.finish()
    assert server.stop() == []


def test_during_on_connection_clients_holds_all_but_the_new_one(
    serve: Serve, stack: ExitStack
) -> None:
    server = serve(CLIENTS)
    first, second, third = (stack.enter_context(connected(server.port)) for _ in range(3))
    assert [server.line() for _ in range(3)] == [
        f"Client {first.name} was connected before {second.name}",
        f"Client {first.name} was connected before {third.name}",
        f"Client {second.name} was connected before {third.name}",
    ]
    first.finish()
    fourth = stack.enter_context(connected(server.port))
    assert [server.line() for _ in range(2)] == [
        f"Client {second.name} was connected before {fourth.name}",
        f"Client {third.name} was connected before {fourth.name}",
    ]
    for peer in (second, third, fourth):
        peer.finish()
    assert server.stop() == []


def test_a_message_calls_on_message(serve: Serve, stack: ExitStack) -> None:
    server = serve(ON_MESSAGE)
    peers = [stack.enter_context(connected(server.port)) for _ in range(2)]
    for peer in (*peers, *reversed(peers)):
        peer.send("Hello!")
        assert server.line() == f"The client {peer.name} sent an message."
    for peer in peers:
        peer.finish()
    assert server.stop() == []


def test_get_reads_str_and_bytes(serve: Serve, stack: ExitStack) -> None:
    server = serve(READING)
    peer = stack.enter_context(connected(server.port))
    peer.send("Grüße 🦆")
    assert server.line() == f"The client {peer.name} sent the message Grüße 🦆."
    peer.send(b"\x00\xff")
    assert server.line() == rf"The client {peer.name} sent the message b'\x00\xff'."
    peer.send("")
    assert server.line() == f"The client {peer.name} sent the message ."
    peer.finish()
    assert server.stop() == []


def test_messages_are_taken_in_their_order(serve: Serve, stack: ExitStack) -> None:
    server = serve(READING)
    peer = stack.enter_context(connected(server.port))
    for number in range(20):
        peer.send(f"{number}")
    peer.finish()
    assert server.stop() == [
        f"The client {peer.name} sent the message {number}." for number in range(20)
    ]


def test_each_new_client_is_announced_to_all_others(serve: Serve, stack: ExitStack) -> None:
    reported = Frame(FIN | TEXT, b"You are a client connected to my server.")
    server = serve(SENDING)
    first, second, third = (stack.enter_context(connected(server.port)) for _ in range(3))
    assert [first.frame(), first.frame(), second.frame()] == [reported, reported, reported]
    for peer in (first, second, third):
        peer.finish()  # and nothing else has come
    assert server.stop() == []


def test_telling_all_others_survives_those_who_leave(serve: Serve, stack: ExitStack) -> None:
    reported = Frame(FIN | TEXT, b"You are a client connected to my server.")
    server = serve(SENDING)
    first, second, third = (stack.enter_context(connected(server.port)) for _ in range(3))
    assert [first.frame(), first.frame(), second.frame()] == [reported, reported, reported]
    first.finish()  # gone
    second.reset()  # gone, and perhaps not noticed yet
    newest = stack.enter_context(connected(server.port))
    assert third.frame() == reported
    for peer in (third, newest):
        peer.finish()
    assert server.stop() == []


@pytest.mark.parametrize(
    ("first", "payload"),
    [
        pytest.param(FIN | TEXT, "Grüße 🦆".encode(), id="str"),
        pytest.param(FIN | BINARY, b"\x00\xff", id="bytes"),
        pytest.param(FIN | TEXT, b"", id="empty str"),
        pytest.param(FIN | BINARY, b"", id="empty bytes"),
        pytest.param(FIN | BINARY, bytes(range(256)) * 4096, id="1 MiB"),
    ],
)
def test_send_sends_str_and_bytes(
    first: int, payload: bytes, serve: Serve, stack: ExitStack
) -> None:
    server = serve(ANSWERING)
    peer = stack.enter_context(connected(server.port))
    peer.raw(masked(first, payload))
    assert peer.frame() == Frame(FIN | TEXT, b"You just send me the following message.")
    assert peer.frame() == Frame(first, payload)
    peer.finish()
    assert server.stop() == []


def test_the_whole_document_in_its_order_is_one_script(tmp_path: Path, stack: ExitStack) -> None:
    source = IMPORTS + CREATE + ON_CONNECTION + START + ANNOUNCE + RUN
    script = stack.enter_context(Script(source, tmp_path))
    assert script.line().startswith("Serving on ")
    assert script.line() == "The server closed"
    peer = stack.enter_context(connected(script.number()))
    assert script.line() == "We just got a new connection!"
    script.signal(signal.SIGINT)
    assert peer.closed() == (1001, "")
    lines, stderr, status = script.end()
    assert lines == CLOSING
    assert complaints(stderr) == ""
    assert status == 0


def test_the_callback_registered_last_counts(serve: Serve, stack: ExitStack) -> None:
    server = serve(ON_CONNECTION, ADDRESSES, CLIENTS, ANSWERING)
    peer = stack.enter_context(connected(server.port))
    peer.send("Hello!")
    assert peer.frame() == Frame(FIN | TEXT, b"You just send me the following message.")
    assert peer.frame() == Frame(FIN | TEXT, b"Hello!")
    peer.finish()
    assert server.stop() == []
