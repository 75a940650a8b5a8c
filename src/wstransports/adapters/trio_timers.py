"""The timers of connections on trio."""

import trio

from .far_timers import FarTimers


class TrioTimers(FarTimers):
    """Those of a trio run that are far away. A task waits for the first, while there is one."""

    _scope: trio.CancelScope | None = None  # the task waits in it

    def _wake_at(self, when: float | None) -> None:
        if self._scope is None:
            self._scope = trio.CancelScope()
            trio.lowlevel.spawn_system_task(self._run, self._scope)
        if when is None:
            self._scope.cancel()
            self._scope = None
        else:
            self._scope.deadline = when

    async def _run(self, scope: trio.CancelScope) -> None:
        while True:
            with scope:
                await trio.sleep_forever()
            if scope is not self._scope:
                return
            self._scope = scope = trio.CancelScope()
            self._call_due()
