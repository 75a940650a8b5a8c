"""`serve_stream` and `connect_stream` over each kind of byte stream, on each back end of anyio."""

from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("anyio", reason="anyio is not installed")

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from ends import memory, tcp, tls, unix
from served import URI, echo, served

from kit.in_process import on_each_backend, stream_pair
from wscore import ClientConnection, State
from wstransports import (
    Client,
)
from wstransports.anyio import AnyioRuntime, connect_stream, serve_stream


async def talk(near: ByteStream, far: ByteStream, uri: str) -> None:
    """Messages of every size both ways, then a close."""
    reported: list[tuple[int, str]] = []

    async def on_connection(client: Client) -> None:
        await echo(client)

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            reported.append((code, reason))

    async with anyio.create_task_group() as group:
        group.start_soon(serve_stream, far, on_connection)
        async with connect_stream(near, uri, user_agent_header="robot/1") as client:
            assert client.request.path == "/chat"
            assert client.request.headers["User-Agent"] == "robot/1"
            for message in ("Hello", b"", "é" * 100_000, b"x" * 1_000_000):
                await client.writer.send(message)
                assert await client.receive() == message
            await client.close(4000, "enough")
        assert client.state is State.CLOSED
    assert reported == [(4000, "enough")]  # serve_stream has returned, callbacks and all


@on_each_backend
async def test_over_memory(backend: str) -> None:
    async with memory() as (near, far):
        await talk(near, far, "ws://localhost/chat")


@on_each_backend
async def test_over_tcp(backend: str) -> None:
    async with tcp() as (near, far):
        await talk(near, far, "ws://localhost/chat")


@on_each_backend
async def test_over_a_unix_socket(backend: str, tmp_path: Path) -> None:
    async with unix(tmp_path) as (near, far):
        await talk(near, far, "ws://localhost/chat")


@on_each_backend
async def test_over_tls(backend: str) -> None:
    async with tls() as (near, far):
        await talk(near, far, "wss://localhost/chat")


@on_each_backend
async def test_what_is_written_while_the_stream_takes_something_arrives_too(backend: str) -> None:
    messages = [str(n) for n in range(100)]
    async with served(echo) as near, connect_stream(near, URI) as client:
        for message in messages:
            await client.writer.send(message)
            await checkpoint()  # the stream's own send takes some turns
        assert [await client.receive() for _ in messages] == messages


@on_each_backend
async def test_an_exception_leaves_the_blocks_as_it_is(backend: str) -> None:
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with AnyioRuntime():
            raise error
    assert caught.value is error
    near, far = stream_pair()
    async with anyio.create_task_group() as group:
        group.start_soon(serve_stream, far, echo)
        with pytest.raises(KeyError) as caught:
            async with connect_stream(near, URI):
                raise error
    assert caught.value is error


@on_each_backend
async def test_over_tls_a_client_that_sends_on_sees_why_it_is_closed(backend: str) -> None:
    """Its bytes are not left unread: closing the socket would answer them with a reset."""

    async with tls() as (near, far), anyio.create_task_group() as group:
        group.start_soon(serve_stream, far, echo)
        await near.send(ClientConnection("localhost", "/").data_to_send() + b"\xff" * 1000)
        for _ in range(100):
            await near.send(b"\xff" * 1000)
        received = b""
        with pytest.raises(anyio.EndOfStream):
            while True:
                received += await near.receive()
        assert received.endswith(b"\x03\xeaunknown opcode 15")
        await near.aclose()


@on_each_backend
async def test_over_tls_a_client_that_sends_for_ever_is_dropped(backend: str) -> None:
    async with tls() as (near, far), anyio.create_task_group() as group:

        async def send_for_ever() -> None:
            with suppress(anyio.BrokenResourceError):
                while True:
                    await near.send(b"\xff" * 1000)

        await near.send(ClientConnection("localhost", "/").data_to_send())
        group.start_soon(send_for_ever)
        await serve_stream(far, echo, close_timeout=0.05)
        await anyio.aclose_forcefully(near)


@on_each_backend
async def test_over_tls_each_end_knows_the_other(backend: str) -> None:
    async with tls() as (near, far), anyio.create_task_group() as group:

        async def on_connection(client: Client) -> None:
            request = client.request
            assert request.client is not None
            assert request.client == (client.addr, client.port)
            assert client.info("peercert") is None
            assert client.info("cipher") == client.info("ssl_object").cipher()
            await client.writer.send(request.scheme)

        group.start_soon(serve_stream, far, on_connection)
        async with connect_stream(near, "wss://localhost/") as client:
            assert await client.receive() == "wss"
            assert client.info("peercert")["subjectAltName"] == (("DNS", "localhost"),)
            assert client.info("cipher")[1].startswith("TLSv1.")
            assert client.info("sockname")[:2] == client.request.client
