"""Connections of ours to a server of the test."""

from typing import Any

import pytest

from wstransports import Client, WebSocketServer, connect


def uri_of(server: WebSocketServer, target: str = "/") -> str:
    """The address of a server."""
    scheme = "ws" if server.certs is None else "wss"
    return f"{scheme}://{server.addr}:{server.port}{target}"


def connecting(server: WebSocketServer, target: str = "/", **options: Any) -> connect:
    """A connection to a server, not entered yet."""
    return connect(uri_of(server, target), **options)


async def failure(connection: connect) -> Exception:
    """The exception that entering raises."""
    with pytest.raises(Exception) as caught:  # the test says which
        await connection.__aenter__()
    return caught.value


async def talk_with(client: Client) -> None:
    """See that it is connected to an echo."""
    for message in ("hello", b"x" * 200_000):
        await client.writer.send(message)
        assert await client.receive() == message
