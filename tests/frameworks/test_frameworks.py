"""An echo of each framework under uvicorn."""

import asyncio

import pytest
from processes import served, under_uvicorn

from kit.blocking_peer import BlockingPeer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


@pytest.mark.parametrize("framework", ["starlette", "litestar", "quart", "channels"])
def test_an_echo(framework: str) -> None:
    with served(under_uvicorn(f"on_{framework}")) as server:
        with BlockingPeer(server.port, "/echo") as peer:
            peer.connect()
            for message in "text", "Straße ☺", "long " * 2**16:
                peer.send(message)
                assert peer.message() == message
            peer.finish(3000, "bye")
        server.terminate()
    assert "Traceback" not in server.log


def test_socketio_with_its_own_client() -> None:
    import socketio  # here, as this takes a while

    async def talk(url: str) -> None:
        async with socketio.AsyncSimpleClient() as client:
            await client.connect(url, transports=["websocket"])
            for data in "text", {"Straße": ["☺", 1]}, b"\x00\xff":
                assert await client.call("echo", data) == data
                assert await client.receive() == ["echoed", data]

    with served(under_uvicorn("on_socketio")) as server:
        asyncio.run(talk(f"http://127.0.0.1:{server.port}"))
        server.terminate()
    assert "Traceback" not in server.log
