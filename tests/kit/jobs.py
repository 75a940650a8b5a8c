"""Coroutines that run next to a test, on each event loop."""

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from types import ModuleType, TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Job(Protocol[T_co]):
    """A coroutine that runs next to the test."""

    @property
    def done(self) -> bool:
        """Whether it has ended."""

    def cancel(self) -> object:
        """Cancel it."""

    async def wait(self) -> T_co:
        """Its value, or its exception."""


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


class ConcurrentJob(Generic[T]):
    """A Job on trio or anyio, which use the same names; `library` is one of them."""

    def __init__(
        self,
        library: ModuleType,
        coroutine: Coroutine[Any, Any, T],
        previous: "ConcurrentJob[Any] | None" = None,
    ) -> None:
        self._coroutine = coroutine
        self._previous = previous
        self._begun = library.Event()
        self._scope = library.CancelScope()
        self._over = library.Event()
        self._value: T
        self._error: BaseException | None = None

    async def run(self) -> None:
        """Run the coroutine; `wait` raises its exception, as on asyncio."""
        if self._previous is not None:  # trio starts tasks in random order
            await self._previous._begun.wait()
        self._begun.set()
        with self._scope:
            try:
                self._value = await self._coroutine
            except BaseException as error:
                self._error = error
                while isinstance(self._error, BaseExceptionGroup) and not isinstance(
                    self._error, Exception
                ):
                    self._error = self._error.exceptions[0]  # a nursery's, cancelled
                if not isinstance(self._error, Exception):  # the cancellation
                    raise
            finally:
                self._over.set()

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        over: bool = self._over.is_set()
        return over

    def cancel(self) -> None:
        """Cancel it."""
        self._scope.cancel()

    async def wait(self) -> T:
        """Its value, or its exception."""
        await self._over.wait()
        if self._error is not None:
            raise self._error
        return self._value


class ConcurrentJobs:
    """A block that a test has so many seconds for, and the jobs that run next to it.

    `library` is trio or anyio, `manager` its nursery or task group, not entered yet. An exception
    of the test leaves the block as it is, not in an exception group.
    """

    def __init__(
        self, library: ModuleType, manager: AbstractAsyncContextManager[Any], seconds: float
    ) -> None:
        self._library = library
        self._manager = manager
        self._limit = library.move_on_after(seconds)
        self._jobs: list[ConcurrentJob[Any]] = []
        self.nursery: Any

    async def __aenter__(self) -> Self:
        self._limit.__enter__()
        self.nursery = await self._manager.__aenter__()
        return self

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> ConcurrentJob[T]:
        """Run a coroutine next to the others."""
        previous = self._jobs[-1] if self._jobs else None
        job = ConcurrentJob(self._library, coroutine, previous)
        self._jobs.append(job)
        self.nursery.start_soon(job.run)
        return job

    def cancel(self) -> None:
        """Cancel all jobs."""
        for job in self._jobs:
            job.cancel()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self.nursery.cancel_scope.cancel()
        await self._manager.__aexit__(None, None, None)
        self._limit.__exit__(None, None, None)
        if self._limit.cancel_called:
            raise TimeoutError from error
        return False
