"""What a large message costs: one write."""

import asyncio
from typing import Any, cast

from harness import AsyncioWorld, World
from test_writer import only_client

from wscore.frames import LARGE
from wstransports import Client
from wstransports.runtime import Pipe


class NotingPipe:
    """A Pipe as it is, but for what is noted: calls that write."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)

    def write(self, data: bytes) -> None:
        self.calls.append(("write", data))
        self._pipe.write(data)

    def writelines(self, parts: list[bytes]) -> None:
        self.calls.append(("writelines", parts))
        self._pipe.writelines(parts)


def noting(client: Client) -> NotingPipe:
    """Have the calls to a client's pipe noted from here on."""
    session = client._session
    pipe = NotingPipe(session.pipe)
    session.pipe = session.outbox.pipe = cast(Pipe, pipe)
    return pipe


async def test_header_and_payload_are_one_call(world: World) -> None:
    payload = bytes(range(256)) * (LARGE // 256)
    async with world.serving() as server:
        peer = await world.connect(server)
        client = await only_client(world, server)
        pipe = noting(client)
        await client.writer.send(payload)
        assert await peer.message() == payload
        [(call, [header, body])] = pipe.calls
        assert call == "writelines"
        assert len(header) == 10
        assert body is payload


async def test_a_stream_that_is_lost_is_not_watched_again(sockets: AsyncioWorld) -> None:
    """A file descriptor that asyncio still watches is trouble for whoever gets the same later."""
    async with sockets.serving() as server:
        await sockets.connect(server)
        pipe = (await only_client(sockets, server))._session.pipe
        number = pipe.info("socket").fileno()
        pipe.abort()
        pipe.writelines([b"header", bytes(LARGE)])
        await sockets.until(lambda: not server.clients)
        assert not asyncio.get_running_loop().remove_writer(number)
