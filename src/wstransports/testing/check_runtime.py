"""Checks that an adapter's Runtime keeps the contract."""

from collections.abc import Awaitable, Callable
from typing import cast

from ..address import Address
from ..batch import Batch
from ..runtime import Runtime, Sink
from .check_pipe import joined
from .end import End
from .host import QUIET, TICK, Host
from .rules import BrokenRule, Rule


async def check_runtime(runtime: Runtime, host: Host, where: Address | None = None) -> None:
    """Check the Runtime of an adapter. Run it in the adapter's loop.

    `host` is the loop itself; `where` is an address with port 0 at which the runtime can listen, or
    None if it has no addresses. Raises BrokenRule for the first rule that is broken.
    """
    checks = _Checks(runtime, host)
    await checks.clock()
    await checks.checkpoints()
    await checks.signals()
    await checks.waiters()
    await checks.timeouts()
    await checks.shields()
    await checks.tasks()
    await checks.threads()
    if where is not None:
        await checks.addresses(where)
        await checks.groups(where)


class _Checks:
    def __init__(self, runtime: Runtime, host: Host) -> None:
        self.runtime = runtime
        self.host = host

    async def clock(self) -> None:
        """The clock keeps up with the loop's."""
        before = self.runtime.now()
        await self.host.sleep(QUIET)
        passed = self.runtime.now() - before
        if passed < QUIET - TICK:
            raise BrokenRule(Rule.NOW, f"it advanced by {passed:.4f} s in {QUIET} s")
        if (
            not isinstance(self.runtime.batch, Batch)
            or self.runtime.batch is not self.runtime.batch
        ):
            raise BrokenRule(Rule.BATCH, f"it is {self.runtime.batch!r}")

    async def checkpoints(self) -> None:
        """Tasks take turns, and can be distinguished."""
        runtime = self.runtime
        tasks: list[object] = []
        may_end: list[bool] = []

        async def other() -> None:
            tasks.append(runtime.current_task())
            while not may_end:
                await runtime.checkpoint()
            tasks.append(runtime.current_task())

        job = self.host.job(other)
        here = runtime.current_task()
        turns = 0
        while not tasks and turns < 1000:
            await runtime.checkpoint()
            turns += 1
        if not tasks:
            raise BrokenRule(Rule.CHECKPOINT, "another task has not run after 1000 calls")
        if runtime.current_task() is not here:
            raise BrokenRule(Rule.CURRENT_TASK, "it changed within one task")
        may_end.append(True)
        await self.host.until(lambda: job.done, Rule.CHECKPOINT, "it never returned")
        if job.error is not None:
            raise BrokenRule(Rule.CHECKPOINT, f"it raised {job.error!r}") from job.error
        if tasks[0] is not tasks[1]:
            raise BrokenRule(Rule.CURRENT_TASK, "it changed within one task")
        if tasks[0] is here or here is None:
            raise BrokenRule(Rule.CURRENT_TASK, f"two tasks were both {here!r}")

    async def threads(self) -> None:
        """A function that blocks returns or raises as if it was called here."""

        def fail() -> None:
            raise ZeroDivisionError

        if (result := await self.runtime.in_thread(lambda: "result")) != "result":
            raise BrokenRule(Rule.IN_THREAD, f"it returned {result!r}")
        try:
            await self.runtime.in_thread(fail)
        except ZeroDivisionError:
            return
        raise BrokenRule(Rule.IN_THREAD, "it did not raise")

    async def signals(self) -> None:
        """Signals wait, and they wake."""
        signal = self.runtime.signal()
        waits = [self.host.job(signal.wait) for _ in range(3)]
        await self.host.quiet()
        if any(job.done for job in waits):
            raise BrokenRule(Rule.SIGNAL_WAITS, "it returned")
        signal.set()
        signal.set()
        await self.host.until(
            lambda: all(job.done for job in waits), Rule.SIGNAL_WAKES, "not all returned"
        )
        kept = self.runtime.signal()
        kept.set()
        for _ in range(2):
            waits.append(late := self.host.job(kept.wait))
            await self.host.until(
                lambda job=late: job.done,  # type: ignore[misc]
                Rule.SIGNAL_KEPT,
                "it did not return",
            )
        for job in waits:
            if job.error is not None:
                raise BrokenRule(Rule.SIGNAL_WAKES, f"wait() raised {job.error!r}")

    async def waiters(self) -> None:
        """A task waits again and again, and goes on each time."""
        waiter = self.runtime.waiter()
        for go_on in (waiter.set, waiter.wake) * 2:
            go_on()
            job = self.host.job(waiter.wait)
            await self.host.quiet()
            if job.done:
                raise BrokenRule(Rule.WAITER_WAITS, "it returned")
            go_on()
            if job.done:
                raise BrokenRule(Rule.WAITER_LATER, "the task that waited has ended")
            go_on()
            await self.host.until(
                lambda job=job: job.done,  # type: ignore[misc]
                Rule.WAITER_WAKES,
                "it did not return",
            )
            if job.error is not None:
                raise BrokenRule(Rule.WAITER_WAKES, f"wait() raised {job.error!r}")

    async def timeouts(self) -> None:
        """Timeouts end a block that takes too long, and no other."""
        await self._timed("TimeoutError", Rule.TIMEOUT_RAISES, self._too_long)
        await self._timed("", Rule.TIMEOUT_SILENT, self._in_time)
        await self._timed("KeyError", Rule.TIMEOUT_SILENT, self._raising)

    async def _timed(self, raised: str, rule: Rule, block: Callable[[], Awaitable[None]]) -> None:
        job = self.host.job(block)
        await self.host.until(lambda: job.done, rule, "the block never ended")
        name = "" if job.error is None else type(job.error).__name__
        if name != raised:
            raise BrokenRule(
                rule, f"it raised {name or 'nothing'} instead of {raised or 'nothing'}"
            )

    async def _too_long(self) -> None:
        runtime = self.runtime
        when = runtime.now() + QUIET
        try:
            async with runtime.timeout_at(when):
                await runtime.signal().wait()
        finally:
            if (early := when - runtime.now()) > TICK:
                raise BrokenRule(Rule.TIMEOUT_RAISES, f"{early:.4f} s too early")

    async def _in_time(self) -> None:
        async with self.runtime.timeout_at(self.runtime.now() + QUIET):
            await self.runtime.checkpoint()
        await self.host.sleep(2 * QUIET)  # a timer that is left would cancel this

    async def _raising(self) -> None:
        async with self.runtime.timeout_at(self.runtime.now() + QUIET):
            raise KeyError

    async def shields(self) -> None:
        """Shields let a cancelled task wait."""
        runtime = self.runtime
        waited: list[bool] = []

        async def cancelled() -> None:
            async with runtime.timeout_at(runtime.now() + QUIET):
                try:
                    await runtime.signal().wait()
                finally:
                    with runtime.shield():
                        await self.host.sleep(QUIET)
                        waited.append(True)

        await self._timed("TimeoutError", Rule.SHIELD, cancelled)
        if not waited:
            raise BrokenRule(Rule.SHIELD, "it was cancelled in there")

    async def tasks(self) -> None:
        """What spawn() begins runs in a task, and can be cancelled alone."""
        runtime, host = self.runtime, self.host
        tasks: list[object] = []
        ended: list[str] = []
        may_end = runtime.signal()

        async def stay(name: str) -> None:
            tasks.append(runtime.current_task())
            try:
                await may_end.wait()
            finally:
                ended.append(name)

        try:
            task = runtime.spawn(stay("the first"))
            runtime.spawn(stay("the second"))
            await host.until(lambda: len(tasks) == 2, Rule.SPAWNED, "one never ran")
            if len({*map(id, tasks), id(runtime.current_task())}) < 3:
                raise BrokenRule(Rule.SPAWNED, f"the tasks were {tasks}")
            task.cancel()
            await host.until(lambda: ended, Rule.SPAWNED, "a cancelled task still runs")
            await host.quiet()
            if ended != ["the first"]:
                raise BrokenRule(Rule.SPAWNED, f"cancelled were {', '.join(ended)}")
            task.cancel()
        finally:
            may_end.set()

    async def groups(self, where: Address) -> None:
        """A connection in a task group works, and the group ends."""
        ends = [End(), End()]
        may_end = self.runtime.signal()

        async def hold() -> None:
            async with self.runtime.task_group() as group:
                await joined(self.runtime, where, group)(*cast(list[Sink], ends))
                await may_end.wait()

        job = self.host.job(hold)
        await self.host.until(
            lambda: job.done or all(end.is_connected for end in ends),
            Rule.TASK_GROUP,
            "connecting in it never ended",
        )
        if not job.done:
            for sender, receiver in (ends, ends[::-1]):
                sender.write(b"there", Rule.TASK_GROUP)
                await self.host.until(
                    lambda end=receiver: end.received == b"there",  # type: ignore[misc]
                    Rule.TASK_GROUP,
                    "bytes did not arrive over a connection in it",
                )
            for end in ends:
                end.abort()
            may_end.set()
        await self.host.until(lambda: job.done, Rule.TASK_GROUP, "it never ended")
        if job.error is not None:
            raise BrokenRule(Rule.TASK_GROUP, f"it raised {job.error!r}") from job.error
        await self.host.until(
            lambda: all(end.lost for end in ends), Rule.ABORT_SOON, "a connection is left"
        )

    async def addresses(self, where: Address) -> None:
        """A listener is found, is the only one at its address, and can be closed."""
        runtime = self.runtime
        accepted: list[End] = []

        def make_sink() -> Sink:
            accepted.append(End())
            return cast(Sink, accepted[-1])

        listener = await runtime.listen(where, make_sink)
        at = Address(*listener.address())
        await self._raises(runtime.listen(at, make_sink), Rule.LISTEN_RAISES)
        end = End()
        try:
            await runtime.connect(at, cast(Sink, end))
        except OSError as error:
            raise BrokenRule(Rule.ADDRESS, f"connecting to {at} raised {error!r}") from error
        if not end.is_connected:
            raise BrokenRule(Rule.CONNECT_CONNECTED, "it had not been called")
        await self.host.until(
            lambda: accepted and accepted[0].is_connected,
            Rule.ADDRESS,
            "the connection was not accepted",
        )
        listener.close()
        await self._raises(runtime.connect(at, cast(Sink, End())), Rule.LISTENER_CLOSES)
        end.write(b"still there")
        await self.host.until(
            lambda: accepted[0].received == b"still there",
            Rule.LISTENER_CLOSES,
            "an open connection ended",
        )
        for one in (end, accepted[0]):
            one.abort()
        await self.host.until(
            lambda: end.lost and accepted[0].lost, Rule.ABORT_SOON, "a connection is left"
        )

    async def _raises(self, call: Awaitable[object], rule: Rule) -> None:
        try:
            await call
        except OSError:
            return
        raise BrokenRule(rule, "it did not raise")
