"""An extension that raises during a broadcast: its client is closed, and nobody else is harmed."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kit.log import Log
from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from kit.peer import Peer
from wscore import Deflate
from wscore.extensions.deflate import NegotiatedDeflate
from wstransports import Client, ConnectionClosed, Reasons, broadcast, broadcast_nowait

BROKEN = "broken" * 1000  # long enough to be compressed


@pytest.fixture(autouse=True)
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compression raises for such a message."""
    encode = NegotiatedDeflate.encode_stateless

    def encoding(self: NegotiatedDeflate, data: bytes, compress: bool | None) -> tuple[int, bytes]:
        if b"broken" in data:
            raise MemoryError
        return encode(self, data, compress)

    monkeypatch.setattr(NegotiatedDeflate, "encode_stateless", encoding)


class Three:
    """The clients of a server, and their peers; the second one compresses."""

    def __init__(self, loop: Loop, log: Log, clients: list[Client], peers: list[Peer]) -> None:
        self.clients = clients
        self.peers = peers
        self._loop = loop
        self._log = log

    async def only_the_second_is_closed(self) -> None:
        """The others get the message, and the one after it; one error is logged."""
        [(what, error)] = self._log.tracebacks()
        assert what == "an extension raised in a broadcast"
        assert isinstance(error, MemoryError)
        broadcast_nowait(self.clients[::2], "and the next")
        for peer in self.peers[::2]:
            assert [await peer.message(), await peer.message()] == [BROKEN, "and the next"]
        assert await self.peers[1].closed() == (Reasons.UNEXPECTED_CONDITION, "")


@asynccontextmanager
async def three(loop: Loop, log: Log) -> AsyncIterator[Three]:
    """A server with clients."""
    async with loop.serving(timeout=0) as server:
        clients: list[Client] = []
        peers: list[Peer] = []
        for extensions in ([], [Deflate()], []):
            peers.append(await loop.connect(server, extensions=extensions))
            await loop.until(lambda: len(server.clients) == len(peers))
            clients += set(server.clients.values()) - set(clients)
        yield Three(loop, log, clients, peers)


def failed(report: Any) -> list[Client]:
    """The clients that failed, all because they are closed with 1011."""
    for closed in report.failed.values():
        assert isinstance(closed, ConnectionClosed)
        assert closed.code == Reasons.UNEXPECTED_CONDITION
    return [*report.failed]


async def nowait(clients: list[Client], message: str) -> Any:
    return broadcast_nowait(clients, message)


@on_each_loop
@pytest.mark.parametrize("send", [broadcast, nowait])
async def test_its_client_is_closed_and_reported(
    loop: Loop, log: Log, send: Callable[..., Any]
) -> None:
    async with three(loop, log) as here:
        report = await send(here.clients, BROKEN)
        assert report.sent == here.clients[::2]
        assert failed(report) == here.clients[1:2]
        await here.only_the_second_is_closed()


@on_memory
async def test_without_buffer_space(loop: MemoryLoop, log: Log) -> None:
    async with three(loop, log) as here:
        stuck = here.peers[1]
        stuck.stop_reading()
        broadcast_nowait(here.clients[1:2], "x" * 10**6, compress=False)
        report = await broadcast(here.clients, BROKEN)
        assert report.sent == here.clients[::2]
        assert failed(report) == here.clients[1:2]
        stuck.start_reading()
        assert await stuck.message() == "x" * 10**6
        await here.only_the_second_is_closed()


@on_memory
async def test_after_a_fragmented_message(loop: MemoryLoop, log: Log) -> None:
    """It is sent when that ends, by the task that sent it: this goes on, and so do those that
    wait for the writer."""
    async with three(loop, log) as here:
        client, peer = here.clients[1], here.peers[1]
        async with client.writer.fragment() as stream:
            await stream.send("in ")
            job = loop.spawn(broadcast(here.clients, BROKEN, slow="wait"))
            waiting = loop.spawn(client.writer.send("later"))
            await loop.settle()
            assert not job.done
            await stream.send("parts")
        assert await peer.message() == "in parts"
        with pytest.raises(ConnectionClosed):
            await waiting.wait()
        report = await job.wait()
        assert report.sent == here.clients[::2]
        assert failed(report) == here.clients[1:2]
        await here.only_the_second_is_closed()


@on_memory
async def test_in_an_earlier_broadcast(
    loop: MemoryLoop, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later one sends its message, and knows nothing of the error."""
    module = sys.modules["wstransports.broadcast"]  # the package has the function by this name
    monkeypatch.setattr(module, "SLICE", 0)
    monkeypatch.setattr(module, "_STEP", 1)
    async with three(loop, log) as here:
        job = loop.spawn(broadcast(here.clients, BROKEN))
        await loop.checkpoint()
        later = broadcast_nowait(here.clients[1:2], "later")
        assert failed(later) == here.clients[1:2]
        assert not job.done
        report = await job.wait()
        assert report.sent == here.clients[::2]
        assert failed(report) == here.clients[1:2]
        await here.only_the_second_is_closed()
