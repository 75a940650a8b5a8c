"""The tasks of a runtime over anyio's streams, and its timers."""

from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from anyio import CancelScope, create_task_group, get_cancelled_exc_class, sleep_until
from anyio.abc import TaskGroup


class AnyioTimer:
    """The contract's Timer: a task that sleeps."""

    __slots__ = ("_call", "_scope", "_when")

    def __init__(self, tasks: "AnyioTasks", when: float, call: Callable[[], None]) -> None:
        self._when = when
        self._call = call
        self._scope = tasks.spawn(self._run)

    def cancel(self) -> None:
        """Do not call."""
        self._scope.cancel()

    async def _run(self) -> None:
        await sleep_until(self._when)
        if not self._scope.cancel_called:  # after the last moment to wake us by it
            self._call()


class AnyioTasks:
    """The block that all tasks live in; its end cancels them."""

    _group: TaskGroup

    def __init__(self) -> None:
        self.entered = False
        self._scopes: set[CancelScope] = set()
        self._ending = False

    async def __aenter__(self) -> None:
        self._group = create_task_group()
        await self._group.__aenter__()
        self.entered = True

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._ending = True
        for scope in self._scopes:
            scope.cancel()
        if isinstance(error, get_cancelled_exc_class()):
            return await self._group.__aexit__(kind, error, traceback)
        self._group.cancel_scope.cancel()
        # Any other goes on as it is, not in a group.
        await self._group.__aexit__(None, None, None)
        return None

    def spawn(
        self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: Any
    ) -> CancelScope:
        """Run a task in the block; what is returned cancels it."""
        scope = CancelScope(shield=not self._ending)
        self._scopes.add(scope)
        self._group.start_soon(self._run, scope, function, *arguments)
        return scope

    def call_at(self, when: float, call: Callable[[], None]) -> AnyioTimer:
        """As `Pipe.call_at`."""
        return AnyioTimer(self, when, call)

    async def _run(
        self,
        scope: CancelScope,
        function: Callable[..., Coroutine[Any, Any, None]],
        *arguments: Any,
    ) -> None:
        try:
            with scope:
                await function(*arguments)
        finally:
            self._scopes.discard(scope)
