"""The shortcut in C of a broadcast: with and without it all clients and callers see the same."""

import contextlib
import logging
import random
import sys
import traceback
from collections import Counter
from typing import Any

import pytest

import wscore.connection
from kit.frames import CLOSE, FIN, TEXT, Frame
from kit.handshake import REQUEST
from wscore import PreparedMessage
from wscore.extensions import NegotiatedExtension
from wscore.extensions.negotiated import NegotiatedExtensions
from wstransports import (
    Client,
    Instrument,
    WebSocketReader,
    WebSocketServer,
    broadcast,
    broadcast_nowait,
)
from wstransports.testing import MemoryRuntime

# The package has the function by this name.
MODULE = sys.modules["wstransports.broadcast"]
Sending = MODULE.Sending
needs_shortcut = pytest.mark.skipif(
    vars(Sending)["_send"] is Sending._send,
    reason="the C extension was not built, or has no shortcuts",
)
COMPRESSED = REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"


class Failing(NegotiatedExtensions):
    """An extension that raises."""

    def __init__(self) -> None:
        super().__init__()
        self.cache_key = ((NegotiatedExtension, "failing"),)

    def encode_stateless(self, data: bytes, compress: bool | None) -> tuple[int, bytes]:
        raise ZeroDivisionError


class Lines(logging.Handler):
    """What is logged, without the connections' numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage().partition(" ")[2])


class Counting(Instrument):
    """An instrument that notes what is sent, and what waits."""

    def __init__(self, notes: list[Any]) -> None:
        self.notes = notes

    def message_sent(self, client: Client, size: int, wire_size: int) -> None:
        self.notes.append(("counted", size, wire_size))

    def waiting(self, client: Client, size: int) -> None:
        self.notes.append(("counted", size))

    def dropped(self, client: Client, size: int) -> None:
        self.notes.append(("counted", size))


class Life:
    """Servers of several kinds, whose clients do anything; and all that shows of broadcasts."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.runtime = MemoryRuntime()
        self.notes: list[Any] = []
        self.log = Lines()
        self.peers: list[Any] = []
        self.clients: list[Client] = []
        self.jobs: list[Any] = []

    def servers(self) -> list[WebSocketServer]:
        usual, traced = logging.Logger("usual", logging.INFO), logging.Logger("traced")
        usual.addHandler(self.log)
        traced.addHandler(self.log)
        shared: dict[str, Any] = {"runtime": self.runtime, "logger": usual}
        kinds: list[dict[str, Any]] = [
            {"compression": None},
            {"write_limit": 2000},
            {"compression": None, "write_limit": 2_000_000, "max_messages_per_second": 1000},
            {"instruments": [Counting(self.notes)]},
            {"logger": traced},
        ]
        made = [
            WebSocketServer("memory", 0, **(shared | kind))
            for kind in [kinds[0], *self.random.choices(kinds, k=2)]
        ]
        for server in made:
            server.connection(self.on_connection)
        return made

    async def on_connection(self, client: Client) -> None:
        self.clients.append(client)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            text = str(await reader.get())
            await client.writer.send(f"before {text}")
            await self.announce()
            await self.announce()
            await client.writer.send(f"after {text}")

    async def announce(self) -> None:
        """One of the ways to broadcast something to some of the clients."""
        draw = self.random
        text = "x" * draw.choice([0, 1, 100, 100, 1000, 1000, 3000, 70_000])
        if draw.random() < 0.02:
            text = "x" * 300_000
        data: Any = draw.choice([text, text.encode(), PreparedMessage(text)])
        chosen = draw.choices(self.clients, k=len(self.clients)) if draw.random() < 0.5 else []
        settings: Any = {
            "slow": draw.choice(["drop", "drop", "close"]),
            "max_waiting": draw.choice([0, 1500, 2**17, *[2**20] * 30]),
            "max_seconds": draw.choice([0, *[60] * 30]),
        }
        if not isinstance(data, PreparedMessage):
            settings["compress"] = draw.choice([None, None, True, False])
        clients = chosen or self.clients
        if draw.random() < 0.5:
            report = broadcast_nowait(clients, data, **settings)
        elif draw.random() < 0.2:
            self.jobs.append(self.runtime.spawn(self.wait(clients, data)))
            return
        else:
            report = await broadcast(clients, data, **settings)
        self.show(report)

    async def wait(self, clients: list[Client], data: Any) -> None:
        self.show(await broadcast(clients, data, slow="wait"))

    def show(self, report: Any) -> None:
        for name in ("sent", "dropped", "closed", "failed"):
            self.notes.append(
                (name, [self.clients.index(client) for client in getattr(report, name)])
            )

    async def hold(self, client: Client) -> None:
        """Send a message in fragments, slowly."""
        with contextlib.suppress(Exception):
            async with client.writer.fragment() as stream:
                await stream.send("a")
                await self.runtime.sleep(self.random.choice([1, 7]))
                await stream.send("b")

    async def disturb(self) -> None:
        """Let something happen to a client."""
        number = self.random.randrange(len(self.clients))
        client, peer = self.clients[number], self.peers[number]
        what = self.random.choice(
            ["stop", "go", "go", "go", "hold", "send", "message", "message", "message", "end"]
        )
        if what == "stop":
            peer.stop_taking()
        elif what == "go":
            peer.start_taking()
        elif what == "hold":
            self.jobs.append(self.runtime.spawn(self.hold(client)))
        elif what == "send":
            with contextlib.suppress(Exception):
                self.jobs.append(self.runtime.spawn(self.say(client)))
        elif what == "message":
            with contextlib.suppress(OSError):
                peer.write(Frame(FIN | TEXT, b"hello").encode(masked=True))
        elif self.random.random() < 0.5:
            await self.runtime.advance(3)
        else:
            self.end(client, peer)

    def end(self, client: Client, peer: Any) -> None:
        """Let a connection end, or begin to."""
        match self.random.randrange(4):
            case 0:
                peer.reset()
            case 1:
                with contextlib.suppress(OSError):
                    peer.write(Frame(FIN | CLOSE, b"").encode(masked=True))
            case 2:
                client.close_nowait(4000, "enough")
            case 3:
                client._session.core._negotiated = Failing()

    async def say(self, client: Client) -> None:
        with contextlib.suppress(Exception):
            await client.writer.send("y" * self.random.choice([10, 3000, 100_000]))

    async def main(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for count, server in zip((8, 3, 3), self.servers(), strict=True):
                await stack.enter_async_context(server)
                for _ in range(count):
                    peer = self.runtime.open("memory", server.port)
                    self.peers.append(peer)
                    peer.write(self.random.choice([REQUEST, COMPRESSED]))
                    await self.runtime.settle()
            for _ in range(60):
                await self.disturb()
                await self.announce()
                if self.random.random() < 0.5:
                    await self.runtime.settle()
                self.look()
            for peer in self.peers:
                peer.reset()
            for job in self.jobs:
                while not job.done:
                    await self.runtime.advance(1)

    def look(self) -> None:
        for client, peer in zip(self.clients, self.peers, strict=True):
            outbox = client._session.outbox
            since = outbox._congested_since
            self.notes.append((peer.received_now(), outbox._written, outbox.held_back, since))
            self.notes.append((client.state, outbox.pipe.full, outbox.pipe.waiting()))

    def live(self) -> list[Any]:
        self.runtime.run(self.main)
        return [*self.notes, *self.log.lines]


@pytest.fixture(autouse=True)
def _alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wscore.connection, "urandom", bytes)  # the keepalive's pings
    monkeypatch.setattr(MODULE, "SLICE", 0)  # each step is a slice
    monkeypatch.setattr(MODULE, "_STEP", 3)


