"""Coroutines that run beside a test on trio."""

from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import trio

T = TypeVar("T")


class TrioJob(Generic[T]):
    """A Job on trio."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, T], previous: "TrioJob[Any] | None" = None
    ) -> None:
        self._coroutine = coroutine
        self._previous = previous
        self._begun = trio.Event()
        self._scope = trio.CancelScope()
        self._over = trio.Event()
        self._value: T
        self._error: BaseException | None = None

    async def run(self) -> None:
        """What its task does; an exception waits for `wait`, as on asyncio."""
        if self._previous is not None:  # trio begins tasks in any order
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
                if isinstance(self._error, trio.Cancelled):
                    raise
            finally:
                self._over.set()

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def cancel(self) -> None:
        """Cancel it."""
        self._scope.cancel()

    async def wait(self) -> T:
        """Its value, or its exception."""
        await self._over.wait()
        if self._error is not None:
            raise self._error
        return self._value


class TrioJobs:
    """A block for a test of at most so many seconds, and the jobs beside it.

    What the test raises leaves the block as it is, not in a group.
    """

    def __init__(self, seconds: float) -> None:
        self._limit = trio.move_on_after(seconds)
        self._manager = trio.open_nursery()
        self._jobs: list[TrioJob[Any]] = []
        self.nursery: trio.Nursery

    async def __aenter__(self) -> Self:
        self._limit.__enter__()
        self.nursery = await self._manager.__aenter__()
        return self

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> TrioJob[T]:
        """Run a coroutine beside the others."""
        job = TrioJob(coroutine, self._jobs[-1] if self._jobs else None)
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
            raise trio.TooSlowError from error
        return False
