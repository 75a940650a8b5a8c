"""A snippet as a program of its own, and a peer that talks to the server in it."""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict, Unpack

from wscore import (
    Accepted,
    ClientConnection,
    CloseReceived,
    ConnectionFailed,
    DataType,
    Event,
    MessagePiece,
    Refused,
    Response,
)
from wscore.extensions import Extension

# How long anything may take, in seconds.
PATIENCE = 10

# The port that all pages name; here the system picks one instead.
PORT = "8765"

# What a page leaves out around a snippet, which stands in place of the braces.
_IMPORTS = "import asyncio\nfrom wstransports import *\n"
_SOCKET = f'socket = WebSocketServer("127.0.0.1", {PORT})\n'
_ECHO = """
@socket.connection
async def on_connection(client):
    async for message in client:
        await client.writer.send(message)

"""
SCRIPT = "{}"
CALLBACKS = f"{_IMPORTS}{_SOCKET}{{}}\nsocket.run()\n"
IN_ON_CONNECTION = CALLBACKS.replace(
    "{}", "@socket.connection\nasync def on_connection(client):\n    {}\n"
)
ASYNC_MAIN = f"{_IMPORTS}{_SOCKET}{_ECHO}{{}}"
SOCKET = f"{_IMPORTS}{{}}{_ECHO}socket.run()\n"
SOCKET_AND_CALLBACKS = f"{_IMPORTS}{{}}\nsocket.run()\n"

# Runs the program on standard input, and tells the first port that it listens at on a descriptor
# of ours: that of a server, or of a listener of anyio's.
_RUNNER = """
import os, sys
from contextlib import suppress
from wstransports import WebSocketServer

ports = []
listen = WebSocketServer.__aenter__

def tell(port):
    if not ports:
        os.write({descriptor}, b"%d\\n" % port)
    ports.append(port)

async def listen_and_tell(server):
    listening = await listen(server)
    tell(server.port)
    return listening

WebSocketServer.__aenter__ = listen_and_tell
with suppress(ImportError):
    import anyio

    listen_on_tcp = anyio.create_tcp_listener

    async def listen_on_tcp_and_tell(**where):
        listener = await listen_on_tcp(**where)
        tell(listener.extra(anyio.abc.SocketAttribute.local_port))
        return listener

    anyio.create_tcp_listener = listen_on_tcp_and_tell
try:
    exec(compile(sys.stdin.read(), "<snippet>", "exec"), {{"__name__": "__main__"}})
except* KeyboardInterrupt:  # how asyncio.run() ends, and a nursery in trio.run()
    pass
"""


def program(around: str, code: str) -> str:
    """The whole program: the snippet in what its page leaves out."""
    before, _, after = around.partition("{}")
    indent = before.rpartition("\n")[2]
    assert not indent.strip()
    code = textwrap.indent(code, indent).removeprefix(indent).replace(PORT, "0")
    return before.replace(PORT, "0") + code + after


class Asking(TypedDict, total=False):
    """What a client may say in its opening handshake."""

    tls: ssl.SSLContext
    subprotocols: list[str]
    origin: str | None
    headers: dict[str, str]
    extensions: list[Extension]


