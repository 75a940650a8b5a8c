"""Checks that an adapter's Pipe keeps the contract, and calls its Sink by it."""

from typing import Any, cast

from ..address import Address
from ..runtime import TURNS, Pipe, Runtime, Signal, Sink
from .check_tasks import TaskChecks
from .end import End
from .host import Host
from .pairs import Join, Pairs
from .rules import BrokenRule, Rule

_BLOCK = 2**16

# More than a high-water mark and the buffers of any operating system hold.
_FLOOD = 2**26

# More than the usual high-water mark.
_MUCH = 2**20

# Other high-water marks, and whether `writelines` meets them.
_LIMITS = ((1000, False), (2**22, True))

_MESSAGE = bytes(range(256)) * 400


async def check_pipe(runtime: Runtime, host: Host, join: Join, half_close: bool = True) -> None:
    """Check the pipes of an adapter. Run it in the adapter's loop, after `check_runtime`.

    `await join(a, b)` connects two sinks to each other by a new pair of the adapter's pipes; `host`
    is the loop itself. `half_close` says whether one half of a stream can end before the other: in
    TLS it cannot. The checks take a few seconds of the loop's clock. Raises BrokenRule for the
    first rule that is broken.
    """
    tasks = TaskChecks(runtime, host, join)
    await tasks.timers()
    checks = _Checks(runtime, host, join)
    await checks.reads_in_turns()
    await checks.bytes_both_ways()
    await checks.closing()
    if half_close:
        await checks.half_open()
    await checks.pausing()
    await checks.pausing_during_data()
    await checks.back_pressure(lines=False)
    await checks.back_pressure(lines=True)
    await checks.write_limits()
    await checks.aborting()
    await checks.aborting_a_flood()
    await tasks.tasks()
    await tasks.contexts()
    await tasks.cancellations()


def joined(runtime: Runtime, where: Address, group: Any = None) -> Join:
    """A `join` for a runtime that listens and connects: `where` is an address with port 0.

    `group` is what an open `task_group` of the runtime gave, if the streams are to live in one.
    """

    async def join(a: Sink, b: Sink) -> None:
        accepted = _Accepted(b, runtime.signal())

        def make_sink() -> Sink:
            return cast(Sink, accepted)

        listener = await runtime.listen(where, make_sink, group)
        host, port = listener.address()
        at = Address(host, port) if where.unix_path is None else where
        await runtime.connect(at, a, group)
        await accepted.signal.wait()  # a listener that closes may drop what is not connected yet
        listener.close()

    return join


class _Accepted:
    """A sink, and a signal that it is connected."""

    def __init__(self, sink: Sink, signal: Signal) -> None:
        self.signal = signal
        self._sink = sink

    def connected(self, pipe: Pipe) -> None:
        """As a Sink."""
        self.signal.set()
        self._sink.connected(pipe)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)


