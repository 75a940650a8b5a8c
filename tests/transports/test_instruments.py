"""Instruments: what is reported to them, and that they harm no connection."""

import ssl
from typing import Any

import pytest

from kit.connecting import connecting, failure
from kit.log import Log
from kit.loops import Loop, MemoryLoop, echo, on, on_each_loop, on_memory
from wscore import ServerConnection
from wscore.metering import MeteredServerConnection
from wstransports import (
    Client,
    HandshakeError,
    Instrument,
    Request,
    Response,
    Statistics,
    WebSocketServer,
    broadcast,
    connect,
)
from wstransports.connection.instrumented import WatchedSession
from wstransports.connection.session import Session

SENTENCE = "The quick brown fox jumps over the lazy dog. " * 100


class Notes(Instrument):
    """An instrument that keeps what is reported, without the clients."""

    def __init__(self) -> None:
        self.reported: list[Any] = []
        self.clients: list[Client] = []
        self.seconds: list[float] = []

    def opened(self, client: Client) -> None:
        """As an Instrument."""
        self.clients.append(client)
        self.reported.append(("opened",))

    def rejected(self, status: int, reason: str) -> None:
        """As an Instrument."""
        self.reported.append(("rejected", status, reason))

    def closed(self, client: Client, code: int, seconds: float) -> None:
        """As an Instrument."""
        assert client in self.clients
        self.seconds.append(seconds)
        self.reported.append(("closed", code))

    def message_received(self, client: Client, size: int, wire_size: int) -> None:
        """As an Instrument."""
        assert client in self.clients
        self.reported.append(("received", size, wire_size))

    def message_sent(self, client: Client, size: int, wire_size: int) -> None:
        """As an Instrument."""
        assert client in self.clients
        self.reported.append(("sent", size, wire_size))

    def waiting(self, client: Client, size: int) -> None:
        """As an Instrument."""
        assert client in self.clients
        self.reported.append(("waiting", size))

    def dropped(self, client: Client, size: int) -> None:
        """As an Instrument."""
        assert client in self.clients
        self.reported.append(("dropped", size))


@on_each_loop
async def test_both_ends_of_a_connection(loop: Loop) -> None:
    ours, theirs = Notes(), Notes()
    async with loop.serving(echo, instruments=[theirs]) as server:
        async with connecting(server, instruments=[ours], compression=None) as client:
            assert ours.clients == [client]
            await client.writer.send("Hello")
            await client.receive()
            async with client.writer.fragment() as stream:
                await stream.send(b"one, ")
                await stream.send(b"two")
            await client.receive()
            await client.close(4001)
        await loop.until(lambda: theirs.reported[-1][0] == "closed")
    messages = [(5, 5), (8, 8)]
    assert ours.reported == [
        ("opened",),
        *(note for size in messages for note in (("sent", *size), ("received", *size))),
        ("closed", 4001),
    ]
    assert theirs.reported == [
        ("opened",),
        *(note for size in messages for note in (("received", *size), ("sent", *size))),
        ("closed", 4001),
    ]
    assert 0 <= ours.seconds[0] < 20


@on_memory
async def test_sizes_before_and_after_compression(loop: MemoryLoop) -> None:
    ours, theirs = Notes(), Notes()
    async with loop.serving(echo, instruments=[theirs]) as server:
        async with connecting(server, instruments=[ours]) as client:
            await client.writer.send(SENTENCE)
            await client.receive()
    [sent] = [note for note in ours.reported if note[0] == "sent"]
    [received] = [note for note in theirs.reported if note[0] == "received"]
    assert sent[1:] == received[1:]
    assert sent[1] == len(SENTENCE)
    assert sent[2] < 200


@on_memory
async def test_how_long_a_connection_was_open(loop: MemoryLoop) -> None:
    notes = Notes()
    async with loop.serving(echo, instruments=[notes]) as server:
        peer = await loop.connect(server)
        await loop.advance(12.5)
        peer.reset()
        await loop.settle()
    assert notes.reported == [("opened",), ("closed", 1006)]
    assert notes.seconds == [12.5]


