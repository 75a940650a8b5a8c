"""Taking the place of a transport, as under uvicorn."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest

from kit.asyncio_pipes import ASYNCIO_LOOPS, PipeSink, new_loop
from kit.sockets import Pair, open_sockets, over_tcp
from wstransports.adapters import transport_take_over
from wstransports.adapters.asyncio_socket import AsyncioSocketPipe
from wstransports.adapters.transport_pipe import TransportPipe
from wstransports.adapters.transport_take_over import take_over

Main = Callable[[], Coroutine[Any, Any, None]]


class Served(asyncio.Protocol):
    """What a transport serves before it is taken over."""

    def __init__(self) -> None:
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport


class Sink(PipeSink):
    """Sees that it is given a question."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    def data_received(self, data: bytes | memoryview) -> None:
        assert data == b"question"
        self.asked.set()


@pytest.fixture(params=ASYNCIO_LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Main], None]:
    """Run an async function on a loop, and see that it leaves no socket."""

    def run(main: Main) -> None:
        before = open_sockets()
        with asyncio.Runner(loop_factory=partial(new_loop, request.param)) as runner:
            runner.run(main())
        assert open_sockets() == before

    return run


@asynccontextmanager
async def taken_over(
    pair: Pair, unsent: bytes = b""
) -> AsyncIterator[tuple[Any, Sink, asyncio.BaseProtocol, socket.socket]]:
    """The pipe over a transport that held bytes, its sink, its protocol, and the peer's socket."""
    ours, theirs = pair
    loop = asyncio.get_running_loop()
    with theirs:
        theirs.setblocking(False)
        served = Served()
        await loop.create_connection(lambda: served, sock=ours)
        if unsent:
            served.transport.write(unsent)
        sink = Sink()
        protocol = take_over(served.transport, sink)
        if not served.transport.is_closing():
            served.transport.set_protocol(protocol)
        pipe = await sink.pipe
        yield pipe, sink, protocol, theirs
        pipe.abort()
        await sink.lost
        await asyncio.sleep(0)


async def talk(pipe: Any, sink: Sink, peer: socket.socket, before: int = 0) -> None:
    """Both ways, after so many bytes that waited."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(peer, b"question")
    await sink.asked.wait()
    pipe.write(b"answer")
    answer = b""
    while len(answer) < before + 6:
        answer += await loop.sock_recv(peer, 2**20)
    assert answer == bytes(before) + b"answer"
    peer.shutdown(socket.SHUT_WR)
    pipe.close()
    assert await sink.lost is None
    assert peer.recv(10) == b""


PAIRS = pytest.mark.parametrize("pair", [over_tcp, socket.socketpair])


@PAIRS
def test_a_socket_takes_its_place(run: Callable[[Main], None], pair: Callable[[], Pair]) -> None:
    async def main() -> None:
        ours, theirs = pair()
        name = ours.getpeername()
        async with taken_over((ours, theirs)) as (pipe, sink, protocol, peer):
            assert type(pipe) is AsyncioSocketPipe
            assert not isinstance(protocol, TransportPipe)
            assert pipe.info("peername") == name
            await talk(pipe, sink, peer)

    run(main)


@PAIRS
def test_a_transport_that_holds_bytes_stays(
    run: Callable[[Main], None], pair: Callable[[], Pair]
) -> None:
    async def main() -> None:
        size = 2**23
        async with taken_over(pair(), bytes(size)) as (pipe, sink, protocol, peer):
            assert pipe is protocol
            assert cast(Any, pipe).full
            await talk(pipe, sink, peer, size)

    run(main)


def none_left(*_: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


class CannotWatch(AsyncioSocketPipe):
    """A pipe whose number still belongs to a transport that is lost."""

    __slots__ = ()

    def open(self) -> None:
        raise RuntimeError("File descriptor 7 is used by transport")


@pytest.mark.parametrize(
    ("name", "value"), [("socket.fromfd", none_left), ("AsyncioSocketPipe", CannotWatch)]
)
def test_where_no_socket_can_be_had_the_transport_stays(
    run: Callable[[Main], None], monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    async def main() -> None:
        pair = over_tcp()
        monkeypatch.setattr(f"{transport_take_over.__name__}.{name}", value)
        async with taken_over(pair) as (pipe, sink, protocol, peer):
            assert pipe is protocol
            await talk(pipe, sink, peer)

    run(main)
