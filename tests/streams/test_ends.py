"""How connections over anyio's streams end: cancelled, failed, refused; and nothing outlives."""

# ruff: noqa: E402  # the whole module is left out first

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("anyio", reason="anyio is not installed")

import anyio
from anyio.lowlevel import checkpoint
from in_process import MemoryStream, on_each_backend, stream_pair

from wscore import Reasons, State
from wstransports import (
    Client,
    ConnectionClosed,
    HandshakeError,
    Request,
    Response,
    WebSocketReader,
    WebSocketServer,
    broadcast,
)
from wstransports.anyio import AnyioRuntime, connect_stream, serve_stream

OnConnection = Callable[[Client], Awaitable[object]]

URI = "ws://localhost/"


async def echo(client: Client) -> None:
    """An on_connection."""

    @client.message
    async def on_message(reader: WebSocketReader) -> None:
        await client.writer.send(await reader.get())


@asynccontextmanager
async def served(on_connection: OnConnection, **options: Any) -> AsyncIterator[MemoryStream]:
    """A stream whose other end is served; in the end that is over."""
    near, far = stream_pair()

    async def serve() -> None:
        await serve_stream(far, on_connection, **options)

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        yield near
    assert far._closed


async def until(condition: Callable[[], object]) -> None:
    """Let the others run until it holds."""
    while not condition():
        await checkpoint()


# Cancelled


@on_each_backend
async def test_a_cancelled_serve_stream_cancels_its_callbacks_and_leaves_nothing(
    backend: str,
) -> None:
    told: list[str] = []

    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            told.append(f"closed with {code}")

        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            told.append("cancelled")
            raise

    near, far = stream_pair()
    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()

        async def serve() -> None:
            with scope:
                await serve_stream(far, on_connection)
            assert scope.cancelled_caught
            assert far._closed
            assert "cancelled" in told

        group.start_soon(serve)
        with pytest.raises(ConnectionClosed) as caught:
            async with connect_stream(near, URI) as client:
                scope.cancel()
                await client.receive()
        assert caught.value.code == Reasons.ABNORMAL_CLOSE
    assert sorted(told) == ["cancelled", "closed with 1006"]
    assert near._closed


@on_each_backend
async def test_a_cancelled_block_of_a_client_leaves_nothing(backend: str) -> None:
    async with served(echo) as near:
        with anyio.move_on_after(0.02) as scope:
            async with connect_stream(near, URI) as client:
                await client.receive()
        assert scope.cancelled_caught
        assert near._closed
        assert client.state is State.CLOSED


@on_each_backend
async def test_a_cancelled_opening_leaves_nothing(backend: str) -> None:
    near, far = stream_pair()
    with anyio.move_on_after(0.02) as scope:
        async with connect_stream(near, URI):
            raise AssertionError("nobody answers")
    assert scope.cancelled_caught
    assert near._closed


@on_each_backend
async def test_an_opening_that_takes_too_long_is_a_timeout(backend: str) -> None:
    near, far = stream_pair()
    with pytest.raises(TimeoutError, match="took longer than 0.02 s"):
        async with connect_stream(near, URI, open_timeout=0.02):
            raise AssertionError("nobody answers")
    assert near._closed


@on_each_backend
async def test_a_cancelled_receive_loses_nothing(backend: str) -> None:
    async with served(echo) as near, connect_stream(near, URI) as client:
        for _ in range(3):
            with anyio.move_on_after(0.005) as scope:
                await client.receive()
            assert scope.cancelled_caught
        await client.writer.send("here")
        assert await client.receive() == "here"


@on_each_backend
async def test_who_waits_for_room_is_cancelled_without_harm(backend: str) -> None:
    """The message is queued whole; that only its wait for room was cancelled breaks nothing."""
    go_on = anyio.Event()
    sizes: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await go_on.wait()
            sizes.append(len(await reader.get()))

    async with served(on_connection) as near, connect_stream(near, URI, compression=None) as client:
        with anyio.move_on_after(0.02) as scope:
            while True:
                await client.writer.send(bytes(100_000))
        assert scope.cancelled_caught
        go_on.set()
        await client.writer.send(b"last")
        await until(lambda: sizes and sizes[-1] == 4)
        assert set(sizes[:-1]) == {100_000}


# Failed