@needs_shortcut
@pytest.mark.parametrize(
    "block", [0, *(pytest.param(block, marks=pytest.mark.slow) for block in range(1, 10))]
)
def test_random_broadcasts_are_the_same(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(5 * block, 5 * block + 5):
        shown = Life(seed).live()
        with monkeypatch.context() as patch:
            patch.setattr(Sending, "_send", Sending._send)
            assert Life(seed).live() == shown


@needs_shortcut
def test_they_go_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the above would prove little."""
    in_python: Counter[str] = Counter()
    send_to = Sending._send_to

    def counting(sending: Any, client: Client) -> None:
        in_python[client.state.name] += 1
        send_to(sending, client)

    monkeypatch.setattr(Sending, "_send_to", counting)
    listed = Counter[str]()
    for note in [note for seed in range(5) for note in Life(seed).live()]:
        if len(note) == 2 and note[0] in ("sent", "dropped", "closed", "failed"):
            listed[note[0]] += len(note[1])
    assert all(listed[name] for name in ("sent", "dropped", "closed", "failed")), listed
    assert in_python["OPEN"] > 200
    assert listed.total() - in_python.total() > 400, (in_python, listed)


@pytest.mark.parametrize("in_c", [pytest.param(True, marks=needs_shortcut), False])
def test_a_write_that_raises_fails_one_client(in_c: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the log says where it raised."""
    if not in_c:
        monkeypatch.setattr(Sending, "_send", Sending._send)
    records: list[logging.LogRecord] = []
    logger = logging.Logger("test")

    def note(record: logging.LogRecord) -> bool:
        records.append(record)
        return False

    logger.addFilter(note)
    runtime = MemoryRuntime()
    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        clients.append(client)

    async def main() -> None:
        server = WebSocketServer("memory", 0, runtime=runtime, compression=None, logger=logger)
        server.connection(on_connection)
        async with server:
            peers = [runtime.open("memory", server.port) for _ in range(3)]
            for peer in peers:
                peer.write(REQUEST)
                await runtime.settle()
                peer.received_now()
            pipe: Any = clients[1]._session.pipe

            def write(data: bytes) -> None:
                del pipe.write
                raise ZeroDivisionError

            pipe.write = write
            report = broadcast_nowait(clients, "text")
            assert (report.sent, [*report.failed]) == ([clients[0], clients[2]], [clients[1]])
            await runtime.settle()
            assert [b"text" in peer.received_now() for peer in peers] == [True, False, True]
            for peer in peers:
                peer.reset()
            await runtime.settle()

    runtime.run(main)
    [error] = [record.exc_info for record in records if record.exc_info]
    assert error[0] is ZeroDivisionError
    *_, (frame, _) = traceback.walk_tb(error[2])
    assert frame.f_code.co_name == "write"
