"""The shortcuts in C of methods: with and without them a connection lives the same life."""

import logging
import random
from collections import Counter
from contextlib import suppress
from typing import Any, cast

import pytest

import wscore.connection
import wscore.handshake.key
import wscore.masking
from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, TEXT, Frame
from kit.handshake import REQUEST
from kit.shortcuts import METHODS, Lines, needs_shortcuts
from wscore import MessagePiece, ServerConnection
from wscore.frames import LARGE
from wstransports import (
    Client,
    ConnectionClosed,
    WebSocketReader,
    WebSocketServer,
    broadcast,
    connect,
)
from wstransports.batch import GATHER_LIMIT, GATHER_SECONDS
from wstransports.receiving.inbox import Inbox
from wstransports.receiving.intake import BACKLOG, LONG_READ
from wstransports.receiving.reader import GET_LIMIT
from wstransports.sending.outbox import Outbox
from wstransports.testing import MemoryRuntime

WHOLE = [
    *(Frame(FIN | TEXT, text) for text in (b"", b"text", "caf\u00e9 \u20ac".encode() * 30)),
    *(Frame(FIN | BINARY, data) for data in (b"", b"\xff" * 200, bytes(70_000))),
]
FRAGMENTS = [Frame(TEXT, b"a"), Frame(CONTINUATION, b"b" * 5000), Frame(FIN | CONTINUATION, b"c")]
CONTROL = [Frame(FIN | PING, b"now"), Frame(FIN | PONG, b"unasked")]
ENDS = [
    Frame(FIN | CLOSE, b"\x03\xe8bye"),
    Frame(FIN | TEXT, b"\xff"),
    Frame(FIN | RSV1 | TEXT, b"a"),
    Frame(TEXT, b"a", misdirected=True),
]


