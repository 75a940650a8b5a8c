"""The adapter over anyio's streams keeps the contract, whichever the stream and the back end."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

pytest.importorskip("anyio", reason="anyio is not installed")

import anyio
from anyio.abc import ByteStream
from ends import memory, tcp, tls, unix

from kit.in_process import InProcessRuntime, on_each_backend
from wstransports.adapters.anyio import AnyioRuntime
from wstransports.adapters.anyio_pipe import AnyioPipe
from wstransports.address import Address
from wstransports.runtime import Sink
from wstransports.testing import Host, Join, check_pipe, check_runtime, joined

Ends = AbstractAsyncContextManager[tuple[ByteStream, ByteStream]]


@asynccontextmanager
async def checking() -> AsyncIterator[tuple[InProcessRuntime, Host]]:
    """The runtime, and the loop itself."""
    async with InProcessRuntime() as runtime, anyio.create_task_group() as group:
        yield runtime, Host(anyio.sleep, lambda coroutine: group.start_soon(lambda: coroutine))


@asynccontextmanager
async def joining(runtime: AnyioRuntime, ends: Callable[[], Ends]) -> AsyncIterator[Join]:
    """Joins sinks by streams of one kind, which are left open until the block ends."""
    async with AsyncExitStack() as stack:

        async def join(a: Sink, b: Sink) -> None:
            near, far = await stack.enter_async_context(ends())
            for stream, sink in ((near, a), (far, b)):
                runtime.spawn(AnyioPipe(runtime, stream, sink).run())

        yield join


@on_each_backend
async def test_the_runtime(backend: str) -> None:
    async with checking() as (runtime, host):
        await check_runtime(runtime, host, Address("host", 0))
        await check_pipe(runtime, host, joined(runtime, Address("host", 0)))


@on_each_backend
async def test_pipes_over_memory(backend: str) -> None:
    async with checking() as (runtime, host), joining(runtime, memory) as join:
        await check_pipe(runtime, host, join)


@on_each_backend
async def test_pipes_over_tcp(backend: str) -> None:
    async with checking() as (runtime, host), joining(runtime, tcp) as join:
        await check_pipe(runtime, host, join)


@pytest.mark.slow
@on_each_backend
async def test_pipes_over_unix_sockets(backend: str, tmp_path: Path) -> None:
    async with checking() as (runtime, host), joining(runtime, lambda: unix(tmp_path)) as join:
        await check_pipe(runtime, host, join)


@on_each_backend
async def test_pipes_over_tls(backend: str) -> None:
    async with checking() as (runtime, host), joining(runtime, tls) as join:
        await check_pipe(runtime, host, join, half_close=False)
