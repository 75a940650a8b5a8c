"""A snippet that runs as a program of its own."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit.blocking_peer import BlockingPeer
from wscore import Refused, Response

# How long anything may take, in seconds.
PATIENCE = 10

# The port that all pages name; here the system picks one instead.
PORT = "8765"

# What a page leaves out around a snippet, which stands in place of the braces.
_IMPORTS = (
    "import asyncio, hmac, ipaddress\nfrom collections.abc import Awaitable, Callable, Sequence\n"
    "from dataclasses import dataclass\n"
    "from wstransports import *\n"
)
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
# of ours: that of a server, of a listener of anyio's, or of uvicorn.
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
source = sys.stdin.read()
if "import uvicorn" in source:
    import uvicorn

    start = uvicorn.Server.startup

    async def start_and_tell(server, **where):
        await start(server, **where)
        tell(server.servers[0].sockets[0].getsockname()[1])

    uvicorn.Server.startup = start_and_tell
try:
    exec(compile(source, "<snippet>", "exec"), {{"__name__": "__main__"}})
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

    def connect(self, target: str = "/", **request: Any) -> BlockingPeer:
        """A client that has done its opening handshake."""
        peer = BlockingPeer(self.port, target, **request)
        peer.connect()
        return peer

    def refusal(self, target: str = "/", **request: Any) -> Response:
        """The response to a client whose opening handshake is refused."""
        with BlockingPeer(self.port, target, **request) as peer:
            peer.handshake()
            response = peer.answer()
            assert isinstance(peer.answered, Refused), response
            return response

    def kill(self) -> None:
        """Send SIGKILL, and wait for its end."""
        self._process.kill()
        self._process.communicate()

    def interrupt(self) -> None:
        """Send SIGINT, as Ctrl-C does; call `wait` next."""
        self._process.send_signal(signal.SIGINT)

    def wait(self) -> None:
        """Wait for its end; what it writes to stderr must match `logs`."""
        self.printed, complaints = self._process.communicate(timeout=PATIENCE)
        assert self._process.returncode == 0, complaints
        assert re.fullmatch(self.logs, complaints), complaints


@contextmanager
def running(source: str, folder: Path) -> Iterator[Running]:
    """Run a program that listens; stop it at the end, unless it has ended on its own."""
    reading, writing = os.pipe()
    with open(reading) as port_pipe:
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
        port = port_pipe.readline()
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
