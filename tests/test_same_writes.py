"""The shortcut in C of a write to a socket: with and without it peers get the same."""

import asyncio
import random
import socket
import ssl
from functools import partial
from typing import Any

import pytest
import trustme

from kit.asyncio_pipes import PipeSink, new_loop
from kit.certificates import client_context, server_context
from wstransports.adapters.asyncio import AsyncioRuntime
from wstransports.adapters.direct_writes import DirectWrites
from wstransports.address import Address

needs_shortcut = pytest.mark.skipif(
    vars(DirectWrites)["write"] is DirectWrites.write,
    reason="the C extension was not built, or has no shortcuts",
)

SIZES = [0, 1, 100, 1000, 20_000, 65_535, 65_536, 300_000]


async def write_much(seed: int, tls: tuple[ssl.SSLContext, ssl.SSLContext] | None) -> list[Any]:
    """Write, while the peer reads now and then; what shows of it."""
    choose = random.Random(seed)
    runtime = AsyncioRuntime(asyncio.get_running_loop())
    sink = PipeSink()
    where = Address("127.0.0.1", 0, tls=tls[0] if tls else None)
    listener = await runtime.listen(where, lambda: sink)
    host, port = listener.address()
    # Its buffer is so small that writes are taken in part.
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, port))
    reader, writer = await asyncio.open_connection(
        sock=sock, ssl=tls[1] if tls else None, server_hostname="localhost" if tls else None
    )
    pipe = await sink.pipe
    if tls is None:
        pipe.info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    pipe.set_write_limit(choose.choice([1, 30_000, 2**20]))
    sent = bytearray()
    got = bytearray()
    shown: list[Any] = []
    for number in range(choose.randrange(1, 60)):
        data = bytes([number]) * choose.choice(SIZES)
        if choose.random() < 0.1:
            pipe.writelines([data, data])
            data += data
        else:
            pipe.write(data)
        sent += data
        if choose.random() < 0.4 and len(got) < len(sent):
            got += await reader.readexactly(choose.randrange(1, 1 + len(sent) - len(got)))
            assert got == sent[: len(got)]
    end = choose.choice(["all", "all", "close", "abort", "reset"])
    if end in ("all", "close"):
        if end == "close":
            pipe.close()
            pipe.write(b"ignored")
        got += await reader.readexactly(len(sent) - len(got))
        shown.append(bytes(got) == bytes(sent))
        await pipe.drain()
        shown.append((pipe.waiting(), pipe.full))
    elif end == "reset":
        pipe.pause_reading()
        writer.transport.abort()
        while not sink.lost.done():
            pipe.write(b"nobody reads this")
            await asyncio.sleep(0)
        shown.append((isinstance(await sink.lost, OSError), pipe.full))
    pipe.abort()
    pipe.write(b"ignored")
    shown.append((end, sink.lost.done() or isinstance(await sink.lost, OSError | None)))
    writer.transport.abort()
    listener.close()
    return shown


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    return server_context(authority, "localhost"), client_context(authority)


@needs_shortcut
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "name", ["asyncio", "uvloop", pytest.param("aiofastnet", marks=pytest.mark.slow)]
)
def test_random_writes_are_the_same(
    name: str, tls: bool, contexts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(seed: int) -> list[Any]:
        with asyncio.Runner(loop_factory=partial(new_loop, name)) as runner:
            return runner.run(write_much(seed, contexts if tls else None))

    for seed in range(12):
        as_built = shown(seed)
        with monkeypatch.context() as patch:
            patch.setattr(DirectWrites, "write", DirectWrites.write)
            assert shown(seed) == as_built
