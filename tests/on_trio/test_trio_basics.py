"""A server and a client under trio.run, in each form."""

from typing import Any

import pytest

pytest.importorskip("trio", reason="trio is not installed")

import trio
from closes import Closes

from wstransports import (
    Client,
    ConnectionClosed,
    Reasons,
    WebSocketReader,
    WebSocketServer,
    connect,
)


def echo_server(**options: Any) -> WebSocketServer:
    """A server that sends back what it is sent."""
    server = WebSocketServer("127.0.0.1", 0, **options)

    @server.connection
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send(await reader.get())

    return server


def test_async_with() -> None:
    async def main() -> None:
        server = echo_server()
        async with server as listening:
            host, port = listening.sockets[0].getsockname()
            assert (host, port) == ("127.0.0.1", server.port)
            async with connect(f"ws://127.0.0.1:{port}") as client:
                await client.writer.send("hello")
                assert await client.receive() == "hello"
                for number in range(100):
                    await client.writer.send(bytes([number]))
                assert [await client.receive() for _ in range(100)] == [
                    bytes([number]) for number in range(100)
                ]

    trio.run(main)


def test_nursery_start() -> None:
    """It returns when the server listens; cancelling the nursery closes the clients with 1001."""

    async def main() -> None:
        closes = Closes()
        server = echo_server()
        async with trio.open_nursery() as outer:
            async with trio.open_nursery() as nursery:
                listening = await nursery.start(server.serve)
                assert listening.sockets[0].getsockname()[1] == server.port

                async def talk(uri: str) -> None:
                    async with connect(uri) as client:
                        await closes.follow(client)
                        await client.writer.send("hello")
                        assert await client.receive() == "hello"
                        nursery.cancel_scope.cancel()
                        with pytest.raises(ConnectionClosed):
                            await client.receive()
                        await closes.any.wait()

                outer.start_soon(talk, f"ws://127.0.0.1:{server.port}")
        assert closes.reported == [(Reasons.GOING_AWAY, "")]

    trio.run(main)
