"""Node's `ws` package, in a process of its own: node_peer.js."""

import asyncio
import json
import os
from asyncio.subprocess import PIPE, Process
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from keys import Keys
from meeting import Listening, Peer, Refused, Theirs

SCRIPT = Path(__file__).with_name("node_peer.js")
# Where `make test` installs it.
PACKAGES = SCRIPT.parents[2] / ".npm" / "node_modules"

# The longest line is a message of 1 MiB in base64.
MAX_LINE = 2**22


class Node:
    """The process."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._commands = process.stdin
        self._events = process.stdout
        self._waiting: list[tuple[str, Any]] = []

    async def command(self, name: str, *values: object) -> None:
        """Have it do something."""
        self._commands.write(json.dumps([name, *values]).encode() + b"\n")
        await self._commands.drain()

    async def event(self, *names: str) -> tuple[str, Any]:
        """The next event of one of these names; others wait until they are asked for."""
        while True:
            for index, (name, _) in enumerate(self._waiting):
                if name in names:
                    return self._waiting.pop(index)
            line = await self._events.readline()
            assert line, "node ended: its standard error says why"
            name, value = json.loads(line)
            self._waiting.append((name, value))


@asynccontextmanager
async def running(program: str) -> AsyncIterator[Node]:
    """A process for the time of a test."""
    process = await asyncio.create_subprocess_exec(
        program,
        str(SCRIPT),
        stdin=PIPE,
        stdout=PIPE,
        limit=MAX_LINE,
        env={**os.environ, "NODE_PATH": str(PACKAGES)},
    )
    try:
        yield Node(process)
    finally:
        await process.communicate(b"")  # the end of its input is its end


def encoded(data: str | bytes) -> object:
    """Text or bytes, as JSON."""
    return data if isinstance(data, str) else {"base64": b64encode(data).decode()}


class NodeEnd(Theirs):
    """Their end."""

    def __init__(self, node: Node, opened: tuple[str, str]) -> None:
        self._node = node
        subprotocol, extensions = opened
        self.subprotocol = subprotocol or None
        self.compresses = extensions == "permessage-deflate"

    async def send(self, data: str | bytes) -> None:
        await self._node.command("send", encoded(data))

    async def send_parts(self, parts: Sequence[bytes], text: bool) -> None:
        await self._node.command("sendParts", [encoded(part) for part in parts], not text)

    async def receive(self) -> str | bytes:
        _, data = await self._node.event("message")
        message: str | bytes = data if isinstance(data, str) else b64decode(data["base64"])
        return message

    async def ping(self, payload: bytes) -> None:
        await self._node.command("ping", encoded(payload))
        assert (await self._node.event("pong"))[1] == encoded(payload)

    async def close(self, code: int, reason: str) -> None:
        await self._node.command("close", code, reason)

    async def closed(self) -> tuple[int, str]:
        _, (code, reason) = await self._node.event("close")
        return code, reason


class NodeListening(Listening):
    """Their server."""

    def __init__(self, node: Node, port: int) -> None:
        self._node = node
        self.port = port

    async def accepted(self) -> Theirs:
        return NodeEnd(self._node, (await self._node.event("open"))[1])


class NodePeer(Peer):
    """The package `ws`."""

    def __init__(self, program: str) -> None:
        self._program = program

    @asynccontextmanager
    async def connecting(
        self, url: str, subprotocols: Sequence[str], compress: bool, keys: Keys | None = None
    ) -> AsyncIterator[Theirs]:
        async with running(self._program) as node:
            authority = None if keys is None else str(keys.authority)
            await node.command("connect", url, list(subprotocols), compress, authority)
            name, value = await node.event("open", "refused")
            if name == "refused":
                raise Refused(value)
            yield NodeEnd(node, value)

    @asynccontextmanager
    async def serving(
        self,
        subprotocols: Sequence[str],
        compress: bool,
        refuse: int | None,
        keys: Keys | None = None,
    ) -> AsyncIterator[Listening]:
        async with running(self._program) as node:
            files = None if keys is None else [str(keys.cert), str(keys.key)]
            await node.command("serve", list(subprotocols), compress, refuse, files)
            yield NodeListening(node, (await node.event("listening"))[1])