@on_memory
async def test_closed_does_not_wait_for_callbacks(loop: MemoryLoop) -> None:
    notes = Notes()
    over = loop.signal()

    async def on_connection(client: Client) -> None:
        await over.wait()

    async with loop.serving(on_connection, instruments=[notes]) as server:
        peer = await loop.connect(server)
        peer.reset()
        await loop.settle()
        assert notes.reported == [("opened",), ("closed", 1006)]
        over.set()


@on_memory
async def test_messages_that_come_with_the_101(loop: MemoryLoop) -> None:
    """The connection is reported first."""
    notes = Notes()

    async def on_connection(client: Client) -> None:
        await client.writer.send("Hello")
        await client.writer.send("again")
        await client.close()

    async with loop.serving(on_connection) as server:
        async with connecting(server, instruments=[notes]) as client:
            assert await client.receive() == "Hello"
    assert notes.reported == [("opened",), ("received", 5, 5), ("received", 5, 5), ("closed", 1000)]


# Handshakes that lead to no connection.


@on_each_loop
async def test_what_a_server_rejects(loop: Loop, log: Log) -> None:
    notes = Notes()

    async with loop.serving(
        instruments=[notes],
        process_request=lambda request: Response(200) if request.path == "/health" else None,
        basic_auth=lambda name, password: name == "Ada",
    ) as server:
        for path, name in (("/health", "Ada"), ("/", "Eve")):
            uri = f"ws://{name}:@{server.addr}:{server.port}{path}"
            assert isinstance(await failure(connect(uri)), HandshakeError)
        for head in (b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic QWRhOg==", b"nonsense"):
            peer = await loop.dial(server)
            peer.raw(head + b"\r\n\r\n")
            await peer.answer()
        peer = await loop.dial(server)
        peer.vanish()
        await loop.until(lambda: len(notes.reported) == 5)
    assert notes.reported[:4] == [
        ("rejected", 200, "application"),
        ("rejected", 401, "unauthorized"),
        ("rejected", 426, "plain"),
        ("rejected", 400, "handshake"),
    ]
    assert notes.reported[4][2] == "handshake"
    assert log.lines() == ["handshake failed: this is not an HTTP/1.1 request"]


@on_memory
async def test_a_hook_that_raises(loop: MemoryLoop, log: Log) -> None:
    notes = Notes()

    def process_request(request: Request) -> None:
        raise ValueError("an error of ours")

    async with loop.serving(instruments=[notes], process_request=process_request) as server:
        await failure(connecting(server))
    assert notes.reported == [("rejected", 500, "error")]
    assert len(log.tracebacks()) == 1


@on_memory
async def test_a_callback_that_raises(loop: MemoryLoop, log: Log) -> None:
    """The connection is open, so it is not rejected."""
    notes = Notes()

    async def on_connection(client: Client) -> None:
        raise ValueError("an error of ours")

    async with loop.serving(on_connection, instruments=[notes]) as server:
        await loop.connect(server)
        await loop.settle()
    assert notes.reported == [("opened",), ("closed", 1011)]
    assert len(log.tracebacks()) == 1


@pytest.mark.parametrize(
    ("option", "reason"),
    [("max_connections", "full"), ("max_connections_per_address", "address")],
)
@on("asyncio", "trio")
async def test_too_many_connections(loop: Loop, log: Log, option: str, reason: str) -> None:
    notes = Notes()
    options: dict[str, Any] = {"instruments": [notes], option: 1}
    async with loop.serving(**options) as server:
        await loop.connect(server)
        await failure(connecting(server))
    assert notes.reported[1] == ("rejected", 503, reason)
    assert len(log.lines()) == 1


@on_memory
async def test_a_server_that_stops(loop: MemoryLoop) -> None:
    """One client is still in its handshake, another has sent nothing."""
    notes = Notes()
    async with loop.serving(instruments=[notes]) as server:
        peer = await loop.dial(server)
        peer.raw(b"GET / HTTP/1.1\r\n")
        await loop.dial(server)
        await loop.settle()
    assert sorted(notes.reported) == [("rejected", 0, "handshake"), ("rejected", 503, "shutdown")]


@on("asyncio", "trio")
async def test_a_tls_handshake_that_fails(
    loop: Loop, contexts: tuple[ssl.SSLContext, ssl.SSLContext], log: Log
) -> None:
    notes = Notes()
    async with loop.serving(instruments=[notes], certs=contexts[0]) as server:
        peer = await loop.dial(server)
        peer.raw(b"GET / HTTP/1.1\r\n\r\n")
        await loop.until(lambda: notes.reported)
    assert notes.reported == [("rejected", 0, "tls")]
    log.records.clear()


@on_memory
async def test_what_connect_does_not_reach(loop: MemoryLoop) -> None:
    notes = Notes()
    async with loop.serving(
        process_request=lambda request: Response(404 if request.path == "/missing" else 503)
    ) as server:
        for target in ("/missing", "/"):
            await failure(connecting(server, target, instruments=[notes]))
    assert isinstance(await failure(connect("ws://nobody", instruments=[notes])), OSError)
    assert notes.reported == [
        ("rejected", 404, "response"),
        ("rejected", 503, "response"),
        ("rejected", 0, "unreachable"),
    ]


# Back-pressure.


def congestion(notes: Notes) -> list[int]:
    """How many bytes were reported to wait."""
    return [note[1] for note in notes.reported if note[0] == "waiting"]


@on_each_loop
async def test_bytes_that_wait_for_a_slow_peer(loop: Loop) -> None:
    notes = Notes()

    async def on_connection(client: Client) -> None:
        for _ in range(100):
            await client.writer.send(bytes(100_000), compress=False)

    async with loop.serving(on_connection, instruments=[notes]) as server:
        peer = await loop.connect(server)
        peer.stop_reading()
        await loop.until(lambda: congestion(notes))
        assert congestion(notes)[0] >= 30_000
        peer.start_reading()
        for _ in range(100):
            await peer.frame()
        await loop.until(lambda: len(congestion(notes)) % 2 == 0)
    sizes = congestion(notes)
    assert max(sizes[1::2]) < min(sizes[::2])


@on_memory
async def test_a_peer_that_is_lost_while_bytes_wait(loop: MemoryLoop) -> None:
    """Nothing is said of it after its end."""
    notes = Notes()

    async def on_connection(client: Client) -> None:
        await client.writer.send(bytes(10**6), compress=False)

    async with loop.serving(on_connection, instruments=[notes]) as server:
        peer = await loop.connect(server)
        peer.stop_reading()
        await loop.settle()
        peer.reset()
        await loop.settle()
    assert [note[0] for note in notes.reported] == ["opened", "sent", "waiting", "closed"]


@on_memory
async def test_broadcasts_to_a_slow_peer(loop: MemoryLoop) -> None:
    notes = Notes()
    async with loop.serving(echo, instruments=[notes]) as server:
        peer = await loop.connect(server)
        peer.stop_reading()
        while not congestion(notes):
            await broadcast(server.clients, bytes(100_000), compress=False)
        await broadcast(server.clients, "left out", slow="drop")
        assert notes.reported[-1] == ("dropped", 8)
        peer.start_reading()
        await loop.settle()
        assert congestion(notes)[1] == 0
        await broadcast(server.clients, "Hello", slow="drop")
        assert notes.reported[-1] == ("sent", 5, 5)


# Errors.


class Failing(Notes):
    """An instrument whose every method raises, after it has noted the call."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in METHODS:
            return found

        def method(*args: object) -> None:
            found(*args)
            raise ZeroDivisionError(name)

        return method


METHODS = {name for name in vars(Instrument) if not name.startswith("_")}


@on_each_loop
async def test_an_instrument_that_raises_harms_nobody(loop: Loop, log: Log) -> None:
    """Each method is logged once."""
    failing, notes = Failing(), Notes()
    async with loop.serving(echo, instruments=[failing, notes], max_connections=2) as server:
        for _ in range(2):
            async with connecting(server) as client:
                await client.writer.send("Hello")
                assert await client.receive() == "Hello"
                await client.close()
        await loop.until(lambda: notes.reported.count(("closed", 1000)) == 2)
    assert failing.reported == notes.reported
    logged = log.tracebacks()
    assert [message for message, _ in logged] == [
        f"{name} of an instrument raised"
        for name in ("opened", "message_received", "message_sent", "closed")
    ]
    assert all(isinstance(error, ZeroDivisionError) for _, error in logged)


async def opened(client: Client) -> None:
    """Not a plain function: it would never be awaited."""


def with_async_method() -> Instrument:
    """An instrument with a method that does not fit."""
    instrument = Statistics()
    vars(instrument)["opened"] = opened
    return instrument


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (Statistics(), "must be a list of instruments, not Statistics"),
        ("statistics", "must be a list"),
        ([Statistics], "instances of wstransports.Instrument, and <class"),
        ([object()], "instances of wstransports.Instrument, and <object"),
        ([with_async_method()], "opened of .* must be a plain function, not `async def`"),
    ],
)
def test_what_is_not_an_instrument(given: Any, says: str) -> None:
    for make in (WebSocketServer, lambda *args, **options: connect("ws://localhost", **options)):
        with pytest.raises(TypeError, match=says):
            make("localhost", 0, instruments=given)


# What it costs.


class OnlyOpened(Instrument):
    """It asks for nothing that a message would have to pay for."""

    def opened(self, client: Client) -> None:
        """As an Instrument."""


@pytest.mark.parametrize(
    ("instruments", "session", "core"),
    [
        ([], Session, ServerConnection),
        ([Instrument()], Session, ServerConnection),
        ([OnlyOpened()], WatchedSession, ServerConnection),
        ([OnlyOpened(), Statistics()], WatchedSession, MeteredServerConnection),
    ],
)
def test_what_nobody_asks_for_costs_nothing(
    instruments: list[Instrument], session: type[Session], core: type[ServerConnection]
) -> None:
    """A connection that is not watched is of the same classes as ever."""
    loop = MemoryLoop()

    async def test() -> None:
        async with loop.serving(echo, instruments=instruments) as server:
            await loop.connect(server)
            [client] = server.clients.values()
            assert type(client._session) is session
            assert type(client._session.core) is core

    loop.run(test)


@on_memory
async def test_a_watched_connection_may_be_limited(loop: MemoryLoop, log: Log) -> None:
    notes = Notes()
    async with loop.serving(
        echo, instruments=[notes], max_messages_per_second=1, rate_policy="close"
    ) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            peer.send("one")
            peer.send("two")
        await loop.settle()
        assert await peer.message() == "one"
        assert (await peer.closed())[0] == 1008
        assert log.lines() == ["closed with 1008, more messages a second than allowed"]
    assert notes.reported[-1] == ("closed", 1008)


# Statistics.


@on_each_loop
async def test_statistics(loop: Loop) -> None:
    statistics = Statistics()
    async with loop.serving(echo, instruments=[statistics]) as server:
        async with connecting(server) as client:
            await client.writer.send(SENTENCE)
            await client.receive()
            assert statistics.connections_open == 1
        await loop.until(lambda: not statistics.connections_open)
    assert 0 < statistics.wire_bytes_received < 200
    assert 0 < statistics.wire_bytes_sent < 200
    wire = statistics.wire_bytes_received, statistics.wire_bytes_sent
    assert repr(statistics) == (
        "Statistics(connections_opened=1, connections_open=0, connections_rejected=Counter(),"
        " connections_closed=Counter({1000: 1}), messages_received=1, messages_sent=1,"
        " messages_dropped=0, bytes_received=4500, bytes_sent=4500,"
        f" wire_bytes_received={wire[0]}, wire_bytes_sent={wire[1]}, bytes_waiting=0)"
    )


@on_memory
async def test_statistics_of_slow_peers_and_failures(loop: MemoryLoop) -> None:
    statistics = Statistics()
    async with loop.serving(echo, instruments=[statistics]) as server:
        peers = [await loop.connect(server) for _ in range(2)]
        for peer in peers:
            peer.stop_reading()
        await broadcast(server.clients, bytes(300_000), compress=False)
        await broadcast(server.clients, "left out", slow="drop")
        both = statistics.bytes_waiting
        assert both > 500_000
        peers[0].reset()
        await loop.settle()
        assert statistics.bytes_waiting == both // 2
        peers[1].start_reading()
        await loop.settle()
        assert statistics.bytes_waiting == 0
        assert statistics.messages_dropped == 2
        (await loop.dial(server)).vanish()
        await loop.settle()
    assert statistics.connections_rejected == {"handshake": 1}
    assert statistics.connections_closed == {1006: 1, 1001: 1}
