"""What the checks take from the event loop itself, not from the adapter that they check."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from .rules import BrokenRule, Rule

# How long the checks wait for what has to happen, in seconds of the loop's clock.
PATIENCE = 5

# How long the checks wait for what must not happen, in the same seconds.
QUIET = 0.02

# How far a clock may be off, in the same seconds.
TICK = 0.002

_STEP = 0.001


class Job:
    """A call in a task besides the check's own."""

    def __init__(self, call: Callable[[], Awaitable[object]]) -> None:
        self.done: bool = False
        self.error: BaseException | None = None
        """What it raised."""
        self._call = call  # one that never runs leaves no coroutine behind

    async def run(self) -> None:
        """Run it, and record its end."""
        try:
            await self._call()
        except Exception as error:  # noqa: BLE001  # the check that began it looks at it
            self.error = error
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.done = True


@dataclass(frozen=True)
class Host:
    """The loop itself: `sleep(seconds)` waits, `spawn(coroutine)` runs another task.

    For asyncio that is `Host(asyncio.sleep, asyncio.create_task)`.
    """

    sleep: Callable[[float], Awaitable[object]]
    spawn: Callable[[Coroutine[Any, Any, None]], object]

    def job(self, call: Callable[[], Awaitable[object]]) -> Job:
        """Run an async function in another task."""
        job = Job(call)
        self.spawn(job.run())
        return job

    async def until(self, condition: Callable[[], object], rule: Rule, missing: str) -> None:
        """Return when the condition holds. Raises BrokenRule if it never does."""
        for _ in range(round(PATIENCE / _STEP)):
            if condition():
                return
            await self.sleep(_STEP)
        raise BrokenRule(rule, missing)

    async def quiet(self) -> None:
        """Give what must not happen the time to happen."""
        await self.sleep(QUIET)
