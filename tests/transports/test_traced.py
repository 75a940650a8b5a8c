"""DEBUG shows what passes: heads, frames, the latency of pings, pauses of reading, the end."""

import logging
import re
import ssl
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wstransports.sync
from kit.connecting import connecting, failure
from kit.frames import CLOSE, FIN, masked
from kit.in_thread import serving
from kit.loops import Loop, MemoryLoop, echo, on, on_each_loop, on_memory
from kit.proxies import proxying
from wstransports import Client, Request, Response, WebSocketReader, WebSocketServer, connect
from wstransports.connection.session import Session
from wstransports.connection.traced import Traced, traced
from wstransports.identity import Identity


class Lines(logging.Handler):
    """Keeps the lines of a logger of its own, at DEBUG, without the connection's number."""

    def __init__(self, level: int = logging.DEBUG) -> None:
        super().__init__()
        self.logger = logging.Logger("a test's own", level)
        self.logger.addHandler(self)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """As a Handler."""
        found = re.fullmatch(r"#\d+(?: 127\.0\.0\.1:\d+)?: (.*)", record.getMessage())
        assert found is not None, record.getMessage()
        assert found[1].isprintable()
        self.lines.append(found[1])

    def about(self, *words: str) -> list[str]:
        """The lines with one of these words."""
        return [line for line in self.lines if any(word in line for word in words)]


def short(lines: list[str]) -> list[str]:
    """Frames by opcode, length and content."""
    return [re.sub(r"FIN=1 RSV=000 opcode=\d+\((\w+)\) ", r"\1 ", line) for line in lines]


@on_each_loop
async def test_what_both_ends_show(loop: Loop) -> None:
    theirs, ours = Lines(), Lines()
    async with loop.serving(echo, logger=theirs.logger) as server:
        async with connecting(server, "/chat?room=5", logger=ours.logger) as client:
            await client.writer.send("Hello\n")
            await client.receive()
            await client.writer.send(b"\0\1")
            await client.receive()
        await loop.until(lambda: theirs.about("closed"))
    for lines, out, back in (ours.lines, ">", "<"), (theirs.lines, "<", ">"):
        heads = [line for line in lines if ": line=" in line]
        assert heads == [
            f"{out} request: line=GET /chat?room=... HTTP/1.1",
            f"{back} response: line=HTTP/1.1 101 Switching Protocols",
        ]
        assert f'{out} header: Upgrade="websocket"' in lines
        shown = short([line for line in lines if "opcode" in line])
        assert shown == [
            rf'{out} text length=6 text="Hello\n"',
            rf'{back} text length=6 text="Hello\n"',
            f"{out} binary length=2 data=0001",
            f"{back} binary length=2 data=0001",
            f'{out} close length=2 code=1000(NORMAL, normal closure) reason=""',
            f'{back} close length=2 code=1000(NORMAL, normal closure) reason=""',
        ]
    assert ours.lines[-1] == 'closed by us with 1000 "", answered with 1000 ""'
    assert theirs.lines[-1] == 'closed by the peer with 1000 "", answered with 1000 ""'


@on_memory
async def test_compressed_frames(loop: MemoryLoop) -> None:
    """Their length on the wire and that of the message, from both ends, in fragments too."""
    theirs = Lines()
    async with loop.serving(echo, logger=theirs.logger) as server:
        async with connecting(server) as client:
            await client.writer.send("x" * 5000)
            await client.receive()
            async with client.writer.fragment() as stream:
                await stream.send("y" * 2000)
                await stream.send("y" * 3000)
            await client.receive()
    sizes = [
        re.findall(r"RSV=(\d+) .* length=(\d+) inflated=\((\d+) bytes\)", line)
        for line in theirs.about("inflated")
    ]
    assert [(rsv, size) for [(rsv, _, size)] in sizes] == [
        *[("100", "5000")] * 2,
        ("100", "2000"),
        ("000", "3000"),
        ("100", "5000"),
    ]
    assert all(0 < int(wire) < 50 for [(_, wire, _)] in sizes)
    assert "(text, 2 frames, " in theirs.about("5000 inflated")[0]


