"""Our adapters keep the contract."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kit.asyncio_pipes import WatchesNoSockets
from wstransports.address import Address
from wstransports.runtime import running
from wstransports.testing import Host, check_pipe, check_runtime, joined
from wstransports.testing.memory import MemoryRuntime

Main = Callable[[], Coroutine[Any, Any, None]]


def on_asyncio(main: Main) -> None:
    asyncio.run(main())


def on_uvloop(main: Main) -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("run", [on_asyncio, on_uvloop])
def test_asyncio(run: Callable[[Main], None], tmp_path: Path) -> None:
    async def main() -> None:
        runtime = running()
        host = Host(asyncio.sleep, asyncio.create_task)
        where = Address("127.0.0.1", 0)
        await check_runtime(runtime, host, where)
        await check_pipe(runtime, host, joined(runtime, where))
        unix = Address(None, 0, unix_path=tmp_path / "socket")
        await check_pipe(runtime, host, joined(runtime, unix))

    run(main)


def as_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets are not files there."""
    windows = SimpleNamespace(platform="win32")
    monkeypatch.setattr("wstransports.adapters.socket_pipe.sys", windows)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, WatchesNoSockets])
def test_asyncio_as_on_windows(
    kind: type[asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_on_windows(monkeypatch)

    async def main() -> None:
        runtime = running()
        host = Host(asyncio.sleep, asyncio.create_task)
        await check_pipe(runtime, host, joined(runtime, Address("127.0.0.1", 0)))

    with asyncio.Runner(loop_factory=kind) as runner:
        runner.run(main())


@pytest.mark.parametrize("windows", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_trio(windows: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if windows:
        as_on_windows(monkeypatch)
    trio = pytest.importorskip("trio", reason="trio is not installed")

    async def main() -> None:
        runtime = running()
        async with trio.open_nursery() as nursery:

            def spawn(coroutine: Coroutine[Any, Any, None]) -> None:
                nursery.start_soon(lambda: coroutine)

            host = Host(trio.sleep, spawn)
            where = Address("127.0.0.1", 0)
            await check_runtime(runtime, host, where)
            await check_pipe(runtime, host, joined(runtime, where))
            unix = Address(None, 0, unix_path=tmp_path / "socket")
            async with runtime.task_group() as group:
                await check_pipe(runtime, host, joined(runtime, unix, group))

    trio.run(main)


def test_memory() -> None:
    runtime = MemoryRuntime()
    host = Host(runtime.advance, runtime.spawn)
    where = Address("host", 0)

    async def main() -> None:
        await check_runtime(runtime, host, where)
        await check_pipe(runtime, host, joined(runtime, where))

    runtime.run(main)
