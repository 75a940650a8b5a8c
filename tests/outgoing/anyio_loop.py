"""Servers over byte streams of anyio's, on each of its back ends."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint
from in_process import InProcessRuntime, found
from jobs import ConcurrentJob, ConcurrentJobs
from loops import PATIENCE, Loop

T = TypeVar("T")


class OnAnyio(Loop):
    """No sockets, and the clock of the loop beneath."""

    named = False

    _jobs: ConcurrentJobs

    def __init__(self, backend: str) -> None:
        self._backend = backend

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a test; it leaves no tasks."""
        anyio.run(self._bounded, main, backend=self._backend)

    async def _bounded(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.cancelled = anyio.get_cancelled_exc_class()
        async with (
            ConcurrentJobs(anyio, anyio.create_task_group(), PATIENCE) as self._jobs,
            InProcessRuntime() as runtime,
        ):
            tasks = len(anyio.get_running_tasks())
            with found(runtime):
                await main()
                # Everybody has until the timeout to be gone.
                while len(anyio.get_running_tasks()) > tasks:
                    await checkpoint()

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> ConcurrentJob[T]:
        """Run a coroutine beside the others."""
        return self._jobs.spawn(coroutine)

    async def until(self, condition: Callable[[], object]) -> None:
        """Turn the loop; a test that waits for nothing runs out of patience."""
        while not condition():
            await checkpoint()
