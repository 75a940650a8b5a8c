"""Servers on each loop, so that one test of outgoing connections runs on all."""

import asyncio
import functools
import gc
import os
import ssl
import stat
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol, TypeVar, cast

import pytest
from raw_server import End, Raw, Talk

from wstransports import Client, WebSocketReader, WebSocketServer, connect
from wstransports.options import Address
from wstransports.runtime import Signal, running
from wstransports.testing.memory import MemoryRuntime
from wstransports.testing.memory_kernel import Cancelled

Result_co = TypeVar("Result_co", covariant=True)
T = TypeVar("T")

OnConnection = Callable[[Client], Awaitable[object]]
Test = Callable[..., Coroutine[Any, Any, None]]

# How long a test may take on a real loop, in seconds.
PATIENCE = 10


async def echo(client: Client) -> None:
    """An on_connection whose clients are sent back what they send."""

    @client.message
    async def on_message(reader: WebSocketReader) -> None:
        await client.writer.send(await reader.get())


class Job(Protocol[Result_co]):
    """A coroutine on its way."""

    @property
    def done(self) -> bool:
        """Whether it has ended."""

    def cancel(self) -> object:
        """Cancel it."""

    async def wait(self) -> Result_co:
        """Its value, or its exception."""


class Loop(ABC):
    """An event loop with servers in it."""

    cancelled: type[BaseException]
    """What a cancelled task sees."""
    named = True
    """Whether its streams know where they lead."""

    @abstractmethod
    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a test to its end, for a bounded time; it fails where something is left open."""

    @abstractmethod
    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> Job[T]:
        """Run a coroutine beside the others."""

    @abstractmethod
    async def until(self, condition: Callable[[], object]) -> None:
        """Let the others run until the condition holds; fails where it never does."""

    def signal(self) -> Signal:
        """Something to wait for."""
        return running().signal()

    @asynccontextmanager
    async def serving(
        self, on_connection: OnConnection | None = echo, host: str = "127.0.0.1", **options: Any
    ) -> AsyncIterator[WebSocketServer]:
        """A WebSocket server that listens at a free port."""
        server = WebSocketServer(host, 0, **options)
        if on_connection is not None:
            server.connection(on_connection)
        async with server:
            yield server

    @asynccontextmanager
    async def listening(
        self, talk: Talk, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[Raw]:
        """A server that does with each connection what `talk` says."""
        jobs: list[Job[None]] = []
        runtime = running()
        listener = await runtime.listen(Address(host, 0, tls=tls), lambda: make_end())
        raw = Raw(*listener.address())

        def make_end() -> End:
            end = End(lambda end: jobs.append(self.spawn(talk(end))))
            raw.ends.append(end)
            return end

        try:
            yield raw
        finally:
            await listener.close()
            for job in jobs:
                if not job.done:
                    job.cancel()
            for end in raw.ends:
                if end.pipe is not None and not end.lost:
                    end.pipe.abort()
        for job in jobs:
            try:
                await job.wait()
            except self.cancelled:
                continue


class Memory(Loop):
    """No sockets, and a clock that the test turns."""

    cancelled = Cancelled
    named = False

    def __init__(self) -> None:
        self.runtime = MemoryRuntime()

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a test; it cannot hang, for one that waits for nothing fails."""
        self.runtime.run(main)

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> Job[T]:
        """Run a coroutine beside the others."""
        return self.runtime.spawn(coroutine)

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the others run; all that can happen without the clock does within these turns."""
        for _ in range(10_000):
            if condition():
                return
            await self.runtime.checkpoint()
        assert condition()

    async def settle(self) -> None:
        """Let the others run until they all wait."""
        await self.runtime.settle()

    async def advance(self, seconds: float) -> None:
        """Turn the clock."""
        await self.runtime.advance(seconds)

    def now(self) -> float:
        """The clock."""
        return self.runtime.now()


@contextmanager
def leftovers_told() -> Iterator[None]:
    """Have a transport that a test leaves unclosed say so while it is this test's.

    Only what the block makes is looked through: all of pytest's objects took as long as the tests.
    """
    gc.freeze()
    try:
        yield
        gc.collect()
    finally:
        gc.unfreeze()


class AsyncioJob(Job[T]):
    """A Job on asyncio."""

    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.task.done()

    def cancel(self) -> object:
        """Cancel it."""
        return self.task.cancel()

    async def wait(self) -> T:
        """Its value, or its exception."""
        return await self.task


class Sockets(Loop):
    """Real sockets, on asyncio's own loop or one that stands in for it."""

    cancelled = asyncio.CancelledError

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
        self._new_loop = new_loop

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a test; it leaves neither tasks nor sockets."""
        with leftovers_told(), asyncio.Runner(loop_factory=self._new_loop) as runner:
            runner.run(self._bounded(main))

    async def _bounded(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with asyncio.timeout(PATIENCE):
            before = open_sockets()
            await main()
            # Everybody has until the timeout to be gone.
            while len(asyncio.all_tasks()) > 1 or open_sockets() > before:
                await asyncio.sleep(0)

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> AsyncioJob[T]:
        """Run a coroutine beside the others."""
        return AsyncioJob(asyncio.create_task(coroutine))

    async def until(self, condition: Callable[[], object]) -> None:
        """Turn the loop; a test that waits for nothing runs out of patience."""
        while not condition():
            await asyncio.sleep(0)


def open_sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    for number in os.listdir("/dev/fd"):
        try:
            found += stat.S_ISSOCK(os.fstat(int(number)).st_mode)
        except OSError:  # the listing's own
            continue
    return found


def _new_uvloop() -> asyncio.AbstractEventLoop:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class OnTrio(Loop):
    """Real sockets, on trio; where its clock jumps, no test waits for it."""

    _jobs: Any

    def __init__(self, jumps: bool = False) -> None:
        self._jumps = jumps

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a test; it leaves neither tasks nor sockets."""
        trio = pytest.importorskip("trio", reason="trio is not installed")
        from trio.testing import MockClock

        self.cancelled = trio.Cancelled
        # What is sent arrives within the threshold, or the clock would jump meanwhile.
        clock = MockClock(autojump_threshold=0.05) if self._jumps else None
        with leftovers_told():
            trio.run(self._bounded, main, clock=clock)

    async def _bounded(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        import trio
        from jobs import ConcurrentJobs
        from trio import lowlevel, sleep

        async with ConcurrentJobs(trio, trio.open_nursery(), PATIENCE) as self._jobs:
            tasks = lowlevel.current_statistics().tasks_living
            sockets = open_sockets()
            await main()
            # Everybody has until the timeout to be gone.
            while lowlevel.current_statistics().tasks_living > tasks or open_sockets() > sockets:
                await sleep(0)

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> Job[T]:
        """Run a coroutine beside the others."""
        job: Job[T] = self._jobs.spawn(coroutine)
        return job

    async def until(self, condition: Callable[[], object]) -> None:
        """Turn the loop; a test that waits for nothing runs out of patience."""
        from trio import sleep

        while not condition():
            await sleep(0)


def _on_anyio(backend: str) -> Loop:
    for needed in ("anyio", backend):
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    from anyio_loop import OnAnyio

    return OnAnyio(backend)


LOOPS: dict[str, Callable[[], Loop]] = {
    "memory": Memory,
    "asyncio": Sockets,
    "uvloop": lambda: Sockets(_new_uvloop),
    "trio": OnTrio,
    "trio with a clock that jumps": lambda: OnTrio(jumps=True),
    "anyio-on-asyncio": lambda: _on_anyio("asyncio"),
    "anyio-on-trio": lambda: _on_anyio("trio"),
}


def on(*names: str) -> Callable[[Test], Callable[..., None]]:
    """Run a test on each of these loops: its first argument is called `loop`."""

    def decorate(test: Test) -> Callable[..., None]:
        @pytest.mark.parametrize("loop", names)
        @functools.wraps(test)
        def run(loop: str, **others: Any) -> None:
            made = LOOPS[loop]()
            made.run(lambda: test(made, **others))

        return cast(Callable[..., None], run)

    return decorate


on_each_loop = on("memory", "asyncio", "uvloop", "trio", "anyio-on-asyncio", "anyio-on-trio")
on_own_streams = on("memory", "asyncio", "uvloop", "trio")  # not over anyio's
on_sockets = on("asyncio", "uvloop", "trio")
on_asyncio = on("asyncio", "uvloop")
on_memory = on("memory")


def uri_of(server: WebSocketServer, target: str = "/") -> str:
    """The address of a server."""
    scheme = "ws" if server.certs is None else "wss"
    return f"{scheme}://{server.addr}:{server.port}{target}"


def connecting(server: WebSocketServer, target: str = "/", **options: Any) -> connect:
    """A connection to a server, not entered yet."""
    return connect(uri_of(server, target), **options)


async def failure(connection: connect) -> Exception:
    """What entering raises."""
    with pytest.raises(Exception) as caught:  # the test says which
        await connection.__aenter__()
    return caught.value


async def talk_with(client: Client) -> None:
    """See that it is connected to an echo."""
    for message in ("hello", b"x" * 200_000):
        await client.writer.send(message)
        assert await client.receive() == message
