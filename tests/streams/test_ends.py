"""How connections over anyio's streams end: failed, refused; and nothing outlives."""

import asyncio
import importlib
import logging
import subprocess
import sys
from collections.abc import Collection
from contextlib import AsyncExitStack
from contextvars import copy_context
from typing import cast

import pytest

pytest.importorskip("anyio", reason="anyio is not installed")

import anyio
from anyio.lowlevel import checkpoint
from served import URI, echo, served, until

from kit.in_process import MemoryStream, on_each_backend, stream_pair
from wscore import Reasons
from wstransports import (
    Client,
    ConnectionClosed,
    HandshakeError,
    Request,
    Response,
    WebSocketReader,
    WebSocketServer,
    broadcast,
    connect,
)
from wstransports.adapters.anyio_pipe import AnyioPipe
from wstransports.anyio import AnyioListener, AnyioRuntime, connect_stream, serve_stream

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


@on_each_backend
async def test_an_exception_during_a_cancellation_ends_its_connection_only(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """On trio a task group raises both as one, which is not an Exception."""

    async def fail_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError("a mistake")

    async with served(echo) as near, connect_stream(near, URI, close_timeout=0.05) as client:
        begun = anyio.Event()

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(fail_when_cancelled)
                group.start_soon(anyio.sleep_forever)
                begun.set()

        await client.writer.send("")
        await begun.wait()
        await anyio.wait_all_tasks_blocked()
    [record] = caplog.records
    assert record.exc_info
    assert isinstance(record.exc_info[1], ExceptionGroup)
    assert record.exc_info[1].subgroup(KeyError)


@pytest.mark.parametrize("lost", [False, True])
@on_each_backend
async def test_a_mistake_of_ours_in_a_task_ends_its_connection_only(
    backend: str, caplog: pytest.LogCaptureFixture, lost: bool
) -> None:
    """The contract allows none: but one would end the block, with all streams that it serves."""

    async def fail() -> None:
        await checkpoint()
        raise ZeroDivisionError

    (bad, bad_far), (good, good_far) = stream_pair(), stream_pair()
    async with AnyioRuntime() as runtime:
        server = WebSocketServer("", 0, runtime=runtime)
        server.connection(echo)
        async with anyio.create_task_group() as group, server as streams:
            assert isinstance(streams, AnyioListener)
            group.start_soon(streams.serve, bad_far)
            group.start_soon(streams.serve, good_far)
            async with connect_stream(good, URI) as neighbour, connect_stream(bad, URI) as peer:
                await until(lambda: len(server.clients) == 2)
                sessions = server._acceptor._sessions
                [session] = [
                    one for one in sessions if cast(AnyioPipe, one.pipe)._stream is bad_far
                ]
                if lost:
                    session.pipe.abort()
                session.pipe.start(fail(), copy_context())
                with pytest.raises(ConnectionClosed) as caught:
                    await peer.receive()
                assert caught.value.code == Reasons.ABNORMAL_CLOSE
                await until(lambda: caplog.records)
                await neighbour.writer.send("undisturbed")
                assert await neighbour.receive() == "undisturbed"
    [record] = caplog.records
    what = "dropped because of an error in handling the connection"
    assert record.getMessage().endswith(f": {what}")
    assert record.exc_info
    assert isinstance(record.exc_info[1], ExceptionGroup)
    assert record.exc_info[1].subgroup(ZeroDivisionError)


@on_each_backend
async def test_a_connection_that_cannot_be_begun_is_dropped(
    backend: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller that handed its stream in sees nothing of it: that may be a listener for many."""

    def no_memory(*_: object) -> None:
        raise MemoryError

    class Broken(MemoryStream):
        async def aclose(self) -> None:
            raise ZeroDivisionError

    _, far = stream_pair()
    async with AnyioRuntime() as runtime:
        server = WebSocketServer("", 0, runtime=runtime)
        async with server as streams:
            assert isinstance(streams, AnyioListener)
            monkeypatch.setattr(server._acceptor, "_new_core", no_memory)
            await streams.serve(far)
            assert far._closed
            await streams.serve(Broken())
    first, second, third = caplog.records
    for record in (first, second):
        assert record.getMessage() == "cannot begin a connection"
        assert record.exc_info
        assert isinstance(record.exc_info[1], MemoryError)
    assert third.getMessage() == "cannot drop the stream of a connection that was not begun"
    assert third.exc_info
    assert isinstance(third.exc_info[1], ZeroDivisionError)


def test_a_task_of_asyncios_that_is_cancelled_fails_the_callback_that_awaits_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            task = asyncio.create_task(asyncio.sleep(1000))
            task.cancel()
            await task

    async def main() -> None:
        async with asyncio.timeout(10), served(on_connection) as near:
            async with connect_stream(near, URI) as client:
                await client.writer.send("")
                with pytest.raises(ConnectionClosed) as closed:
                    await client.receive()
                assert closed.value.code == 1011

    anyio.run(main)
    [record] = caplog.records
    assert record.getMessage().endswith("on_message raised")


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

    what: Collection[str] = ()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = await super().receive(max_bytes)
        if "receive" in self.what:
            raise ZeroDivisionError
        return data

    async def send(self, item: bytes) -> None:
        if "send" in self.what:
            raise ZeroDivisionError
        await super().send(item)

    async def send_eof(self) -> None:
        if "send_eof" in self.what:
            raise ZeroDivisionError
        await super().send_eof()

    async def aclose(self) -> None:
        try:
            await super().aclose()
        finally:
            if "aclose" in self.what:
                raise ZeroDivisionError


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("receive", 1006),
        ("receive aclose", 1006),
        ("send", 1006),
        ("send_eof", 1000),
        ("aclose", 1000),
    ],
)
@on_each_backend
async def test_whatever_a_stream_raises_ends_that_connection_only(
    backend: str, what: str, code: int
) -> None:
    reported: list[int] = []
    near, far = MemoryStream(), Strange()
    near._peer, far._peer = far, near

    async def on_connection(client: Client) -> None:
        await echo(client)

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            reported.append(code)

    async with anyio.create_task_group() as group:
        group.start_soon(serve_stream, far, on_connection)
        async with connect_stream(near, URI) as client:
            far.what = what.split()
            await client.writer.send("")
            if code == Reasons.NORMAL:
                assert await client.receive() == ""
                await client.close()
            else:
                with pytest.raises(ConnectionClosed):
                    await client.receive()
    assert reported == [code]
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
async def test_a_server_that_refuses_and_stays_is_left(backend: str) -> None:
    near, far = stream_pair()
    await far.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(HandshakeError, match="403"):
        async with connect_stream(near, URI):
            raise AssertionError("it was refused")
    assert near._closed
    assert not far._closed


@on_each_backend
async def test_a_redirect_leads_nowhere(backend: str) -> None:
    async def redirect(request: Request) -> Response:
        return Response(302, {"Location": "ws://elsewhere/"})

    async with served(echo, process_request=redirect) as near:
        with pytest.raises(HandshakeError, match="more than 0 times") as caught:
            async with connect_stream(near, URI):
                raise AssertionError("it was redirected")
        assert caught.value.headers["Location"] == "ws://elsewhere/"


@on_each_backend
async def test_a_stream_that_ends_is_not_a_server(backend: str) -> None:
    near, far = stream_pair()
    await far.aclose()
    with pytest.raises(OSError, match="the opening handshake failed"):
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
    runtime = AnyioRuntime(near)
    with pytest.raises(RuntimeError, match="async with AnyioRuntime"):
        async with WebSocketServer("", 0, runtime=runtime):
            raise AssertionError("the runtime is not entered")
    with pytest.raises(RuntimeError, match="async with AnyioRuntime"):
        async with connect(URI, proxy=None, runtime=runtime):
            raise AssertionError("the runtime is not entered")
    async with AnyioRuntime() as runtime:
        with pytest.raises(ValueError, match="streams are handed in"):
            async with WebSocketServer(None, 0, unix_path="path", runtime=runtime):
                raise AssertionError("it cannot listen there")
        with pytest.raises(ValueError, match="the stream is all there is"):
            async with connect(URI, proxy="socks5://localhost:1", runtime=runtime):
                raise AssertionError("a stream needs no proxy")


@on_each_backend
async def test_a_stream_serves_one_connection(backend: str) -> None:
    async with served(echo) as near, AnyioRuntime(near) as runtime:
        async with connect(URI, proxy=None, runtime=runtime):
            with pytest.raises(ValueError, match="no stream left"):
                async with connect(URI, proxy=None, runtime=runtime):
                    raise AssertionError("there is one stream")


def test_the_adapter_without_anyio(monkeypatch: pytest.MonkeyPatch) -> None:
    name = AnyioRuntime.__module__
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "anyio", None)
    with pytest.raises(ImportError, match="install the extra `anyio`") as caught:
        importlib.import_module(name)
    assert caught.value.name == "anyio"


@pytest.mark.slow
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
                assert isinstance(streams, AnyioListener)
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