class Life:
    """A server with two raw clients and one of ours, which all do anything; all that shows of it.

    Our client answers few messages, or the two would go on for ever.
    """

    def __init__(self, seed: int, seen: Counter[str]) -> None:
        self.random = random.Random(seed)
        self.seen = seen
        self.notes: list[object] = []
        self.log = Lines()
        logger = logging.Logger("life", logging.INFO)
        logger.addHandler(self.log)
        self.runtime = MemoryRuntime(self.random.choice([1 << 16, 1 << 16, 100, 1 << 20]))
        self.server = WebSocketServer(
            "memory",
            0,
            runtime=self.runtime,
            logger=logger,
            read_limit=self.random.choice([1000, 65536]),
            write_limit=self.random.choice([1000, 65536]),
            concurrent_messages=self.random.choice([1, 1, 3]),
            timeout=20,
        )
        self.logger = logger
        self.server.connection(self.on_connection)

    def note(self, *what: object) -> None:
        self.seen[str(what[0])] += 1
        self.notes.append(what)

    def maybe(self, probability: float) -> bool:
        return self.random.random() < probability

    # The application.

    async def on_connection(self, client: Client) -> None:
        if self.maybe(0.2):
            await self.runtime.sleep(1)
        if self.maybe(0.2):
            async for message in client:
                self.note("received", message)
                if self.maybe(0.2):
                    await self.runtime.sleep(0.1)
                await self.answer(client, message)
        else:
            client.message(self.callback(client))
        if self.maybe(0.2):
            await client.writer.send("welcome")

    def callback(self, client: Client) -> Any:
        async def on_message(reader: WebSocketReader) -> None:
            self.note("on_message", reader.data_type, self.runtime.now())
            await self.read(client, reader)
            self.note("handled")

        return on_message

    async def read(self, client: Client, reader: WebSocketReader) -> None:
        what = self.random.random()
        if what < 0.02:
            raise ValueError("a mistake of the application")
        if what < 0.05:
            return
        if what < 0.08:
            await self.runtime.sleep(self.random.choice([0.1, 3]))
        if what < 0.1:
            client.message(self.callback(client))
        if what < 0.15:
            message: Any = b"".join([await reader.read(3), await reader.read()])
        elif what < 0.2:
            message = [part async for part in reader][0:1] or [""]
            message = message[0]
        else:
            message = await reader.get()
        self.note("got", message)
        await self.answer(client, message)

    async def answer(self, client: Client, message: Any) -> None:
        what = self.random.random()
        try:
            if what < 0.7:
                computes = self.maybe(0.1)
                for _ in range(self.random.choice([1, 1, 1, 2, 3, 40])):
                    await client.writer.send(message)
                    self.runtime._now += 0.002 * computes
            elif what < 0.75:
                await client.writer.ping(b"mine")
            elif what < 0.8:
                async with client.writer.fragment() as stream:
                    await stream.send(message)
                    await stream.send(message[:1])
            elif what < 0.85:
                await broadcast(self.server.clients, message)
            elif what < 0.87:
                await client.close(4000, "enough")
            elif what < 0.88:
                client.close_nowait()
            elif what < 0.89:
                task = self.runtime.current_task()
                assert task is not None
                task.cancel()
                await self.runtime.checkpoint()
            elif what < 0.9:
                await client.writer.send(5)  # type: ignore[arg-type]
        finally:
            self.note("answered", client.state)

    # The peers.

    def input(self) -> bytes:
        frames: list[Frame] = []
        for _ in range(self.random.choice([1, 1, 1, 2, 5, 300])):
            what = self.random.random()
            if what < 0.9:
                frames.append(self.random.choice(WHOLE[:5] if self.maybe(0.95) else WHOLE))
            elif what < 0.95:
                frames += FRAGMENTS
            elif what < 0.995:
                frames.append(self.random.choice(CONTROL))
            else:
                frames.append(self.random.choice(ENDS))
        return b"".join(frame.encode(masked=True) for frame in frames)

    async def peer(self) -> None:
        end = self.runtime.open("memory", self.server.port)
        end.write(REQUEST)
        await self.runtime.settle()
        received = end.received_now()
        for _ in range(self.random.randrange(12)):
            data = self.input()
            cut = self.random.randrange(len(data)) if self.maybe(0.3) else len(data)
            for part in (data[:cut], data[cut:]):
                try:
                    end.write(part)
                except OSError:
                    break
                if self.maybe(0.7):
                    await self.runtime.settle()
            if self.maybe(0.1):
                self.random.choice([end.stop_taking, end.start_taking])()
            if self.maybe(0.1):
                await self.runtime.advance(self.random.choice([0.1, 1, 12]))
            if self.maybe(0.03):
                self.random.choice([end.reset, end.close])()
            received += end.received_now()
            self.note("sent", received.partition(b"\r\n\r\n")[2], end.at_eof)
        self.random.choice([end.reset, end.send_eof, end.start_taking])()
        await self.runtime.settle()
        self.note("sent at last", end.received_now(), end.at_eof)

    async def visitor(self) -> None:
        with suppress(ConnectionClosed, TimeoutError):
            async with (
                connect(
                    f"ws://memory:{self.server.port}/",
                    runtime=self.runtime,
                    logger=self.logger,
                    read_limit=self.random.choice([1000, 65536]),
                    write_limit=self.random.choice([1000, 65536]),
                ) as client,
                self.runtime.timeout_at(self.runtime.now() + 20),
            ):
                await self.visit(client)

    async def visit(self, client: Client) -> None:
        left = 8  # messages that are answered

        async def take(message: str | bytes) -> None:
            nonlocal left
            self.note("visited", message)
            left -= 1
            if left < 0:
                return
            if self.maybe(0.2):
                await self.runtime.sleep(0.1)
            for _ in range(self.random.choice([1, 1, 3])):
                await client.writer.send(
                    self.random.choice([message, "\u20ac" * 60, b"\xff" * 200])
                )

        async def on_message(reader: WebSocketReader) -> None:
            await take(await reader.get())

        await client.writer.send("first")
        if self.maybe(0.5):
            client.message(on_message)
            await client.wait_closed()
            return
        async for message in client:
            await take(message)
            if self.maybe(0.02):
                return

    async def main(self) -> None:
        await self.server.__aenter__()
        peers = [self.runtime.spawn(self.peer()) for _ in range(2)]
        peers.append(self.runtime.spawn(self.visitor()))
        for peer in peers:
            while not peer.done:
                await self.runtime.advance(1)
        leaving = self.runtime.spawn(self.server.__aexit__(None, None, None))
        await self.runtime.advance(100)
        await leaving.wait()

    def live(self) -> list[object]:
        self.runtime.run(self.main)
        return [*self.notes, *self.log.lines]


def lived(seed: int, seen: Counter[str]) -> list[object]:
    return Life(seed, seen).live()


