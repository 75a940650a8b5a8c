"""What a large message costs: one write, few turns of the loop, and no stop while it arrives."""

import asyncio
from typing import Any, cast

import pytest
from test_writer import only_client

from kit.loops import AsyncioLoop, Loop, MemoryLoop, echo, on_asyncio, on_each_loop, on_memory
from wscore.frames import LARGE
from wstransports import Client, WebSocketReader
from wstransports.runtime import Pipe

MIB = 2**20


class NotingPipe:
    """A Pipe as it is, but for what is noted: calls that write or pause."""

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

    def pause_reading(self) -> None:
        self.calls.append(("pause_reading", None))
        self._pipe.pause_reading()


class GreedyPipe:
    """A Pipe that takes all at once: it is never full."""

    full = False

    def __init__(self) -> None:
        self.taken = 0

    def write(self, data: bytes) -> None:
        self.taken += len(data)

    def writelines(self, parts: list[bytes]) -> None:
        self.taken += sum(map(len, parts))


def noting(client: Client) -> NotingPipe:
    """Have the calls to a client's pipe noted from here on."""
    session = client._session
    pipe = NotingPipe(session.pipe)
    session.use_pipe(cast(Pipe, pipe))
    return pipe


@on_each_loop
async def test_header_and_payload_are_one_call(loop: Loop) -> None:
    payload = bytes(range(256)) * (LARGE // 256)
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        pipe = noting(client)
        await client.writer.send(payload)
        assert await peer.message() == payload
        [(call, [header, body])] = pipe.calls
        assert call == "writelines"
        assert len(header) == 10
        assert body is payload


@pytest.mark.parametrize(("size", "sends_in_a_turn"), [(MIB, 4), (MIB // 16 - 4, 16)])
@on_memory
async def test_a_loop_of_sends_lets_others_run(
    loop: MemoryLoop, size: int, sends_in_a_turn: int
) -> None:
    """A large message is sent in less time than the same bytes in many small ones."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await loop.runtime.checkpoint()
            turns += 1

    async with loop.serving() as server:
        await loop.connect(server)
        client = await only_client(loop, server)
        pipe = GreedyPipe()
        kept, client._session.outbox.pipe = client._session.outbox.pipe, cast(Pipe, pipe)
        counting = loop.spawn(count())
        try:
            for _ in range(16 * sends_in_a_turn):
                await client.writer.send(bytes(size))
        finally:
            counting.cancel()
            client._session.outbox.pipe = kept
        assert pipe.taken > 16 * sends_in_a_turn * size
        assert 14 <= turns <= 17


@on_memory
async def test_a_callback_that_waits_for_the_whole_does_not_stop_reading(loop: MemoryLoop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        pipe = noting(await only_client(loop, server))
        peer.part(b"x" * 100_000)  # more than may wait unread
        await loop.settle()
        peer.part(b"y" * 100_000, last=True)
        assert await peer.message() == b"x" * 100_000 + b"y" * 100_000
        assert [call for call, _ in pipe.calls] == ["write"]


@on_memory
async def test_a_callback_that_does_not_take_it_stops_reading(loop: MemoryLoop) -> None:
    may_go_on = loop.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await may_go_on.wait()
            await client.writer.send(await reader.get())

    loop.runtime.chunk = 2**18
    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        pipe = noting(client)
        peer.part(b"x" * 100_000)
        await loop.settle()
        assert pipe.calls == [("pause_reading", None)]
        assert 100_000 <= client._session.inbox.unread <= 101_000
        may_go_on.set()
        peer.part(b"y", last=True)
        assert await peer.message() == b"x" * 100_000 + b"y"
        assert client._session.inbox.unread == 0


@on_asyncio
async def test_a_stream_that_is_lost_is_not_watched_again(loop: AsyncioLoop) -> None:
    """A file descriptor that asyncio still watches breaks the next connection that gets it."""
    async with loop.serving() as server:
        await loop.connect(server)
        pipe = (await only_client(loop, server))._session.pipe
        number = pipe.info("socket").fileno()
        pipe.abort()
        pipe.writelines([b"header", bytes(LARGE)])
        assert pipe.full  # so that a sender waits, and gets the loss
        await loop.until(lambda: not server.clients)
        assert not asyncio.get_running_loop().remove_writer(number)