class Peer:
    """A WebSocket client on a plain socket; every wait is bounded."""

    def __init__(self, port: int, target: str = "/", **asking: Unpack[Asking]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        tls = asking.get("tls")
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._connection = ClientConnection(
            f"localhost:{port}",
            target,
            subprotocols=asking.get("subprotocols", []),
            origin=asking.get("origin"),
            headers=asking.get("headers", {}),
            extensions=asking.get("extensions", []),
        )
        self._events: list[Event] = []
        self._flush()
        self.answer = self.event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def event(self) -> Event:
        """The next event."""
        while not self._events:
            data = self.socket.recv(65536)
            if data:
                self._events += self._connection.receive_data(data)
            else:
                self._events += self._connection.receive_eof()
                assert self._events, "the server has hung up"
        return self._events.pop(0)

    def piece(self) -> MessagePiece:
        """The next piece of a message."""
        event = self.event()
        assert isinstance(event, MessagePiece), event
        return event

    def message(self) -> str | bytes:
        """The next message, whole."""
        pieces = [self.piece()]
        while not pieces[-1].last:
            pieces.append(self.piece())
        data = b"".join(piece.data for piece in pieces)
        return data.decode() if pieces[0].type is DataType.TEXT else data

    def closed(self) -> tuple[int, str]:
        """Wait for the end of the connection; returns its code and reason."""
        event = self.event()
        assert isinstance(event, CloseReceived | ConnectionFailed), event
        if self._connection.owes_close:
            self._connection.acknowledge_close()
            self._flush()
        while self.socket.recv(65536):
            pass  # the server ends the stream first (RFC 6455 section 7.1.1)
        self.socket.close()
        return int(event.code), event.reason

    def send(self, message: str | bytes) -> None:
        """Send a message."""
        self._connection.send_message(message)
        self._flush()

    def send_part(self, part: str | bytes, last: bool = False) -> None:
        """Send a fragment."""
        self._connection.send_fragment(part, last)
        self._flush()

    def ping(self, payload: bytes) -> None:
        """Send a Ping."""
        self._connection.send_ping(payload)
        self._flush()

    def pong(self, payload: bytes) -> None:
        """Send a Pong."""
        self._connection.send_pong(payload)
        self._flush()

    def start_closing(self, code: int, reason: str = "") -> None:
        """Send a Close; `closed` must follow."""
        self._connection.send_close(code, reason)
        self._flush()

    def close(self, code: int = 1000, reason: str = "") -> tuple[int, str]:
        """Close; returns what the server's Close says."""
        self.start_closing(code, reason)
        return self.closed()

    def _flush(self) -> None:
        self.socket.sendall(self._connection.data_to_send())


class Running:
    """A snippet's program, its server listening."""

    def __init__(self, process: subprocess.Popen[str], port: int, folder: Path) -> None:
        self.port = port
        self.folder = folder  # where it runs
        self.printed = ""  # known when it has ended
        self.logs = ""  # a pattern: the log lines that are expected of it
        self._process = process

    @property
    def ended(self) -> bool:
        """Whether `wait` has seen its end."""
        return self._process.returncode is not None

    def connect(self, target: str = "/", **asking: Unpack[Asking]) -> Peer:
        """A client whose opening handshake succeeded."""
        peer = Peer(self.port, target, **asking)
        assert isinstance(peer.answer, Accepted), peer.answer
        return peer

    def refusal(self, target: str = "/", **asking: Unpack[Asking]) -> Response:
        """What a client is answered whose opening handshake is refused."""
        with Peer(self.port, target, **asking) as peer:
            assert isinstance(peer.answer, Refused), peer.answer
            return peer.answer.response

    def interrupt(self) -> None:
        """Do as Ctrl-C does; `wait` must follow."""
        self._process.send_signal(signal.SIGINT)

    def wait(self) -> None:
        """Wait for its end; nothing else than `logs` may be complained about."""
        self.printed, complaints = self._process.communicate(timeout=PATIENCE)
        assert self._process.returncode == 0, complaints
        assert re.fullmatch(self.logs, complaints), complaints


@contextmanager
def running(source: str, folder: Path) -> Iterator[Running]:
    """Run a program whose server listens; stopped in the end, if it has not ended by itself."""
    reading, writing = os.pipe()
    with open(reading) as told:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _RUNNER.format(descriptor=writing)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[writing],
            cwd=folder,
            text=True,
        )
        os.close(writing)
        assert process.stdin is not None
        process.stdin.write(source)
        process.stdin.close()
        process.stdin = None
        port = told.readline()
    try:
        if not port:
            raise AssertionError(f"no server listens: {process.communicate()[1]}")
        server = Running(process, int(port), folder)
        yield server
        if not server.ended:
            server.interrupt()
            server.wait()
    finally:
        if process.returncode is None:
            process.kill()
            process.communicate()


def printed_by(source: str, folder: Path) -> str:
    """Run a program without a server to its end; returns what it prints."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=folder,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout
