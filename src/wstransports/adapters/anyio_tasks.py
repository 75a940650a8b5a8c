"""The tasks of a runtime over anyio's streams, and its timers."""

from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from anyio import CancelScope, create_task_group, get_cancelled_exc_class, sleep_until
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint_if_cancelled


class AnyioTasks:
    """The block that all tasks live in; its end cancels them."""

    _group: TaskGroup

    def __init__(self) -> None:
        self._open = False
        self._scopes: set[CancelScope] = set()

    async def __aenter__(self) -> Self:
        self._group = create_task_group()
        await self._group.__aenter__()
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._open = False
        for scope in self._scopes:
            scope.cancel()
        if isinstance(error, get_cancelled_exc_class()):
            return await self._group.__aexit__(kind, error, traceback)
        self._group.cancel_scope.cancel()
        # Any other error goes on as it is, not in a group.
        await self._group.__aexit__(None, None, None)
        return None

    def spawn(self, coroutine: Coroutine[Any, Any, None], group: None = None) -> CancelScope:
        """As `Runtime.spawn`, in the block: the scope cancels it."""
        scope = CancelScope(shield=self._open)
        self._scopes.add(scope)
        self._group.start_soon(self._run, scope, coroutine)
        return scope

    def _call_at(self, when: float, call: Callable[[], None]) -> CancelScope:
        """As `Pipe.call_at`: a task that sleeps."""

        async def sleep_and_call() -> None:
            await sleep_until(when)
            await checkpoint_if_cancelled()  # a cancellation may come too late to wake us
            call()

        return self.spawn(sleep_and_call())

    async def _run(self, scope: CancelScope, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            with scope:
                await coroutine
        finally:
            self._scopes.discard(scope)
