"""Workers that replace one another under load: connections that fail, and how long it takes to
reconnect.

python -m benchmarks.hand_over: new clients connect at a steady rate, are greeted, and leave.
Members stay, and connect again as soon as they are closed. Meanwhile SIGHUP replaces the workers.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import uvloop

ROOT = Path(__file__).parents[1]
SERVER = ["-m", "benchmarks.servers.workers"]

_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
_TEXT, _CLOSE = 0x81, 0x88
_CLOSE_1000 = b"\x88\x82\x00\x00\x00\x00\x03\xe8"  # with a masking key of zeros

PATIENCE = 30  # seconds that anything may take
RETRY = 0.1  # seconds before a member that failed tries again


@dataclass
class Load:
    """What the clients do, and what they saw."""

    rate: float
    seconds: float
    hand_overs: int
    members: int
    opened: int = 0
    """New clients that were accepted and greeted."""
    closed_early: int = 0
    """Those that were accepted, and closed with 1012 before their greeting."""
    failures: Counter[str] = field(default_factory=Counter)
    """How connections failed, new ones and those of members."""
    codes: Counter[int] = field(default_factory=Counter)
    """With which codes members were closed."""
    reconnects: list[float] = field(default_factory=list)
    """Seconds from a Close to the next greeting."""

    def summary(self) -> dict[str, Any]:
        """The figures."""
        times = sorted(self.reconnects)
        return {
            "opened": self.opened,
            "closed early": self.closed_early,
            "failed": self.failures.total(),
            "failures": dict(self.failures),
            "members closed with": {str(code): count for code, count in self.codes.items()},
            "reconnect p50, ms": _milliseconds(times, 0.5),
            "reconnect p99, ms": _milliseconds(times, 0.99),
        }


def _milliseconds(times: list[float], share: float) -> float | None:
    return round(1000 * times[int(share * (len(times) - 1))], 1) if times else None


class Visitor(asyncio.Protocol):
    """One client, from its request to the end of the connection; it reads short frames alone."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[str] = loop.create_future()
        """"" for a greeting, else what came in its place."""
        self.closed: asyncio.Future[int] = loop.create_future()
        """The code of the server's Close; 1006 without one."""
        self._unread = b""
        self._accepted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if not self._accepted:
            head, blank, rest = self._unread.partition(b"\r\n\r\n")
            if not blank:
                return
            if not head.startswith(b"HTTP/1.1 101 ") or _ACCEPT not in head:
                self._end(head.partition(b"\r\n")[0].decode(), 1006)
                return
            self._accepted, self._unread = True, rest
        while len(self._unread) >= 2 and len(self._unread) >= (size := 2 + self._unread[1]):
            frame, self._unread = self._unread[:size], self._unread[size:]
            if frame[0] == _TEXT:
                self._greet("")
            elif frame[0] == _CLOSE:
                self.leave()
                self._end("closed", int.from_bytes(frame[2:4]))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("reset" if exc else "ended", 1006)

    def leave(self) -> None:
        """Close."""
        self.transport.write(_CLOSE_1000)

    def _greet(self, instead: str) -> None:
        if not self.greeted.done():
            self.greeted.set_result(instead)

    def _end(self, instead: str, code: int) -> None:
        self._greet(instead)
        if not self.closed.done():
            self.closed.set_result(code)


async def connected(port: int, load: Load) -> Visitor | None:
    """A client that was greeted; None if it failed, or was closed with 1012 before."""
    try:
        _, visitor = await asyncio.get_running_loop().create_connection(Visitor, "127.0.0.1", port)
    except OSError as error:
        load.failures[type(error).__name__] += 1
        return None
    instead = await visitor.greeted
    if not instead:
        return visitor
    if instead == "closed":
        load.closed_early += 1
    else:
        load.failures[instead] += 1
    visitor.transport.close()
    return None


async def visit(port: int, load: Load) -> None:
    """A new client that leaves when it was greeted."""
    visitor = await connected(port, load)
    if visitor is not None:
        load.opened += 1
        visitor.leave()
        await visitor.closed
        visitor.transport.close()


async def stay(port: int, load: Load, visitor: Visitor | None) -> None:
    """A member, which connects again as soon as it is closed."""
    try:
        while True:
            if visitor is not None:
                load.codes[await visitor.closed] += 1
                visitor.transport.close()
            closed_at = time.perf_counter()
            visitor = await connected(port, load)
            if visitor is None:
                await asyncio.sleep(RETRY)
            else:
                load.reconnects.append(time.perf_counter() - closed_at)
    finally:
        if visitor is not None:
            visitor.transport.abort()


async def drive(port: int, supervisor: int, load: Load) -> None:
    """Let the clients come, and replace the workers meanwhile."""
    members = [
        asyncio.create_task(stay(port, load, await connected(port, load)))
        for _ in range(load.members)
    ]
    visits: set[asyncio.Task[None]] = set()
    start = time.perf_counter()
    replace_at = [
        load.seconds * (number + 0.1) / load.hand_overs for number in range(load.hand_overs)
    ]
    for number in range(int(load.rate * load.seconds)):
        if replace_at and time.perf_counter() - start >= replace_at[0]:
            replace_at.pop(0)
            signal.pidfd_send_signal(supervisor, signal.SIGHUP)
        visits.add(task := asyncio.create_task(visit(port, load)))
        task.add_done_callback(visits.discard)
        await asyncio.sleep(max(start + (number + 1) / load.rate - time.perf_counter(), 0))
    await asyncio.wait_for(asyncio.gather(*visits), PATIENCE)
    give_up_at = time.perf_counter() + PATIENCE  # on a busy machine workers are slow to start
    while len(load.reconnects) < load.members * load.hand_overs:
        if time.perf_counter() >= give_up_at:
            break
        await asyncio.sleep(RETRY)
    for member in members:
        member.cancel()
    await asyncio.gather(*members, return_exceptions=True)


def measured(load: Load, workers: int, drain: float) -> dict[str, Any]:
    """Run a server with workers under that load; returns the figures."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        descriptor = listening.fileno()
        command = [sys.executable, *SERVER, str(descriptor), str(workers), str(drain)]
        with subprocess.Popen(command, pass_fds=[descriptor], cwd=ROOT) as server:
            supervisor = os.pidfd_open(server.pid)
            try:
                uvloop.run(drive(listening.getsockname()[1], supervisor, load))
            finally:
                server.terminate()
                os.close(supervisor)
    assert server.returncode == 0, server.returncode
    return load.summary()


def main() -> None:
    """Print the figures of workers that drain, and of workers that close all at once."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rate", type=float, default=400, help="new clients a second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--hand-overs", type=int, default=2)
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--drain", type=float, default=4)
    given = parser.parse_args()
    for drain in (given.drain, 0):
        load = Load(given.rate, given.seconds, given.hand_overs, given.members)
        print(json.dumps({"drain": drain, **measured(load, given.workers, drain)}), flush=True)


if __name__ == "__main__":
    main()