@needs_shortcuts
@pytest.mark.parametrize(
    "block", [0, *(pytest.param(block, marks=pytest.mark.slow) for block in range(1, 5))]
)
def test_random_lives_are_the_same(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (wscore.connection, wscore.handshake.key):
        monkeypatch.setattr(module, "urandom", bytes)  # the keepalive's pings
    monkeypatch.setattr(wscore.masking, "urandom", lambda size: bytes(range(256)) * (size // 256))
    for seed in range(50 * block, 50 * block + 50):
        shown = lived(seed, Counter())
        with monkeypatch.context() as patch:
            for owner, name in METHODS:
                patch.setattr(owner, name, getattr(owner, name))
            assert lived(seed, Counter()) == shown


@needs_shortcuts
@pytest.mark.slow
def test_the_lives_go_everywhere() -> None:
    """Or the above would prove little."""
    seen: Counter[str] = Counter()
    logged: Counter[str] = Counter()
    for seed in range(100):
        life = Life(seed, seen)
        life.live()
        logged.update(line[1][:60] for line in life.log.lines)
    noted = {"on_message", "received", "got", "handled", "answered", "visited"}
    assert {*noted, "sent", "sent at last"} <= {*seen}
    found = "\n".join(logged)
    for words in (
        "on_message raised",
        "failed with 1007",
        "failed with 1002",
        "discarded",
        "was cancelled",
    ):
        assert words in found, found


@needs_shortcuts
@pytest.mark.parametrize("size", [0, 200, LONG_READ - 15, LONG_READ - 14, GET_LIMIT, GET_LIMIT + 1])
def test_they_run(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the above would prove little. They leave long reads to Python: these take turns."""
    runtime = MemoryRuntime(chunk=2 * GET_LIMIT)
    server = WebSocketServer("memory", 0, runtime=runtime, max_message_size=None)
    sizes: list[int] = []

    @server.connection
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            assert (reader._whole is None) is (size > GET_LIMIT)
            message = await reader.get(max_size=2 * GET_LIMIT)
            sizes.append(len(message))
            await client.writer.send(message[:1000])

    async def main() -> None:
        async with server:
            end = runtime.open("memory", server.port)
            end.write(REQUEST)
            await runtime.settle()
            for _ in range(2):
                end.write(Frame(FIN | BINARY, bytes(size)).encode(masked=True))
                await runtime.settle()
                if size < LONG_READ - 14:
                    monkeypatch.delattr(Inbox, "put", raising=False)
                    monkeypatch.delattr(Outbox, "flush", raising=False)
            assert end.received_now().count(b"\x82") == 2
            end.reset()
            monkeypatch.undo()

    runtime.run(main)
    assert sizes == [size, size]


@needs_shortcuts
def test_they_run_for_receive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it waits, or its caller handles a message; beyond read_limit they pause reading."""
    runtime = MemoryRuntime()
    server = WebSocketServer("memory", 0, runtime=runtime, read_limit=2000)
    unread: list[tuple[int, int]] = []
    puts: list[int] = []
    put = Inbox.put

    def counted_put(self: Inbox, piece: MessagePiece) -> None:
        puts.append(self.unread)
        put(self, piece)

    monkeypatch.setattr(Inbox, "put", counted_put)

    @server.connection
    async def on_connection(client: Client) -> None:
        async for message in client:
            await runtime.sleep(1)
            session = client._session
            unread.append((session.inbox.unread, session.intake.pause_reasons))
            await client.writer.send(message)

    async def main() -> None:
        async with server:
            end = runtime.open("memory", server.port)
            end.write(REQUEST)
            await runtime.settle()
            for count in (1, 1, 4):
                for _ in range(count):
                    end.write(Frame(FIN | TEXT, b"x" * 700).encode(masked=True))
                    await runtime.settle()
                await runtime.advance(10)
            assert end.received_now().count(b"\x81") == 6
            end.reset()

    runtime.run(main)
    # The first comes before there is a queue.
    assert puts == [0]
    assert unread == [(0, 0), (0, 0), (3 * 956, BACKLOG), (2 * 956, 0), (956, 0), (0, 0)]


class Noting:
    """A pipe that notes how it is given output."""

    full = False

    def __init__(self) -> None:
        self.notes: list[str] = []

    def write(self, data: bytes) -> None:
        self.notes.append("write")

    def writelines(self, parts: list[bytes]) -> None:
        self.notes.append("writelines")


class Sent:
    """An outbox whose input is being handled, and how its output leaves."""

    def __init__(self) -> None:
        runtime = MemoryRuntime()
        self.core = ServerConnection()
        self.core.receive_data(REQUEST)
        self.core.accept()
        self.core.data_to_send()
        self.outbox = Outbox(cast(Any, None), self.core, runtime, 0)
        self.pipe = self.outbox.pipe = cast(Any, Noting())
        self.batch = runtime.batch
        self.batch.active = 1
        self.batch.old_at = runtime.now() + GATHER_SECONDS


def python(*_: object) -> None:
    raise AssertionError("the Python method ran")


@needs_shortcuts
@pytest.mark.parametrize("size", [GATHER_LIMIT - 1, GATHER_LIMIT])
def test_they_gather_as_much(size: int) -> None:
    sent = Sent()
    if size < GATHER_LIMIT:
        sent.batch.at_end = python
    sent.outbox.send(bytes(size - 4), None)
    assert sent.pipe.notes == ["write"] * (size >= GATHER_LIMIT)


@needs_shortcuts
@pytest.mark.parametrize("size", [LARGE - 1, LARGE])
def test_they_join_as_much(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent()
    sent.batch.at_end(sent.outbox)
    sent.core._put(bytes(size))
    if size < LARGE:
        monkeypatch.setattr(Outbox, "flush", python)
    sent.batch.end()
    assert sent.pipe.notes == ["write" if size < LARGE else "writelines"]
