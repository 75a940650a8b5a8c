"""What the checks use of an event loop itself, and not of the adapter that they check."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from .rules import BrokenRule, Rule

# How long something may take that has to happen, in seconds of the loop's clock.
PATIENCE = 5

# How long nothing has to happen for it to count as never, likewise.
QUIET = 0.02

# How far a clock may be off, likewise.
TICK = 0.002

_STEP = 0.001


class Job:
    """A call in a task beside the check's own."""

    def __init__(self, call: Callable[[], Awaitable[object]]) -> None:
        self.done = False
        self.error: BaseException | None = None
        """What it raised."""
        self._call = call  # one that never runs leaves no coroutine behind

    async def run(self) -> None:
        """Run it, and note what came of it."""
        try:
            await self._call()
        except Exception as error:  # noqa: BLE001  # told by who looks at it
            self.error = error
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.done = True


@dataclass(frozen=True)
class Host:
    """The loop itself: `sleep(seconds)` waits, `spawn(coroutine)` runs a task beside this one.

    For asyncio that is `Host(asyncio.sleep, asyncio.create_task)`.
    """

    sleep: Callable[[float], Awaitable[object]]
    spawn: Callable[[Coroutine[Any, Any, None]], object]

    def job(self, call: Callable[[], Awaitable[object]]) -> Job:
        """Run an async function beside this one."""
        job = Job(call)
        self.spawn(job.run())
        return job

    async def until(self, condition: Callable[[], object], rule: Rule, missing: str) -> None:
        """Return when the condition holds; BrokenRule where it does not come to that."""
        for _ in range(round(PATIENCE / _STEP)):
            if condition():
                return
            await self.sleep(_STEP)
        raise BrokenRule(rule, missing)

    async def quiet(self) -> None:
        """Let pass what is to happen, if anything is."""
        await self.sleep(QUIET)