@on("memory", "asyncio", "trio")
async def test_a_large_message(loop: Loop) -> None:
    """Its header and its payload are written separately."""
    theirs = Lines()
    async with loop.serving(echo, logger=theirs.logger, compression=None) as server:
        async with connecting(server, compression=None) as client:
            await client.writer.send(bytes(500_000))
            await client.receive()
    assert short(theirs.about("binary")) == [
        f"{sign} binary length=500000 data={'00' * 32}..." for sign in "<>"
    ]


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("kind", ["http", "socks5"])
@on("asyncio", "trio")
async def test_through_a_proxy(
    loop: Loop, kind: str, secure: bool, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """What passes to and from the server, but not the talk with the proxy, nor TLS."""
    ours = Lines()
    certs, trusting = contexts if secure else (None, None)
    async with (
        loop.serving(echo, certs=certs) as server,
        proxying(kind, server.port, "ada:secret") as proxy,
    ):
        uri = f"ws{'s' * secure}://127.0.0.1:{server.port}/"
        url = f"{kind}://ada:secret@127.0.0.1:{proxy.port}"
        options: dict[str, Any] = {"proxy": url, "ssl": trusting, "compression": None}
        async with connect(uri, logger=ours.logger, **options) as client:
            await client.writer.send("Hello")
            await client.receive()
    assert short(ours.about(": line=", "Hello", "closed by")) == [
        "> request: line=GET / HTTP/1.1",
        "< response: line=HTTP/1.1 101 Switching Protocols",
        '> text length=5 text="Hello"',
        '< text length=5 text="Hello"',
        'closed by us with 1000 "", answered with 1000 ""',
    ]


@on_memory
async def test_pings_with_their_latency(loop: MemoryLoop) -> None:
    """The keepalive's, and those that the application sends."""
    theirs = Lines()
    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        clients.append(client)
        await echo(client)

    async with loop.serving(on_connection, logger=theirs.logger, timeout=20) as server:
        peer = await loop.connect(server)
        await clients[0].writer.ping(b"ours")
        payload = (await peer.frame()).payload
        await loop.advance(0.25)
        peer.pong(payload)
        await loop.advance(10.5)
        ping = await peer.frame()
        peer.pong(b"unasked")
        peer.pong(ping.payload)
        await loop.settle()
    pongs = theirs.about("(pong)")
    assert pongs[0].endswith("data=6f757273 latency=250.0ms")
    assert pongs[1].endswith("data=" + b"unasked".hex())
    assert re.search(r"latency=\d+\.\d+ms$", pongs[2])


@on_memory
async def test_pings_without_pongs_are_forgotten(loop: MemoryLoop) -> None:
    theirs = Lines()

    async def on_connection(client: Client) -> None:
        for number in range(40):
            await client.writer.ping(b"%d" % number)

    async with loop.serving(on_connection, logger=theirs.logger) as server:
        peer = await loop.connect(server)
        for number in range(40):
            peer.pong(b"%d" % number)
        await loop.settle()
    assert len(theirs.about("latency=")) == 16


@on_memory
async def test_a_flood_of_closes_is_not_kept(loop: MemoryLoop) -> None:
    """The first of each end says how the connection closed."""
    theirs = Lines()
    async with loop.serving(logger=theirs.logger) as server:
        peer = await loop.connect(server)
        [session] = server._acceptor._sessions
        pipe: Any = session.pipe
        peer.answers_close = False
        peer.raw(b"".join(masked(FIN | CLOSE, code.to_bytes(2)) for code in range(4000, 4100)))
        assert await peer.closed() == (4000, "")
        assert len(theirs.about("(close)")) == 101
        assert len(pipe._trace._closes) == 2
    assert theirs.lines[-1] == 'closed by the peer with 4000 "", answered with 4000 ""'


# Pauses.


@on_memory
async def test_a_pause_because_too_much_is_unread(loop: MemoryLoop) -> None:
    theirs = Lines()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await go_on.wait()

    go_on = loop.signal()
    async with loop.serving(on_connection, logger=theirs.logger, read_limit=10) as server:
        peer = await loop.connect(server)
        for _ in range(3):
            peer.send("x" * 100)
        await loop.settle()
        assert theirs.about("reading") == ["reading pauses: too much is unread"]
        go_on.set()
        await loop.settle()
        assert theirs.about("reading")[-1] == "reading goes on"


@on_memory
async def test_a_pause_until_the_request_is_answered(loop: MemoryLoop) -> None:
    theirs = Lines()

    async def process_request(request: Request) -> None:
        await loop.checkpoint()

    async with loop.serving(process_request=process_request, logger=theirs.logger) as server:
        await loop.connect(server)
    pauses = ["reading pauses: the request is not answered yet", "reading goes on"]
    assert theirs.about("reading") == pauses


@on_memory
async def test_a_pause_after_the_loss(loop: MemoryLoop) -> None:
    """Input that had arrived is still handled then, and may be too much."""
    theirs = Lines()
    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        clients.append(client)

    async with loop.serving(on_connection, logger=theirs.logger) as server:
        peer = await loop.connect(server)
        peer.reset()
        await loop.settle()
        clients[0]._session.pipe.pause_reading()
    assert theirs.about("reading") == []


@on_memory
async def test_a_pause_because_of_a_rate(loop: MemoryLoop) -> None:
    theirs = Lines()
    options: dict[str, Any] = {"max_messages_per_second": 1, "logger": theirs.logger}
    async with loop.serving(echo, **options) as server:
        peer = await loop.connect(server)
        peer.send("1")
        await loop.advance(2)
    pause = "reading pauses: the peer has sent all that it may in this second"
    assert theirs.about("reading") == [pause, "reading goes on"]


# The end.


@on_memory
async def test_who_closed(loop: MemoryLoop) -> None:
    theirs = Lines()

    async def on_connection(client: Client) -> None:
        if client.request.path == "/ours":
            await client.close(4001, "enough")

    async with loop.serving(on_connection, logger=theirs.logger, close_timeout=1) as server:
        peer = await loop.connect(server, target="/ours")
        assert await peer.closed() == (4001, "enough")
        peer = await loop.dial(server, target="/ours")
        peer.answers_close = False
        peer.handshake()
        await loop.advance(30)
        peer = await loop.connect(server)
        peer.close(4002, "line\nbreak")
        await loop.settle()
        peer = await loop.connect(server)
        peer.raw(b"\x82\x85abcd12")
        await loop.settle()
        peer.reset()
        await loop.settle()
        peer = await loop.dial(server)
        peer.reset()
        await loop.settle()
    assert theirs.about("closed by", "lost without", "closed in") == [
        'closed by us with 4001 "enough", answered with 4001 "enough"',
        'closed by us with 4001 "enough", not answered',
        r'closed by the peer with 4002 "line\nbreak", answered with 4002 "line\nbreak"',
        "lost without a Close: [Errno 104] Connection reset by peer",
        "closed in the opening handshake: [Errno 104] Connection reset by peer",
    ]
    assert theirs.about("missing") == [
        "< FIN=1 RSV=000 opcode=2(binary) length=5 data=5050 missing=(3 bytes of the payload)"
    ]


@on_memory
async def test_a_frame_that_breaks_a_rule(loop: MemoryLoop) -> None:
    """It is the last one shown of its direction, so nothing is said of an answer."""
    theirs = Lines()
    async with loop.serving(logger=theirs.logger) as server:
        peer = await loop.connect(server)
        peer.raw(b"\x83\x80abcd")
        assert await peer.closed() == (1002, "unknown opcode 3")
    assert theirs.about("reserved") == [
        "< FIN=1 RSV=000 opcode=3(reserved) length=0 data=-"
        "  WRONG: unknown opcode 3 (RFC 6455, 5.2)"
    ]
    assert theirs.lines[-1] == 'closed by us with 1002 "unknown opcode 3"'


@on("memory", "asyncio", "trio")
async def test_requests_that_are_refused(loop: Loop) -> None:
    theirs, ours = Lines(), Lines()

    def process_request(request: Request) -> Response:
        return Response(403, {"Content-Type": "text/plain"}, "no\n")

    async with loop.serving(process_request=process_request, logger=theirs.logger) as server:
        await failure(connecting(server, logger=ours.logger))
        peer = await loop.dial(server)
        peer.raw(b"\x16\x03\x01")
        await loop.until(lambda: theirs.about("not HTTP", "incomplete"))
        peer.reset()
        await loop.until(lambda: len(theirs.about("closed in")) == 2)
    assert "> response: line=HTTP/1.1 403 Forbidden" in theirs.lines
    assert "> body: data=6e6f0a" in theirs.lines
    assert "< body: data=6e6f0a" in ours.lines
    assert "< incomplete: data=160301" in theirs.lines


@on("asyncio", "trio")
async def test_a_tls_handshake_that_fails_shows_nothing(
    loop: Loop, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    theirs = Lines()
    async with loop.serving(certs=contexts[0], logger=theirs.logger) as server:
        peer = await loop.dial(server)
        peer.raw(b"GET / HTTP/1.1\r\n\r\n")
        await loop.until(lambda: theirs.lines)
    assert [line.partition(": ")[0] for line in theirs.lines] == ["the TLS handshake failed"]


# What it costs, and that it harms nothing.


@on_memory
async def test_without_debug_the_session_itself_is_the_sink(loop: MemoryLoop) -> None:
    sinks: list[Any] = []
    for level in logging.INFO, logging.DEBUG:
        lines = Lines(level)
        async with loop.serving(logger=lines.logger) as server:
            peer = await loop.connect(server)
            [session] = server._acceptor._sessions
            sinks.append(traced(session))
            assert bool(lines.lines) is (level == logging.DEBUG)
            peer.close()
            await loop.settle()
    assert [type(sink) for sink in sinks] == [Session, Traced]


@on_memory
async def test_a_logger_that_raises_when_it_is_asked_is_not_used(
    loop: MemoryLoop, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(logging.LoggerAdapter[logging.Logger]):
        def isEnabledFor(self, level: int) -> bool:  # logging's name
            raise ZeroDivisionError

    assert not Identity(Broken(logging.getLogger("a test's own"), {})).shows(logging.DEBUG)
    assert "ZeroDivisionError" in capfd.readouterr().err
    monkeypatch.setattr(logging, "raiseExceptions", False)
    assert not Identity(Broken(logging.getLogger("a test's own"), {})).shows(logging.DEBUG)
    assert capfd.readouterr().err == ""


@on("memory", "asyncio", "trio")
async def test_a_handler_that_raises_for_each_line_harms_nobody(
    loop: Loop, capfd: pytest.CaptureFixture[str]
) -> None:
    class Broken(Lines):
        def emit(self, record: logging.LogRecord) -> None:
            self.lines.append(record.getMessage())
            raise ZeroDivisionError

    broken = Broken()
    async with loop.serving(echo, logger=broken.logger) as server:
        async with connecting(server, logger=broken.logger) as client:
            await client.writer.send("Hello")
            assert await client.receive() == "Hello"
    assert len(broken.lines) > 20
    assert capfd.readouterr().err.count("\nZeroDivisionError\n") == len(broken.lines)


@settings(max_examples=60)
@given(data=st.lists(st.binary(max_size=300), max_size=5), opened=st.booleans())
def test_any_bytes_are_shown_and_change_nothing(data: list[bytes], opened: bool) -> None:
    """The peer gets the same bytes as without it."""

    def answers(level: int) -> str:
        loop, taken = MemoryLoop(), []

        async def main() -> None:
            async with loop.serving(echo, logger=Lines(level).logger) as server:
                peer = await (loop.connect if opened else loop.dial)(server)
                for piece in data:
                    peer.raw(piece)
                    await loop.settle()
                taken.append(repr(peer.frames) + repr(peer.response and peer.response.status))
                peer.frames.clear()

        loop.run(main)
        return taken[0]

    assert answers(logging.DEBUG) == answers(logging.CRITICAL)


def test_without_async() -> None:
    lines = Lines()
    server = WebSocketServer("127.0.0.1", 0)
    server.connection(echo)
    with serving(server) as port:
        with wstransports.sync.connect(f"ws://127.0.0.1:{port}", logger=lines.logger) as client:
            client.send("Hello")
            client.receive()
    assert short(lines.about("Hello"))[:1] == ['> text length=5 text="Hello"']
