"""What peers send, and the secrets of both ends, in the log: escaped, and not at all.

Each part of the library that logs something that it was given has its scenario here.
"""

import ast
import logging
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import wstransports
from kit.frames import CLOSE, FIN, RSV1, TEXT, masked
from kit.handshake import KEY
from kit.loops import Loop, MemoryLoop, on, on_each_loop, on_memory
from kit.peer import Peer
from kit.raw_server import End
from kit.rooms import FakeBroker, hall
from wstransports import (
    Accept,
    Client,
    Instrument,
    Request,
    WebSocketReader,
    connect,
)
from wstransports.log import log

# A line of its own, a colour, and what shows text backwards.
FORGED = "\r\nCRITICAL:root:forged\x1b[31m\x9b\u2028\u202e"
FORGED_BYTES = b"\r\nCRITICAL:root:forged\x1b[31m\x9b"

CREDENTIAL = "sesame1"  # in no line at all
TOKEN = "sesame2"  # in a query: its value is in no line either
CONTENT = "sesame3"  # of a message: only DEBUG shows it

HEADERS = {
    "Authorization": f"Bearer {CREDENTIAL}",
    "Proxy-Authorization": f"Basic {CREDENTIAL}",
    "Cookie": f"session={CREDENTIAL}",
    "Referer": f"https://ada:{CREDENTIAL}@example.org/?token={TOKEN}",
}