@on_each_backend
async def test_an_exception_in_a_callback_closes_its_client_with_1011(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            raise KeyError("a mistake")

    async with served(on_connection) as near:
        with pytest.raises(ConnectionClosed) as caught:
            async with connect_stream(near, URI) as client:
                await client.writer.send("")
                await client.receive()
    assert caught.value.code == Reasons.UNEXPECTED_CONDITION
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert isinstance(record.exc_info[1], KeyError)


def test_a_task_of_asyncios_that_is_cancelled_ends_only_who_awaits_it() -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            if await reader.get() == "cancelled":
                task = asyncio.create_task(asyncio.sleep(1000))
                task.cancel()
                await task
            await client.writer.send("well")

    async def main() -> None:
        async with asyncio.timeout(10), served(on_connection) as near:
            async with connect_stream(near, URI) as client:
                await client.writer.send("cancelled")
                await client.writer.send("")
                assert await client.receive() == "well"

    anyio.run(main)


def test_a_task_of_asyncios_is_cancelled_in_the_blocks() -> None:
    async def main() -> None:
        async with served(echo) as near:

            async def stay() -> None:
                async with connect_stream(near, URI) as client:
                    connected.set()
                    await client.receive()

            connected = asyncio.Event()
            task = asyncio.create_task(stay())
            await connected.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert near._closed

    anyio.run(main)


class Strange(MemoryStream):
    """Raises what no stream should."""

    what = ""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = await super().receive(max_bytes)
        if self.what == "receive":
            raise ZeroDivisionError
        return data

    async def send(self, item: bytes) -> None:
        if self.what == "send":
            raise ZeroDivisionError
        await super().send(item)

    async def send_eof(self) -> None:
        if self.what == "send_eof":
            raise ZeroDivisionError
        await super().send_eof()

    async def aclose(self) -> None:
        await super().aclose()
        if self.what == "aclose":
            raise ZeroDivisionError


@pytest.mark.parametrize(
    ("what", "code"),
    [("receive", 1006), ("send", 1006), ("send_eof", 1000), ("aclose", 1000)],
)
@on_each_backend
async def test_whatever_a_stream_raises_ends_that_connection_only(
    backend: str, what: str, code: int
) -> None:
    told: list[int] = []
    near, far = MemoryStream(), Strange()
    near._peer, far._peer = far, near

    async def on_connection(client: Client) -> None:
        await echo(client)

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            told.append(code)

    async with anyio.create_task_group() as group:
        group.start_soon(serve_stream, far, on_connection)
        async with connect_stream(near, URI) as client:
            far.what = what
            await client.writer.send("")
            if code == Reasons.NORMAL:
                assert await client.receive() == ""
                await client.close()
            else:
                with pytest.raises(ConnectionClosed):
                    await client.receive()
    assert told == [code]
    assert near._closed
    assert far._closed


@on_each_backend
async def test_a_stream_that_breaks_off_is_a_1006(backend: str) -> None:
    async with served(echo) as near:
        with pytest.raises(ConnectionClosed) as caught:
            async with connect_stream(near, URI) as client:
                await near.aclose()
                await client.receive()
        assert caught.value.code == Reasons.ABNORMAL_CLOSE


# Refused


@on_each_backend
async def test_a_refusal_is_raised_as_it_is(backend: str) -> None:
    async def refuse(request: Request) -> Response:
        return Response(403, {}, "no\n")

    async with served(echo, process_request=refuse) as near:
        with pytest.raises(HandshakeError, match="403") as caught:
            async with connect_stream(near, URI):
                raise AssertionError("it was refused")
        assert caught.value.body == b"no\n"
        assert near._closed


@on_each_backend
async def test_a_redirect_leads_nowhere(backend: str) -> None:
    async def redirect(request: Request) -> Response:
        return Response(302, {"Location": "ws://elsewhere/"})

    async with served(echo, process_request=redirect) as near:
        with pytest.raises(HandshakeError, match="0 redirects") as caught:
            async with connect_stream(near, URI):
                raise AssertionError("it was redirected")
        assert caught.value.headers["Location"] == "ws://elsewhere/"


@on_each_backend
async def test_a_stream_that_ends_is_no_server(backend: str) -> None:
    near, far = stream_pair()
    await far.aclose()
    with pytest.raises(OSError, match="opened no WebSocket"):
        async with connect_stream(near, URI):
            raise AssertionError("there is nobody")


# Mistakes


@on_each_backend
async def test_wss_takes_a_stream_with_tls(backend: str) -> None:
    near, _ = stream_pair()
    with pytest.raises(ValueError, match="takes a stream with TLS"):
        async with connect_stream(near, "wss://localhost/"):
            raise AssertionError("it would not be secure")


@on_each_backend
async def test_mistakes_are_named_at_the_call(backend: str) -> None:
    near, far = stream_pair()
    with pytest.raises(ValueError, match="http"):
        connect_stream(near, "http://localhost/")
    with pytest.raises(TypeError, match="async def"):
        await serve_stream(far, lambda client: checkpoint())
    async with AnyioRuntime() as runtime:
        with pytest.raises(ValueError, match="streams are handed in"):
            async with WebSocketServer(None, 0, unix_path="path", runtime=runtime):
                raise AssertionError("it cannot listen there")


@on_each_backend
async def test_a_stream_serves_one_connection(backend: str) -> None:
    from wstransports import connect

    async with served(echo) as near, AnyioRuntime(near) as runtime:
        async with connect(URI, proxy=None, runtime=runtime):
            with pytest.raises(ValueError, match="no stream left"):
                async with connect(URI, proxy=None, runtime=runtime):
                    raise AssertionError("there is one stream")


def test_without_anyio_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['anyio'] = None; import wstransports; import wstransports.anyio"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert run.returncode == 1
    assert "install the extra `anyio`" in run.stderr.splitlines()[-1]


# Many streams


@on_each_backend
async def test_one_server_serves_many_streams(backend: str) -> None:
    async with AnyioRuntime() as runtime:
        socket = WebSocketServer("", 0, runtime=runtime)

        @socket.connection
        async def on_connection(client: Client) -> None:
            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                await broadcast(socket.clients, await reader.get())

        codes: list[int] = []

        async def wait_for_the_end(client: Client) -> None:
            with pytest.raises(ConnectionClosed) as caught:
                await client.receive()
            codes.append(caught.value.code)

        pairs = [stream_pair() for _ in range(3)]
        async with AsyncExitStack() as stack:
            group = await stack.enter_async_context(anyio.create_task_group())
            async with socket as streams:
                for _, far in pairs:
                    group.start_soon(streams.serve, far)
                clients = [
                    await stack.enter_async_context(connect_stream(near, URI)) for near, _ in pairs
                ]
                await until(lambda: len(socket.clients) == 3)
                assert len({client.port for client in socket.clients.values()}) == 3
                await clients[1].writer.send("to all")
                assert [await client.receive() for client in clients] == ["to all"] * 3
                for client in clients:
                    group.start_soon(wait_for_the_end, client)
            await until(lambda: codes == [Reasons.GOING_AWAY] * 3)
