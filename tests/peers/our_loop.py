"""The event loop that our end runs on. Their end, the wire and the test itself are on asyncio."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import trio
import uvloop

T = TypeVar("T")


class OurLoop(ABC):
    """What the test, on asyncio, has our end do; and what our end tells the test."""

    def __init__(self) -> None:
        self.asyncio = asyncio.get_running_loop()

    @abstractmethod
    async def run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Call it where our end is, and wait for it."""

    @abstractmethod
    def entered(self, manager: AbstractAsyncContextManager[T]) -> AbstractAsyncContextManager[T]:
        """A block of the test, for whose time another one lasts where our end is."""

    @abstractmethod
    def tell(self, function: Callable[[], object]) -> None:
        """Call it where the test is."""


class OnAsyncio(OurLoop):
    """The test's own loop."""

    async def run(self, function: Callable[[], Awaitable[T]]) -> T:
        return await function()

    def entered(self, manager: AbstractAsyncContextManager[T]) -> AbstractAsyncContextManager[T]:
        return manager

    def tell(self, function: Callable[[], object]) -> None:
        function()


class OnTrio(OurLoop):
    """trio, in a thread of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.started: asyncio.Future[None] = self.asyncio.create_future()
        self._token: trio.lowlevel.TrioToken
        self._nursery: trio.Nursery

    async def main(self) -> None:
        """What its thread runs."""
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as self._nursery:
            self.tell(partial(self.started.set_result, None))
            await trio.sleep_forever()

    def end(self) -> None:
        """Have `main` end, and all that runs there."""
        self._token.run_sync_soon(self._nursery.cancel_scope.cancel)

    async def run(self, function: Callable[[], Awaitable[T]]) -> T:
        future: asyncio.Future[T] = self.asyncio.create_future()

        async def call() -> None:
            try:
                value = await function()
            except Exception as error:  # noqa: BLE001  # it is the caller's
                self.tell(partial(future.set_exception, error))
            else:
                self.tell(partial(future.set_result, value))
            finally:
                self.tell(future.cancel)  # where trio has cancelled this: else it is settled

        self._token.run_sync_soon(self._nursery.start_soon, call)
        return await future

    @asynccontextmanager
    async def entered(self, manager: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
        entered: asyncio.Future[T] = self.asyncio.create_future()
        left = trio.Event()

        async def last() -> None:  # a nursery is left in the task that it was entered in
            async with manager as value:
                self.tell(partial(entered.set_result, value))
                await left.wait()

        lasting = asyncio.create_task(self.run(last))
        either: list[asyncio.Future[Any]] = [lasting, entered]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        try:
            if entered.done():
                yield entered.result()
        finally:
            self._token.run_sync_soon(left.set)
            await lasting  # raises where it was not entered

    def tell(self, function: Callable[[], object]) -> None:
        self.asyncio.call_soon_threadsafe(function)


class OnUvloop(OurLoop):
    """uvloop, in a thread of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = uvloop.new_event_loop()

    def main(self) -> None:
        """What its thread runs."""
        self._loop.run_forever()
        self._loop.close()

    def end(self) -> None:
        """Have `main` end."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def run(self, function: Callable[[], Awaitable[T]]) -> T:
        async def call() -> T:
            return await function()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), self._loop))

    @asynccontextmanager
    async def entered(self, manager: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
        value = await self.run(manager.__aenter__)
        try:
            yield value
        finally:
            await self.run(partial(manager.__aexit__, None, None, None))

    def tell(self, function: Callable[[], object]) -> None:
        self.asyncio.call_soon_threadsafe(function)


@asynccontextmanager
async def on_asyncio() -> AsyncIterator[OurLoop]:
    """Our end of a connection."""
    yield OnAsyncio()


@asynccontextmanager
async def on_trio() -> AsyncIterator[OurLoop]:
    """Our end in a thread, for the time of the block."""
    ours = OnTrio()
    thread = asyncio.create_task(asyncio.to_thread(trio.run, ours.main))
    await ours.started
    try:
        yield ours
    finally:
        ours.end()
        await thread


@asynccontextmanager
async def on_uvloop() -> AsyncIterator[OurLoop]:
    """Our end in a thread, for the time of the block."""
    ours = OnUvloop()
    thread = asyncio.create_task(asyncio.to_thread(ours.main))
    try:
        yield ours
    finally:
        ours.end()
        await thread


LOOPS: dict[str, Callable[[], AbstractAsyncContextManager[OurLoop]]] = {
    "asyncio": on_asyncio,
    "trio": on_trio,
}

# Where uvloop's own TLS, or anything else of its own, may matter.
ALL_LOOPS = {**LOOPS, "uvloop": on_uvloop}
