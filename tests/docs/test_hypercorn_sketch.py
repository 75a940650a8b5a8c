"""The sketch in docs/adapters.md: hypercorn with the core, on asyncio and on trio."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import pytest
from snippets import SNIPPETS

from kit.frames import BINARY, CLOSE, FIN, PING, PONG, TEXT, Frame, masked, parse
from kit.loops import Loop, on
from wstransports import ConnectionClosed, connect
from wstransports.runtime import running

hypercorn = pytest.importorskip("hypercorn", reason="hypercorn is not installed")

from h2.config import H2Configuration  # noqa: E402  # hypercorn needs it too
from h2.connection import H2Connection  # noqa: E402
from h2.events import DataReceived, ResponseReceived, StreamEnded  # noqa: E402

[SKETCH] = [snippet.code for snippet in SNIPPETS if snippet.name == "adapters-hypercorn"]

pytestmark = pytest.mark.slow


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An echo, which closes after "bye"."""
    while scope["type"] == "lifespan":
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return
    await receive()
    await send({"type": "websocket.accept", "headers": [(b"x-of", b"the application")]})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})
        if event.get("text") == "bye":
            await send({"type": "websocket.close", "code": 4000, "reason": "bye"})


@asynccontextmanager
async def serving(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Serve with the sketch; yields the port."""
    for version in ("h11", "h2"):
        module = import_module(f"hypercorn.protocol.{version}")
        monkeypatch.setattr(module, "WSStream", module.WSStream)  # as it was, at the end
    names: dict[str, Any] = {}
    exec(SKETCH, names)
    config = import_module("hypercorn.config").Config()
    config.errorlog = config.accesslog = None
    stop = loop.signal()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        config.bind = [f"fd://{listening.detach()}"]
    serve = import_module(f"hypercorn.{loop.name}").serve
    serving = loop.spawn(serve(app, config, shutdown_trigger=stop.wait))
    yield port
    stop.set()
    await serving.wait()


@on("asyncio", "trio")
async def test_an_echo(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        serving(loop, monkeypatch) as port,
        connect(f"ws://127.0.0.1:{port}/chat?a=b") as client,
    ):
        assert client.response is not None
        assert client.response.headers["X-Of"] == "the application"
        assert "Sec-WebSocket-Extensions" in client.response.headers
        for message in "text", b"bytes", "x" * 100_000:
            await client.writer.send(message)
            assert await client.receive() == message
        await client.writer.send("bye")
        assert await client.receive() == "bye"
        with pytest.raises(ConnectionClosed) as error:
            await client.receive()
        assert (error.value.code, error.value.reason) == (4000, "bye")


class Http2End:
    """A client's end of a WebSocket over HTTP/2 (RFC 8441), which blocks."""

    def __init__(self, sock: socket.socket) -> None:
        self.fields: dict[str, str] = {}
        """Of the response."""
        self.ended = False
        """The server has ended its half of the stream."""
        self._sock = sock
        self._input = b""
        self._http2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._http2.initiate_connection()
        while not self._http2.remote_settings.enable_connect_protocol:
            self.turn()
        self._http2.send_headers(
            1,
            [
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/chat?a=b"),
                (":authority", "127.0.0.1"),
                ("sec-websocket-version", "13"),
                ("origin", "http://127.0.0.1"),
            ],
        )
        while not self.fields:
            self.turn()

    def turn(self) -> None:
        """Send what waits, and receive something."""
        self._sock.sendall(self._http2.data_to_send())
        data = self._sock.recv(65536)
        assert data, "the server has closed the connection"
        for event in self._http2.receive_data(data):
            if isinstance(event, ResponseReceived):
                self.fields = {str(name): str(value) for name, value in event.headers}
            elif isinstance(event, DataReceived):
                self._http2.acknowledge_received_data(event.flow_controlled_length, 1)
                self._input += event.data
            elif isinstance(event, StreamEnded):
                self.ended = True

    def send(self, frame: bytes) -> None:
        """Send a frame, as the server's window allows."""
        while frame:
            size = min(
                self._http2.local_flow_control_window(1), self._http2.max_outbound_frame_size
            )
            self._http2.send_data(1, frame[:size])
            frame = frame[size:]
            if not size:
                self.turn()
        self._sock.sendall(self._http2.data_to_send())

    def frame(self) -> Frame:
        """The next frame."""
        while (parsed := parse(self._input)) is None:
            self.turn()
        self._input = self._input[parsed.size :]
        return parsed.frame


def talk_over_http2(port: int) -> None:
    """The same conversation as over HTTP/1.1."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        end = Http2End(sock)
        assert (end.fields[":status"], end.fields["x-of"]) == ("200", "the application")
        assert not {"upgrade", "connection", "sec-websocket-accept"} & {*end.fields}
        for first, payload in (FIN | TEXT, b"text"), (FIN | BINARY, b"bytes" * 50_000):
            end.send(masked(first, payload))
            assert end.frame() == Frame(first, payload)
        end.send(masked(FIN | PING, b"?"))
        assert end.frame() == Frame(FIN | PONG, b"?")
        end.send(masked(FIN | TEXT, b"bye"))
        assert end.frame() == Frame(FIN | TEXT, b"bye")
        close = Frame(FIN | CLOSE, (4000).to_bytes(2) + b"bye")
        assert end.frame() == close
        end.send(masked(*close[:2]))
        while not end.ended:
            end.turn()


@on("asyncio", "trio")
async def test_an_echo_over_http2(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(loop, monkeypatch) as port:
        await running().in_thread(lambda: talk_over_http2(port))
