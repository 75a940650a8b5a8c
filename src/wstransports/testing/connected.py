"""Servers and clients for tests, connected in one line."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Unpack

from ..client import Client
from ..connect import connect
from ..options import ConnectionKeywords
from ..runtime import running
from ..server import WebSocketServer
from ..sync.loop_thread import LoopThread

_HOST = "127.0.0.1"  # only a name on the memory loop


@asynccontextmanager
async def connected_to(
    server: WebSocketServer, target: str = "/", **options: Any
) -> AsyncIterator[Client]:
    """Serve, and connect a client: `async with connected_to(server) as client`.

    This is for the test of a server, on the loop that is running. `target` is the path and query
    of the request; the options are those of `connect`. The block's end closes the client, then the
    server. Raises what these two raise.
    """
    async with server:
        async with connect(_uri(server, target), **{"proxy": None, **options}) as client:
            yield client


@asynccontextmanager
async def connected_pair(
    **options: Unpack[ConnectionKeywords],
) -> AsyncIterator[tuple[Client, Client]]:
    """Two ends of a connection: `async with connected_pair() as (client, servers_client)`.

    This is for the test of code that takes a client, on the loop that is running. The options
    are for both ends. The block's end closes both, and discards what is unread.
    """
    arrived, over = running().signal(), running().signal()
    theirs: list[Client] = []

    async def on_connection(client: Client) -> None:
        theirs.append(client)
        arrived.set()
        await over.wait()
        await client.close()

    server = WebSocketServer(_HOST, 0, **options)
    server.connection(on_connection)
    async with connected_to(server, **options) as mine:
        await arrived.wait()
        try:
            yield mine, theirs[0]
        finally:
            over.set()


@contextmanager
def serving_in_thread(server: WebSocketServer) -> Iterator[str]:
    """Serve on asyncio in a thread: `with serving_in_thread(server) as uri`.

    This is for tests of programs without async, or of another process. The server's callbacks run
    in that thread. The block's end closes the server. Raises what the server raises.
    """
    thread = LoopThread("server of a test")
    try:
        thread.call(server.__aenter__)
        try:
            yield _uri(server, "/")
        finally:
            thread.call(server.__aexit__, None, None, None)
    finally:
        thread.end()


def _uri(server: WebSocketServer, target: str) -> str:
    return f"{'ws' if server.certs is None else 'wss'}://{server.addr}:{server.port}{target}"