class _Checks(Pairs):
    async def reads_in_turns(self) -> None:
        """What has arrived is read, however little time there is."""
        a, b = await self.pair()
        a.write(b"here")
        turns: list[int] = []

        def turn() -> None:
            turns.append(len(b.received))
            if len(turns) < TURNS:
                b.pipe.call_at(0, turn)

        b.pipe.call_at(0, turn)
        await self.host.until(
            lambda: len(turns) == TURNS, Rule.CALL_AT_CALLS, "one was never called"
        )
        if not turns[-1]:
            raise BrokenRule(Rule.CALL_AT_READS, f"nothing was read in {TURNS} turns")
        await self.received(b, b"here")
        await self.over(a, b)

    async def bytes_both_ways(self) -> None:
        """What is written arrives."""
        a, b = await self.pair()
        for end in (a, b):
            if end.pipe.full:
                raise BrokenRule(Rule.FULL, "it is True before anything was written")
            if end.pipe.waiting():
                raise BrokenRule(Rule.WAITING, "it is not 0 before anything was written")
            end.ask_names()
        for size in (1, 1000, len(_MESSAGE)):
            for sender, receiver in ((a, b), (b, a)):
                sender.write(_MESSAGE[:size])
                sender.write(_MESSAGE[:10])
                sender.writelines([_MESSAGE[:20], _MESSAGE[:size]])
                expected = _MESSAGE[:size] + _MESSAGE[:10] + _MESSAGE[:20] + _MESSAGE[:size]
                await self.received(receiver, expected)
        await self.over(a, b)

    async def pausing(self) -> None:
        """Nothing comes while reading is paused, and everything after that."""
        a, b = await self.pair()
        b.pause()
        a.write(_MESSAGE)
        await self.host.quiet()
        b.check()
        b.resume()
        await self.received(b, _MESSAGE, Rule.RESUMED)
        b.pause()
        a.write(_MESSAGE)
        a.close()
        await self.host.quiet()
        b.check()
        b.resume()
        await self.received(b, _MESSAGE, Rule.RESUMED)
        await self.host.until(lambda: b.at_eof, Rule.RESUMED, "eof_received() never came")
        await self.over(a, b)

    async def pausing_during_data(self) -> None:
        """The same, where data_received() pauses."""
        a, b = await self.pair()
        b.on_data = b.pause
        data = _MESSAGE * 20
        a.write(data)
        for _ in range(3):
            await self.host.until(lambda: b.paused, Rule.BYTES_ARRIVE, "nothing came")
            await self.host.quiet()
            b.check()
            b.resume()
        b.on_data = None
        await self.received(b, data, Rule.RESUMED)
        await self.over(a, b)

    async def closing(self) -> None:
        """What is written before a close arrives, then the end; both ends are called."""
        a, b = await self.pair()
        a.write(_MESSAGE)
        a.close()
        a.write(b"ignored", Rule.WRITE_IGNORED)
        a.writelines([b"ignored", b"too"], Rule.WRITE_IGNORED)
        await self.host.until(
            lambda: b.at_eof, Rule.EOF_ONCE, "it was not called when the peer closed"
        )
        await self.received(b, _MESSAGE, Rule.CLOSE_SENDS)
        b.close()
        await self.lost(a, b, rule=Rule.CLOSE_LOSES)
        for end in (a, b):
            end.write(b"ignored", Rule.WRITE_IGNORED)
            end.writelines([b"ignored", b"too"], Rule.WRITE_IGNORED)
            end.close()
            end.ask_names()
        await self.over(a, b)

    async def half_open(self) -> None:
        """The end of one half does not end the other."""
        a, b = await self.pair()
        b.write(_MESSAGE)
        a.close()
        await self.host.until(
            lambda: b.at_eof, Rule.EOF_ONCE, "it was not called when the peer closed"
        )
        await self.host.quiet()
        if a.lost or b.lost:
            raise BrokenRule(Rule.HALF_OPEN, "the connection was lost with one half")
        await self.received(a, _MESSAGE, Rule.CLOSE_READS_ON)
        b.write(_MESSAGE)
        b.close()
        await self.received(a, _MESSAGE, Rule.HALF_OPEN)
        await self.lost(a, b, rule=Rule.CLOSE_LOSES)
        await self.over(a, b)

    def flood(
        self, end: End, lines: bool = False, most: int = _MUCH, rule: Rule = Rule.FULL
    ) -> int:
        """Write until the pipe is full, with `writelines` if `lines`; returns how many bytes.

        Raises BrokenRule for `rule` if it is not full although more than `most` bytes wait.
        """
        written = 0
        while not end.pipe.full:
            if lines:
                end.writelines([bytes(10), bytes(_BLOCK - 10)])
            else:
                end.write(bytes(_BLOCK))
            written += _BLOCK
            waiting = end.pipe.waiting()
            if waiting > written:
                raise BrokenRule(Rule.WAITING, f"it is {waiting} after {written} bytes")
            if waiting > most or written > _FLOOD:
                raise BrokenRule(rule, f"it is False while {waiting} of {written} bytes wait")
        if not end.pipe.waiting():
            raise BrokenRule(Rule.WAITING, "it is 0 while the pipe is full")
        return written

    async def back_pressure(self, lines: bool) -> None:
        """Writing to a peer that does not read fills the pipe, and drain waits."""
        a, b = await self.pair()
        b.pause()
        written = self.flood(a, lines)
        early: list[int] = []

        async def drain() -> None:
            await a.pipe.drain()
            if a.pipe.full:
                early.append(a.pipe.waiting())

        drains = [self.host.job(drain) for _ in range(3)]
        await self.host.quiet()
        if early:
            raise BrokenRule(Rule.DRAIN_WAITS, f"it returned while {early[0]} bytes waited")
        b.resume()
        await self.received(b, bytes(written))
        await self.host.until(
            lambda: not a.pipe.waiting(), Rule.WAITING, "it is not 0 when all has arrived"
        )
        await self.host.until(
            lambda: not a.pipe.full, Rule.FULL, "it is still True when all has arrived"
        )
        await self.host.until(
            lambda: all(job.done for job in drains), Rule.DRAIN_RETURNS, "it never returned"
        )
        if early:
            raise BrokenRule(Rule.DRAIN_WAITS, f"it returned while {early[0]} bytes waited")
        await self.over(a, b)

    async def write_limits(self) -> None:
        """A stream is full when more than its limit waits, and not before."""
        for limit, lines in _LIMITS:
            await self.write_limit(limit, lines)

    async def write_limit(self, limit: int, lines: bool) -> None:
        """The same with one limit."""
        a, b = await self.pair()
        a.set_write_limit(limit)
        b.pause()
        written = self.flood(a, lines, limit + _BLOCK, Rule.WRITE_LIMIT)
        if a.pipe.waiting() <= limit:
            waiting = f"{a.pipe.waiting()} bytes wait"
            raise BrokenRule(Rule.WRITE_LIMIT, f"it is {limit}, but full while {waiting}")
        b.resume()
        await self.received(b, bytes(written))
        await self.host.until(
            lambda: not a.pipe.full,
            Rule.FULL,
            "it is still True when all has arrived",
        )
        await self.over(a, b)

    async def aborting(self) -> None:
        """An abort ends both ends, also after a close."""
        for half_closed in (False, True):
            a, b = await self.pair()
            if half_closed:
                b.close()
            a.abort()
            a.write(b"ignored", Rule.WRITE_IGNORED)
            a.writelines([b"ignored", b"too"], Rule.WRITE_IGNORED)
            await self.lost(a, rule=Rule.ABORT_SOON)
            await self.host.until(
                lambda b=b: b.lost or b.at_eof,  # type: ignore[misc]
                Rule.ABORT_SOON,
                "the other end was not called",
            )
            a.abort()
            await self.over(a, b)

    async def aborting_a_flood(self) -> None:
        """An abort does not wait for the peer to read, and wakes what waits in drain."""
        a, b = await self.pair()
        b.pause()
        self.flood(a)
        drain = self.host.job(a.pipe.drain)
        await self.host.quiet()
        a.abort()
        await self.lost(a, rule=Rule.ABORT_SOON)
        await self.host.until(lambda: drain.done, Rule.DRAIN_LOST, "it never returned")
        if drain.error is not None:
            raise BrokenRule(Rule.DRAIN_LOST, f"it raised {drain.error!r}") from drain.error
        await self.over(a, b)
