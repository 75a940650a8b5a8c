"""Checks of the tasks and timers of an adapter's Pipe."""

from collections.abc import Callable
from contextvars import ContextVar, copy_context

from .host import QUIET, TICK
from .pairs import Pairs
from .rules import BrokenRule, Rule

_MESSAGE = bytes(range(256)) * 400


class TaskChecks(Pairs):
    """What `start`, `cancel` and `call_at` do."""

    async def timers(self) -> None:
        """Timers call once, in time, unless cancelled."""
        a, b = await self.pair()
        runtime = self.runtime
        calls: dict[str, list[float]] = {name: [] for name in ("past", "now", "soon", "cancelled")}

        def note(name: str) -> Callable[[], None]:
            return lambda: calls[name].append(runtime.now())

        now = runtime.now()
        when = {"past": now - 1, "now": now, "soon": now + 2 * QUIET, "cancelled": now + QUIET}
        timers = {name: a.pipe.call_at(at, note(name)) for name, at in when.items()}
        if any(calls.values()):
            raise BrokenRule(Rule.CALL_AT_LATER, "it called before it returned")
        timers["cancelled"].cancel()
        await self.host.until(
            lambda: calls["past"] and calls["now"] and calls["soon"],
            Rule.CALL_AT_CALLS,
            "one was never called",
        )
        await self.host.quiet()
        if calls["cancelled"]:
            raise BrokenRule(Rule.CALL_AT_CANCELLED, "it called")
        if early := [at for at in calls["soon"] if at < when["soon"] - TICK]:
            raise BrokenRule(Rule.CALL_AT_LATER, f"{when['soon'] - early[0]:.4f} s too early")
        if twice := [name for name, times in calls.items() if len(times) > 1]:
            raise BrokenRule(Rule.CALL_AT_CALLS, f"{len(calls[twice[0]])} calls for one timer")
        timers["soon"].cancel()  # one that has called may be cancelled
        await self.over(a, b)

    async def tasks(self) -> None:
        """What start() begins runs, and cancel() ends it."""
        a, b = await self.pair()
        runtime = self.runtime
        here = runtime.current_task()
        tasks: list[object] = []
        ended: list[str] = []

        async def stay(name: str) -> None:
            try:
                tasks.append(runtime.current_task())
                await runtime.signal().wait()
            finally:
                ended.append(name)

        async def leave() -> None:
            tasks.append(runtime.current_task())

        a.pipe.start(leave(), copy_context())
        a.pipe.start(stay("cancelled"), copy_context())
        b.pipe.start(stay("the peer's"), copy_context())
        await self.host.until(lambda: len(tasks) == 3, Rule.STARTED, "one never ran")
        if None in tasks or here in tasks or len(set(map(id, tasks))) < 3:
            raise BrokenRule(Rule.STARTED, f"the current tasks were {tasks}, started from {here}")
        await self.host.quiet()
        if ended:
            raise BrokenRule(Rule.CANCELLED, "a task ended that was not cancelled")
        a.pipe.cancel()
        await self.host.until(lambda: ended, Rule.CANCELLED, "a task still runs")
        await self.host.quiet()
        if ended != ["cancelled"]:
            raise BrokenRule(Rule.CANCELLED, f"these were cancelled: {', '.join(ended)}")
        for sender, receiver in ((a, b), (b, a)):
            sender.write(_MESSAGE)
            await self.received(receiver, _MESSAGE, Rule.CANCELLED)
        b.pipe.cancel()
        await self.host.until(lambda: len(ended) == 2, Rule.CANCELLED, "a task still runs")
        await self.over(a, b)

    async def contexts(self) -> None:
        """Tasks see the variables of the context that they were given, also one after another."""
        a, b = await self.pair()
        runtime = self.runtime
        ours: ContextVar[str] = ContextVar("ours", default="nothing")
        shared = copy_context()
        seen: list[str] = []

        async def look(name: str) -> None:
            for step in ("begins", "goes on"):
                seen.append(f"{name} {step} after {ours.get()}")
                ours.set(f"{name} {step}")
                await runtime.checkpoint()

        async def begin_another() -> None:
            a.pipe.start(look("the second"), shared)  # whose context is entered already
            await look("the first")
            a.pipe.start(look("the third"), shared)  # entered again, in a later step

        a.pipe.start(begin_another(), shared)
        await self.host.until(lambda: len(seen) == 6, Rule.STARTED, "one never ran")
        before = "nothing"
        for line in seen:
            step, _, after = line.partition(" after ")
            if after != before:
                raise BrokenRule(Rule.CONTEXT, f"{step} after {before!r}, but sees {after!r}")
            before = step
        if ours.get() != "nothing":
            raise BrokenRule(Rule.CONTEXT, f"the caller sees {ours.get()!r}")
        await self.over(a, b)

    async def cancellations(self) -> None:
        """A cancellation differs from other exceptions, and from that of another task."""
        a, b = await self.pair()
        runtime = self.runtime
        begun = runtime.signal()
        caught: list[BaseException] = []
        known: list[bool] = []

        async def stay() -> None:
            begun.set()
            try:
                await runtime.signal().wait()
            except BaseException as error:
                caught.append(error)
                known.append(runtime.is_cancellation(error))
                known.append(not runtime.is_cancellation(KeyError()))
                raise

        a.pipe.start(stay(), copy_context())
        await begun.wait()
        a.pipe.cancel()
        await self.host.until(lambda: len(known) == 2, Rule.CANCELLED, "a task still runs")
        if not all(known):
            raise BrokenRule(Rule.IS_CANCELLATION, f"in the cancelled task it was wrong: {known}")
        if runtime.is_cancellation(caught[0]):
            raise BrokenRule(Rule.IS_CANCELLATION, "it was true in a task that is not cancelled")
        await self.over(a, b)
