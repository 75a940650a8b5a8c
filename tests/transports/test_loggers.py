"""One id and one logger for each connection: all its log lines have both."""

import logging
import re
import ssl
from typing import Any

import pytest

import wstransports.sync
from kit.connecting import connecting
from kit.in_thread import serving
from kit.loops import Loop, MemoryLoop, echo, on, on_each_loop, on_memory
from wstransports import Client, Instrument, Request, WebSocketReader, WebSocketServer, connect


class Lines(logging.Handler):
    """Keeps the lines of a logger of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.logger = logging.Logger("a test's own", logging.INFO)
        self.logger.addHandler(self)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """As a Handler."""
        self.lines.append(record.getMessage())


class Failing(Instrument):
    """Raises when a connection opens."""

    def opened(self, client: Client) -> None:
        """As an Instrument."""
        raise ZeroDivisionError


@on_each_loop
async def test_each_line_of_a_connection_has_its_id(loop: Loop) -> None:
    """Those of a server and those of a client, whatever part of the library writes them."""
    theirs, ours = Lines(), Lines()
    ids: list[int | None] = []

    def process_request(request: Request) -> None:
        ids.append(request.id)

    async def on_connection(client: Client) -> None:
        ids.append(client.id)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            raise ZeroDivisionError

    options: dict[str, Any] = {"instruments": [Failing()], "process_request": process_request}
    async with loop.serving(on_connection, logger=theirs.logger, **options) as server:
        connection = connecting(server, logger=ours.logger, instruments=[Failing()])
        async with connection as client:
            await client.writer.send("a callback raises")
            await loop.until(lambda: len(theirs.lines) == 2)
            assert client.request.id == client.id
            assert f"<Client #{client.id} " in repr(client)
            number = rf"#{client.id}"
    assert ids[0] is not None
    assert ids[0] == ids[1] != client.id
    starts = [line.split(": ")[0] for line in theirs.lines]
    assert starts[0] == starts[1]
    assert starts[0].split(" ")[0] == f"#{ids[0]}"
    assert [line.split(": ")[1] for line in theirs.lines] == [
        "opened of an instrument raised",
        "on_message raised",
    ]
    [line] = ours.lines
    assert line.split(" ")[0].rstrip(":") == number
    assert line.endswith(": opened of an instrument raised")


@on_memory
async def test_a_request_that_a_program_creates_has_no_id(loop: MemoryLoop) -> None:
    assert Request("GET", "/").id is None


@on_memory
async def test_an_adapter_of_a_logger(loop: MemoryLoop) -> None:
    lines = Lines()

    class Named(logging.LoggerAdapter[logging.Logger]):
        def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
            return f"chat: {msg}", kwargs

    async with loop.serving(logger=Named(lines.logger, {})) as server:
        peer = await loop.connect(server)
        peer.raw(b"\xff\xff")
        await peer.closed()
    assert [line.partition(" #")[0] for line in lines.lines] == ["chat:"]


@on_memory
async def test_an_adapter_that_raises_harms_nobody(
    loop: MemoryLoop, capfd: pytest.CaptureFixture[str]
) -> None:
    class Broken(logging.LoggerAdapter[logging.Logger]):
        def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
            raise ZeroDivisionError

    logger = Broken(logging.getLogger("a test's own"), {})
    async with loop.serving(echo, logger=logger) as server:
        bad, good = await loop.connect(server), await loop.connect(server)
        bad.raw(b"\xff\xff")
        assert (await bad.closed())[0] == 1002
        good.send("undisturbed")
        assert await good.message() == "undisturbed"
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize("logger", ["wstransports", logging, print])
def test_what_is_not_a_logger(logger: Any) -> None:
    for make in (
        lambda: WebSocketServer("127.0.0.1", 0, logger=logger),
        lambda: connect("ws://127.0.0.1", logger=logger),
    ):
        with pytest.raises(TypeError, match="logger must be a logging.Logger, a LoggerAdapter or"):
            make()


@on_memory
async def test_reconnecting(loop: MemoryLoop) -> None:
    """Its lines are about no connection, and have the same logger."""
    lines = Lines()
    attempts = aiter(connect("ws://nowhere", logger=lines.logger, delays=[0]))
    with pytest.raises(OSError, match="cannot connect to ws://nowhere"):
        await anext(attempts)
    assert len(lines.lines) == 1
    assert lines.lines[0].endswith("; trying again in 0.0 s")


@on("asyncio", "trio")
async def test_what_a_listener_logs(
    loop: Loop,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A peer that does not speak TLS, and no descriptor for another."""
    lines = Lines()
    async with loop.serving(certs=contexts[0], logger=lines.logger) as server:
        peer = await loop.dial(server)
        peer.raw(b"GET / HTTP/1.1\r\n\r\n")
        await loop.until(lambda: lines.lines)
        failing, lines.lines = lines.lines, []
        monkeypatch.setattr(server._acceptor, "_make_session", None)
        await loop.dial(server)
        await loop.until(lambda: lines.lines)
    [line] = failing
    assert re.match(r"#\d+ 127\.0\.0\.1:\d+: the TLS handshake failed: ", line)
    assert lines.lines == ["cannot begin a connection"]


def test_without_async() -> None:
    lines = Lines()
    with serving(WebSocketServer("127.0.0.1", 0)) as port:
        options: dict[str, Any] = {"logger": lines.logger, "instruments": [Failing()]}
        with wstransports.sync.connect(f"ws://127.0.0.1:{port}", **options) as client:
            assert client.id == client.request.id
    assert lines.lines == [f"#{client.id} 127.0.0.1:{port}: opened of an instrument raised"]