class Everything(logging.Handler):
    """All that is logged, formatted, tracebacks included."""

    def __init__(self) -> None:
        super().__init__()
        self.logger = logging.Logger("a test's own", logging.DEBUG)
        self.logger.addHandler(self)
        self.texts: list[tuple[logging.LogRecord, str]] = []
        self._formatter = logging.Formatter("%(levelname)s:%(name)s:%(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        """As a Handler."""
        self.texts.append((record, self._formatter.format(record)))

    def says(self, *phrases: str) -> bool:
        """Whether each phrase is in a line above DEBUG."""
        above = [text for record, text in self.texts if record.levelno > logging.DEBUG]
        missing = [phrase for phrase in phrases if not any(phrase in text for text in above)]
        assert not missing, above
        return True

    def check(self) -> None:
        """Nothing is forged, and no secret is shown."""
        for record, text in self.texts:
            first, *others = text.split("\n")
            assert all(line.isprintable() for line in (first, *others)), text
            assert not any(line.startswith("CRITICAL") for line in others), text
            assert not others or record.exc_info, text
            assert CREDENTIAL not in text
            assert TOKEN not in text
            assert record.levelno == logging.DEBUG or CONTENT not in text


@pytest.fixture
def everything() -> Iterator[Everything]:
    found = Everything()
    yield found
    assert found.texts
    found.check()


def target(path: str = "/") -> str:
    return f"{path}?token={TOKEN}"


class Failing(Instrument):
    """Raises when a handshake fails."""

    def rejected(self, status: int, reason: str) -> None:
        """As an Instrument."""
        raise ZeroDivisionError


def heads() -> Iterator[bytes]:
    """Requests with hostile bytes in each of their parts, and with secrets."""
    secrets = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items()).encode()
    good = {
        b"Host": b"localhost",
        b"Upgrade": b"websocket",
        b"Connection": b"Upgrade",
        b"Sec-WebSocket-Key": KEY.encode(),
        b"Sec-WebSocket-Version": b"13",
        b"Origin": b"https://evil.example",
        b"Sec-WebSocket-Protocol": b"chat",
        b"Sec-WebSocket-Extensions": b"permessage-deflate",
    }
    line = b"GET %b HTTP/1.1\r\n" % target().encode()

    def head(start: bytes, fields: dict[bytes, bytes]) -> bytes:
        lines = b"".join(b"%b: %b\r\n" % field for field in fields.items())
        return start + lines + secrets + b"\r\n"

    yield head(line, good)  # its origin is not allowed
    for name in good:
        for hostile in (FORGED_BYTES, FORGED_BYTES.strip(), b"\xff\x00"):
            yield head(line, {**good, name: good[name] + hostile})
    for start in (b"GET /%b HTTP/1.1\r\n", b"POST /%b HTTP/1.1\r\n", b"%b / HTTP/1.1\r\n"):
        yield head(start % FORGED_BYTES, good)
    yield head(line.replace(b"GET", b"POST"), good)
    yield FORGED_BYTES * 3 + b"\r\n\r\n"


@on_each_loop
async def test_requests(loop: Loop, everything: Everything) -> None:
    """acceptor.py: a handshake that fails; instruments.py."""
    options: dict[str, Any] = {"instruments": [Failing()], "logger": everything.logger}
    async with loop.serving(origins=["https://good.example"], **options) as server:
        for head in heads():
            peer = await loop.dial(server)
            peer.raw(head)
            await peer.answer()
            peer.reset()
        await loop.until(lambda: not server._acceptor._sessions)
    assert everything.says(
        "handshake failed: this origin is not allowed",
        "handshake failed: this is not an HTTP/1.1 request",
        "rejected of an instrument raised",
    )


@on_each_loop
async def test_hooks_and_limits(loop: Loop, everything: Everything) -> None:
    """acceptor.py: refusals; callbacks.py: hooks that raise."""

    def process_request(request: Request) -> Accept:
        if request.path == "/raise":
            raise RuntimeError("an error of ours")
        return Accept(headers={"Set-Cookie": f"session={CREDENTIAL}"}, subprotocol="chat")

    async with loop.serving(
        process_request=process_request,
        basic_auth=("Ada", CREDENTIAL),
        subprotocols=["chat"],
        max_connections=1,
        logger=everything.logger,
    ) as server:
        uri = f"ws://Ada:{CREDENTIAL}@{server.addr}:{server.port}"
        for path in "/raise", "/":
            with pytest.raises(wstransports.HandshakeError) as caught:
                address = uri if path == "/raise" else uri.replace("Ada:", "Eve:")
                await connect(address + target(path), subprotocols=["chat"]).__aenter__()
            assert CREDENTIAL not in str(caught.value)
            assert TOKEN not in str(caught.value)
            await loop.until(lambda: not server._acceptor._sessions)
        peer = await loop.dial(server)
        peer.raw(b"GET %b HTTP/1.1\r\nHost: x\r\n" % target().encode())
        await loop.until(lambda: server._acceptor._sessions)
        refused = await loop.dial(server)
        await refused.answer()
        peer.reset()
    assert everything.says(
        "process_request raised", "basic authentication failed", "refused with 503"
    )


@on_each_loop
async def test_messages(loop: Loop, everything: Everything) -> None:
    """callbacks.py, inbox.py, session.py, limited_session.py: what follows from messages."""

    async def on_connection(client: Client) -> None:
        path = client.request.path
        if path == "/unread":
            return

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            if path == "/rate":
                return
            if path == "/json":
                await reader.json()
            elif path == "/bytes":
                (await reader.get(bytes)).decode("ascii")
            else:
                raise RuntimeError("an error of ours")

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            raise RuntimeError("another of ours")

    async with loop.serving(
        on_connection,
        logger=everything.logger,
        max_messages_per_second=3,
        rate_policy="close",
    ) as server:
        text = CONTENT + FORGED
        sent: dict[str, Callable[[Peer], object]] = {
            "/unread": lambda peer: peer.send(text),
            "/json": lambda peer: peer.send(text),
            "/bytes": lambda peer: peer.send("\xe4" + text),
            "/raise": lambda peer: peer.send(text.encode()),
            "/rate": lambda peer: peer.raw(masked(FIN | TEXT, text.encode()) * 4),
            "/opcode": lambda peer: peer.raw(b"\x83\x80abcd" + text.encode()),
            "/code": lambda peer: peer.raw(masked(FIN | CLOSE, b"\x03\xed" + text.encode())),
            "/utf8": lambda peer: peer.raw(masked(FIN | CLOSE, b"\x03\xe8\xff" + text.encode())),
            "/deflate": lambda peer: peer.raw(masked(FIN | RSV1 | TEXT, text.encode())),
        }
        for path, send in sent.items():
            peer = await loop.connect(server, target=target(path), headers=HEADERS)
            send(peer)
            if path != "/unread":
                await peer.closed()
    assert everything.says(
        "messages are discarded",
        "on_message raised",
        "on_closed raised",
        "closed with 1008, more messages a second than allowed",
        "failed with 1002, unknown opcode 3",
        "failed with 1002, a Close with the invalid code 1005",
        "failed with 1007, a close reason is not valid UTF-8",
    )


@on_memory
async def test_the_ends_of_connections(loop: MemoryLoop, everything: Everything) -> None:
    """callbacks.py: about a neighbour; session.py: the keepalive, and what is not read."""
    clients: dict[str, Client] = {}

    async def on_connection(client: Client) -> None:
        clients[client.request.path] = client

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            if client.request.path == "/unread":
                await loop.signal().wait()
            await clients["/gone"].writer.send("to a neighbour")

    loop.runtime.chunk = 2**18
    options: dict[str, Any] = {"timeout": 10, "read_limit": 100, "logger": everything.logger}
    async with loop.serving(on_connection, **options) as server:
        gone = await loop.connect(server, target=target("/gone"), headers=HEADERS)
        gone.close(4000, CONTENT[:3] + FORGED)
        await gone.closed()
        peer = await loop.connect(server, target=target("/alive"))
        peer.send(CONTENT + FORGED)
        unread = await loop.connect(server, target=target("/unread"))
        unread.raw(masked(FIN | TEXT, FORGED.encode()) * 1000)
        await loop.settle()
        unread.reset()
        await loop.advance(30)
    assert everything.says(
        "on_message ended because another client is closed: 4000 (private code): ses",
        "dropped, keepalive: nothing was received for 10 s",
        "connection lost, input beyond read_limit is dropped",
    )


@on("memory", "asyncio", "trio")
async def test_what_a_server_answers(loop: Loop, everything: Everything) -> None:
    """reconnection.py: attempts that fail, and connections that end."""
    hostile = FORGED_BYTES.strip()
    answers = [
        b"HTTP/1.1 503 %b\r\nSet-Cookie: a=%b\r\n\r\n" % (hostile, CREDENTIAL.encode()),
        b"HTTP/1.1 503 x\r\nX: %b\r\n\r\n" % hostile,
        b"HTTP/1.1 302 Found\r\nLocation: ws://ada:%b@[/?%b\r\n\r\n"
        % (CREDENTIAL.encode(), TOKEN.encode()),
        b"HTTP/1.1 302 Found\r\nLocation: wss://ada:%b@\x1b/?%b\r\n\r\n"
        % (CREDENTIAL.encode(), TOKEN.encode()),
        FORGED_BYTES * 3 + b"\r\n\r\n",
        b"",
    ]
    cookies = {name: value for name, value in HEADERS.items() if name != "Authorization"}
    said: list[str] = []
    number = 0

    async def talk(end: End) -> None:
        nonlocal number
        number += 1
        if number <= len(answers):
            await end.head()
            end.write(answers[number - 1])
            end.pipe.close()
        else:
            secret = f"Set-Cookie: session={CREDENTIAL}\r\n".encode()
            await end.accept(headers=secret)
            end.write(
                b"\x88" + bytes([2 + len(FORGED_BYTES)]) + b"\x0f\xa0" + FORGED_BYTES[:-1] + b"."
            )
            end.pipe.close()

    def retry(error: Exception) -> bool:
        said.append(str(error))
        return True

    async with loop.listening(talk) as raw:
        uri = f"ws://ada:{CREDENTIAL}@{raw.host}:{raw.port}{target()}"
        clients = aiter(
            connect(uri, headers=cookies, logger=everything.logger, retry=retry, delays=[0] * 20)
        )
        client = await anext(clients)
        with pytest.raises(wstransports.ConnectionClosed) as closed:
            await client.receive()
        said.append(str(closed.value))
        await anext(clients)
        await clients.aclose()
    for text in said:
        assert text.isprintable()
        assert CREDENTIAL not in text
        assert TOKEN not in text
    assert len(said) == len(answers) + 1
    assert everything.says("; trying again in", "closed with 4000", "refused with 503")


@on("asyncio", "trio")
async def test_proxies(loop: Loop, everything: Everything, monkeypatch: pytest.MonkeyPatch) -> None:
    """reconnection.py: a proxy that is not there, or no proxy at all."""

    async def talk(end: End) -> None:
        await end.read(1)
        end.write(b"HTTP/1.1 502 %b\r\n\r\n" % FORGED_BYTES.strip())
        end.pipe.close()

    async with loop.listening(talk) as raw:
        said: list[str] = []
        for scheme in "http", "https", "socks5", "socks4":
            for where in f"{raw.host}:{raw.port}", f"{raw.host}:1", "[", "host:x":
                proxy = f"{scheme}://ada:{CREDENTIAL}@{where}"
                monkeypatch.setenv("ws_proxy", proxy)
                monkeypatch.setenv("http_proxy", proxy)
                uri = f"ws://eve:{CREDENTIAL}@example.org{target()}"
                attempts = aiter(
                    connect(uri, logger=everything.logger, retry=lambda _: True, delays=[0])
                )
                with pytest.raises((OSError, ValueError)) as caught:
                    await anext(attempts)
                said.append(str(caught.value))
    for text in said:
        assert text.isprintable(), text
        assert CREDENTIAL not in text
        assert TOKEN not in text
    assert len(set(said)) > 4


@on("asyncio", "trio")
async def test_tls(
    loop: Loop, contexts: tuple[ssl.SSLContext, ssl.SSLContext], everything: Everything
) -> None:
    """socket_listener.py: what is not TLS."""
    async with loop.serving(certs=contexts[0], logger=everything.logger) as server:
        peer = await loop.dial(server)
        peer.raw(next(heads()) + FORGED_BYTES)
        await loop.until(lambda: everything.texts)
    assert everything.says("the TLS handshake failed")


@on_memory
async def test_rooms(loop: MemoryLoop, everything: Everything) -> None:
    """rooms/: names of rooms may come from clients."""
    broker = FakeBroker()
    async with hall(loop, {"logger": everything.logger}, broker=broker, drain=0) as house:
        house.rooms.render(lambda publication: str(1 / 0))
        await house.join(FORGED)
        await house.rooms.publish(FORGED, CONTENT)
        broker.engine.forget(FORGED)
        await house.rooms.publish(FORGED, CONTENT)
        await loop.settle()
        await house.join(FORGED)
        broker.fails["read"] = ZeroDivisionError()
        broker.engine.publish(FORGED, CONTENT)
        broker.engine.forget(FORGED)
        await house.rooms.publish(FORGED, CONTENT)
        await loop.settle()
        broker.lose(FORGED)
    for said in (
        "rooms.render raised for e1.1 of room",
        "1 members of room",
        "the broker failed in room",
        "the rooms' broker is lost",
    ):
        assert everything.says(said), said


@on_memory
async def test_whatever_is_logged_is_escaped(loop: MemoryLoop, everything: Everything) -> None:
    """log.py does that, so that no call can forget it."""
    log(everything.logger, logging.INFO, "%s of %s", FORGED, 2)
    assert everything.texts[0][1].endswith(
        r":\r\nCRITICAL:root:forged\x1b[31m\x9b\u2028\u202e of 2"
    )


# What is logged besides constants, by file, and the test above that logs it with hostile content;
# or what it is made of, if that is ours alone.
LOGGED = {
    "acceptor.py": {
        "f'refused with 503: {reason or FULL}'": "constants",
        "f'handshake failed: {reason}'": "test_requests",
    },
    "adapters/anyio.py": {"what": "a constant"},
    "adapters/socket_listener.py": {
        "error.strerror": "the system's words",
        "f'the TLS handshake failed: {cause}'": "test_tls",
    },
    "asgi/exchange.py": {
        "f'handshake failed: {event.reason}'": "the core's words, as in test_requests",
        "what": "what the application returned",
    },
    "callbacks.py": {
        "f'{name} raised'": "test_messages",
        "f'{name} was cancelled'": "names of callbacks",
        "what": "test_the_ends_of_connections",
    },
    "connecting/reconnection.py": {
        "text": "test_what_a_server_answers",
        "seconds": "a number",
    },
    "connection/limited_session.py": {"what": "test_messages"},
    "connection/session.py": {
        "f'dropped, TLS failed: {tls_cause(exc)}'": "OpenSSL's words",
        "f'dropped, {event.reason}'": "test_the_ends_of_connections",
        "f'failed with {event.code:d}, {event.reason}'": "test_messages",
        "what": "a constant",
    },
    "connection/traced.py": {
        "f'reading pauses: {REASONS[self.intake.pause_reasons]}'": "constants",
        "f'{sign} {line}' if part.kind == 'frame' else f'{sign} {part.kind}: {line}'": "each test",
        "how if error is None else f'{how}: {printable(str(error))}'": "each test",
        "what": "the lines above",
    },
    "identity.py": {"before": "a number", "str(self)": "a number and an address", "what": "all"},
    "instruments.py": {"what": "test_requests"},
    "log.py": {"message": "the format of a line", "*shown": "escaped"},
    "log_limit.py": {
        "message + more": "the format of a line and a number",
        "*args": "escaped by log.py",
    },
    "receiving/inbox.py": {"what": "a constant"},
    "rooms/redis/broker.py": {
        "what": "a constant",
        "*where": "the application's name of a room, and test_redis_url: no user, no password",
    },
    "rooms/redis/pair.py": {
        "what": "a constant",
        "last": "escaped: test_redis_return",
    },
    "rooms/hub.py": {
        "len(clients)": "a number",
        "room.name": "test_rooms",
        "str(error)": "test_rooms",
        "what": "a constant",
    },
    "rooms/rendering.py": {
        "*about": "an epoch of the broker and a number, and test_rooms",
        "what": "a constant",
    },
    "rooms/subscription.py": {
        "self.name": "test_rooms",
        "str(error)": "the broker's words",
        "what": "a constant",
    },
    "runtime.py": {"what": "a constant"},
    "uvicorn.py": {
        "client": "an address",
        "path": "quoted by uvicorn",
        "answer": "constants",
        "peer": "an address",
        "what": "constants",
    },
    "workers/supervise.py": {"text": "test_supervisor: numbers of workers, and how they ended"},
}

# Arguments that choose where a line goes.
_WHERE = ("level", "logger", "LEVEL", "LOGGER")


def test_nothing_else_is_logged() -> None:
    """Whatever is logged in addition has to be looked at, and gets its place in LOGGED."""
    found: dict[str, set[str]] = {}
    folder = Path(wstransports.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "log":
                said = {ast.unparse(one) for one in node.args if not isinstance(one, ast.Constant)}
                said = {one for one in said if not one.endswith(_WHERE) and "logging." not in one}
                if said:
                    found.setdefault(path.relative_to(folder).as_posix(), set()).update(said)
    assert found == {name: set(logged) for name, logged in LOGGED.items()}
