"""The memory adapter: its kernel (tasks, clock, cancellation), then its streams."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wstransports.address import Address
from wstransports.identity import Identity
from wstransports.runtime import Pipe, Runtime, Sink, running
from wstransports.testing.memory import MemoryEnd, MemoryListener, MemoryPipe, MemoryRuntime
from wstransports.testing.memory_kernel import Cancelled, Deadlock, MemoryTask

KiB = 1024


@pytest.fixture
def runtime() -> MemoryRuntime:
    return MemoryRuntime()


class Recorder:
    """A Sink that records its calls, and the task of each."""

    def __init__(self, runtime: MemoryRuntime) -> None:
        self.reported: list[Any] = []
        self.identity = Identity()
        self.pipe: Pipe
        self.runtime = runtime
        self.within_call = False

    def note(self, what: Any) -> None:
        assert not self.within_call, "a sink must not be called from within a call to Pipe"
        assert self.runtime.current_task() is None
        self.reported.append(what)

    def connected(self, pipe: Pipe) -> None:
        self.note("connected")
        self.pipe = pipe

    def data_received(self, data: bytes | memoryview) -> None:
        self.note(data)

    def eof_received(self) -> None:
        self.note("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.note(type(exc).__name__ if exc else "lost")


async def connected(runtime: MemoryRuntime) -> tuple[MemoryEnd, Recorder]:
    """A raw end, and the recorder that listened for it."""
    recorder = Recorder(runtime)
    listener = await runtime.listen(Address("host", 0), lambda: recorder)
    end = runtime.open(*listener.address())
    await runtime.settle()
    return end, recorder


async def paired(runtime: MemoryRuntime) -> tuple[Recorder, Recorder]:
    a, b = Recorder(runtime), Recorder(runtime)
    runtime.pair(a, b)
    await runtime.settle()
    return a, b


# --- The contract, and `run`


def test_it_fulfils_the_contract(runtime: MemoryRuntime) -> None:
    as_the_api_sees_it: Runtime = runtime
    as_a_sink: Sink = Recorder(runtime)
    assert as_the_api_sees_it.now() == 0.0
    assert as_a_sink is not None


def test_run_gives_arguments_and_returns_the_value(runtime: MemoryRuntime) -> None:
    async def add(a: int, b: int) -> int:
        await runtime.checkpoint()
        return a + b

    assert runtime.run(add, 2, 3) == 5
    assert runtime.run(add, 3, 4) == 7


def test_run_raises_what_main_raised(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        await runtime.checkpoint()
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        runtime.run(main)


def test_the_running_runtime_is_found_only_within_run(runtime: MemoryRuntime) -> None:
    async def main() -> object:
        return running()

    for _ in range(2):
        with pytest.raises(RuntimeError, match="no event loop"):
            running()
        assert runtime.run(main) is runtime


def test_the_running_runtime_is_forgotten_after_a_failure(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runtime.run(main)
    with pytest.raises(RuntimeError, match="no event loop"):
        running()
    assert runtime.current_task() is None


def test_run_within_run_is_refused(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        MemoryRuntime().run(runtime.checkpoint)

    with pytest.raises(RuntimeError, match="spawn a task"):
        runtime.run(main)


def test_each_runtime_has_a_batch_of_its_own(runtime: MemoryRuntime) -> None:
    assert runtime.batch is not MemoryRuntime().batch


# --- Tasks


def test_tasks_take_turns_in_order(runtime: MemoryRuntime) -> None:
    turns: list[str] = []

    async def take_turns(name: str) -> None:
        for turn in "12":
            turns.append(name + turn)
            await runtime.checkpoint()

    async def main() -> None:
        for name in "abc":
            runtime.spawn(take_turns(name))
        await runtime.settle()

    runtime.run(main)
    assert turns == ["a1", "b1", "c1", "a2", "b2", "c2"]


def test_a_task_is_awaited_for_its_value(runtime: MemoryRuntime) -> None:
    async def answer() -> int:
        await runtime.checkpoint()
        return 42

    async def main() -> tuple[int, int, int]:
        task = runtime.spawn(answer())
        assert not task.done
        with pytest.raises(RuntimeError, match="await its wait"):
            print(task.result)
        first = await task
        assert task.done
        return first, await task.wait(), task.result

    assert runtime.run(main) == (42, 42, 42)


def test_a_tasks_exception_goes_to_the_task_that_awaits_it(runtime: MemoryRuntime) -> None:
    async def fail() -> None:
        raise ValueError("shown")

    async def main() -> None:
        task = runtime.spawn(fail())
        for _ in range(2):
            with pytest.raises(ValueError, match="shown"):
                await task

    runtime.run(main)


def test_an_exception_that_nobody_awaited_fails_run_at_the_end(runtime: MemoryRuntime) -> None:
    ended = []

    async def fail() -> None:
        raise ValueError("not lost")

    async def main() -> None:
        runtime.spawn(fail())
        await runtime.settle()
        ended.append("main")

    with pytest.raises(ValueError, match="not lost"):
        runtime.run(main)
    assert ended == ["main"]
    runtime.run(runtime.settle)  # reported once


def test_an_awaiter_that_was_cancelled_has_not_seen_the_exception(runtime: MemoryRuntime) -> None:
    async def fail() -> None:
        await runtime.checkpoint()
        raise ValueError("not lost")

    async def wait_for(task: MemoryTask[None]) -> None:
        await task

    async def main() -> None:
        awaiter = runtime.spawn(wait_for(runtime.spawn(fail())))
        await runtime.checkpoint()
        awaiter.cancel()
        await runtime.settle()

    with pytest.raises(ValueError, match="not lost"):
        runtime.run(main)


def test_several_lost_exceptions_come_as_a_group(runtime: MemoryRuntime) -> None:
    async def fail(exc: Exception) -> None:
        raise exc

    def refused() -> None:
        runtime.open("nowhere", 1)

    async def main() -> None:
        runtime.spawn(fail(ValueError("one")))
        runtime.call_at(0, refused)
        runtime.call_at(0, refused)
        await runtime.settle()
        raise KeyError("main")

    with pytest.raises(ExceptionGroup) as caught:
        runtime.run(main)
    kinds = [type(exc) for exc in caught.value.exceptions]
    assert kinds == [ValueError, ConnectionRefusedError, ConnectionRefusedError, KeyError]


def test_an_exception_that_went_through_two_tasks_is_one(runtime: MemoryRuntime) -> None:
    async def fail() -> None:
        raise ValueError("once")

    async def wait_for(task: MemoryTask[None]) -> None:
        await task

    async def main() -> None:
        task = runtime.spawn(fail())
        runtime.spawn(wait_for(task))
        await wait_for(task)

    with pytest.raises(ValueError, match="once"):
        runtime.run(main)


def test_an_interruption_leaves_run_at_once(runtime: MemoryRuntime) -> None:
    async def interrupt() -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        runtime.spawn(interrupt())
        while True:
            await runtime.checkpoint()

    with pytest.raises(KeyboardInterrupt):
        runtime.run(main)


def test_an_awaitable_of_another_loop_is_refused(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="another event loop"):
        runtime.run(main)


def test_tasks_left_at_the_end_are_cancelled_and_clean_up(runtime: MemoryRuntime) -> None:
    steps = []

    async def stay() -> None:
        try:
            await runtime.signal().wait()
        finally:
            await runtime.checkpoint()
            steps.append("cleaned up")
            runtime.spawn(stay_longer())

    async def stay_longer() -> None:
        try:
            await runtime.checkpoint()
            await runtime.signal().wait()
        finally:
            steps.append("never begun, hence never here")

    async def main() -> None:
        runtime.spawn(stay())
        await runtime.settle()
        steps.append("main")

    runtime.run(main)
    assert steps == ["main", "cleaned up"]


def test_current_task(runtime: MemoryRuntime) -> None:
    async def who() -> object:
        await runtime.checkpoint()
        return runtime.current_task()

    async def main() -> None:
        task = runtime.spawn(who())
        me = runtime.current_task()
        assert await task is task
        assert runtime.current_task() is me is not task

    assert runtime.current_task() is None
    runtime.run(main)
    assert runtime.current_task() is None


def test_nothing_can_wait_outside_a_task(runtime: MemoryRuntime) -> None:
    waiting = runtime.checkpoint()
    with pytest.raises(RuntimeError, match="only a task"):
        waiting.send(None)


# --- The clock


def test_time_stands_still_until_it_is_turned(runtime: MemoryRuntime) -> None:
    woken = []

    async def sleeper(seconds: float) -> None:
        await runtime.sleep(seconds)
        woken.append((seconds, runtime.now()))

    async def main() -> None:
        for seconds in (3, 1, 2, 10):
            runtime.spawn(sleeper(seconds))
        await runtime.settle()
        assert (woken, runtime.now()) == ([], 0)
        await runtime.advance(2.5)
        assert (woken, runtime.now()) == ([(1, 1), (2, 2)], 2.5)
        await runtime.advance(0.5)
        assert woken[2:] == [(3, 3)]

    runtime.run(main)


def test_advance_lets_all_run_between_two_timers(runtime: MemoryRuntime) -> None:
    order: list[Any] = []

    async def repeat() -> None:
        while True:
            await runtime.sleep(1)
            order.append(runtime.now())
            for _ in range(3):
                await runtime.checkpoint()
            order.append("settled")

    async def main() -> None:
        runtime.spawn(repeat())
        runtime.call_at(2, lambda: order.append("timer of the same moment"))
        await runtime.advance(2)

    runtime.run(main)
    assert order == [1.0, "settled", "timer of the same moment", 2.0, "settled"]


def test_two_may_turn_the_clock(runtime: MemoryRuntime) -> None:
    order: list[Any] = []

    async def turn(seconds: float) -> None:
        await runtime.advance(seconds)
        order.append((seconds, runtime.now()))

    async def main() -> None:
        runtime.spawn(turn(5))
        short = runtime.spawn(turn(2))
        cancelled = runtime.spawn(turn(1))
        await runtime.checkpoint()
        cancelled.cancel()
        await short
        assert runtime.now() == 2
        await runtime.advance(10)

    runtime.run(main)
    assert (order, runtime.now()) == ([(2, 2), (5, 5)], 12)


def test_a_cancelled_advance_turns_nothing(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        turning = runtime.spawn(runtime.advance(5))
        await runtime.checkpoint()
        turning.cancel()
        with pytest.raises(Deadlock):
            await wait_for_ever(runtime)
        assert runtime.now() == 0

    runtime.run(main)


def test_the_clock_is_not_turned_back(runtime: MemoryRuntime) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        runtime.run(runtime.advance, -1)


def test_call_at(runtime: MemoryRuntime) -> None:
    calls = []

    async def main() -> None:
        await runtime.advance(5)
        runtime.call_at(4, lambda: calls.append("past"))
        runtime.call_at(3, lambda: calls.append("past, cancelled")).cancel()
        runtime.call_at(6, lambda: calls.append("cancelled")).cancel()
        runtime.call_at(7, lambda: calls.append("first"))
        runtime.call_at(7, lambda: calls.append("second"))
        assert calls == []
        await runtime.settle()
        assert calls == ["past"]
        await runtime.advance(2)

    runtime.run(main)
    assert calls == ["past", "first", "second"]


def test_settle_returns_when_only_the_caller_can_run(runtime: MemoryRuntime) -> None:
    steps = 0

    async def work() -> None:
        nonlocal steps
        for _ in range(50):
            await runtime.checkpoint()
            steps += 1

    async def main() -> None:
        runtime.spawn(work())
        await runtime.settle()
        assert (steps, runtime.now()) == (50, 0)

    runtime.run(main)


# --- Deadlock


async def wait_for_ever(runtime: MemoryRuntime) -> None:
    await runtime.signal().wait()


def test_a_deadlock_names_who_waits_where(runtime: MemoryRuntime) -> None:
    async def sleeper() -> None:
        await runtime.sleep(1)

    async def main() -> None:
        runtime.spawn(sleeper())
        await wait_for_ever(runtime)

    with pytest.raises(Deadlock) as caught:
        runtime.run(main)
    line = wait_for_ever.__code__.co_firstlineno + 1
    of_main, of_sleeper = str(caught.value).splitlines()[1:]
    assert f"main (test_memory.py:{main.__code__.co_firstlineno + 2}) > " in of_main
    assert f"> wait_for_ever (test_memory.py:{line}) > MemorySignal.wait" in of_main
    assert "sleeper (test_memory.py:" in of_sleeper
    assert "> Kernel.sleep (" in of_sleeper


def test_a_deadlock_does_not_hide_what_led_to_it(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        try:
            raise ValueError("the cause")
        finally:
            await wait_for_ever(runtime)

    with pytest.raises(Deadlock) as caught:
        runtime.run(main)
    chain: BaseException | None = caught.value
    while chain and not isinstance(chain, ValueError):
        chain = chain.__context__
    assert str(chain) == "the cause"


def test_main_can_clean_up_after_a_deadlock(runtime: MemoryRuntime) -> None:
    async def main() -> str:
        with pytest.raises(Deadlock):
            await wait_for_ever(runtime)
        await runtime.advance(1)
        return "cleaned up"

    assert runtime.run(main) == "cleaned up"


def test_a_task_that_never_ends_its_cleanup_is_a_deadlock(runtime: MemoryRuntime) -> None:
    async def stay() -> None:
        try:
            await wait_for_ever(runtime)
        finally:
            await runtime.sleep(1)

    async def main() -> None:
        runtime.spawn(stay())
        await runtime.settle()

    with pytest.raises(Deadlock, match=r"stay \("):
        runtime.run(main)


# --- Signals


def test_a_signal_wakes_all_its_waiters_in_order_and_stays_set(runtime: MemoryRuntime) -> None:
    woken = []

    async def main() -> None:
        signal = runtime.signal()

        async def wait(name: str) -> None:
            await signal.wait()
            woken.append(name)

        for name in "abc":
            runtime.spawn(wait(name))
        await runtime.settle()
        assert woken == []
        signal.set()
        signal.set()
        await wait("at once")
        assert woken == ["at once"]
        await runtime.settle()

    runtime.run(main)
    assert woken == ["at once", "a", "b", "c"]


def test_a_cancelled_waiter_leaves_nothing(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        signal = runtime.signal()
        task = runtime.spawn(signal.wait())
        await runtime.settle()
        assert len(signal._waiters) == 1
        task.cancel()
        await runtime.settle()
        assert not signal._waiters
        signal.set()

    runtime.run(main)


# --- Cancellation


def test_cancellation_is_thrown_in_where_the_task_waits(runtime: MemoryRuntime) -> None:
    steps = []

    async def work() -> str:
        try:
            await wait_for_ever(runtime)
        except Cancelled:
            steps.append("caught")
            await runtime.sleep(1)
            steps.append("cleaned up")
        return "finished all the same"

    async def main() -> str:
        task = runtime.spawn(work())
        await runtime.settle()
        task.cancel()
        assert steps == []
        await runtime.settle()
        assert steps == ["caught"]
        assert not task.done
        await runtime.advance(1)
        return await task

    assert runtime.run(main) == "finished all the same"
    assert steps == ["caught", "cleaned up"]


def test_cancellation_before_the_first_step(runtime: MemoryRuntime) -> None:
    steps = []

    async def work() -> None:
        steps.append("never here")

    async def main() -> None:
        task = runtime.spawn(work())
        task.cancel()
        with pytest.raises(Cancelled):
            await task
        assert task.done
        task.cancel()  # of a task that is over: nothing
        await runtime.settle()

    runtime.run(main)
    assert steps == []


def test_cancellation_of_a_task_that_was_woken_already(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        signal = runtime.signal()
        task = runtime.spawn(signal.wait())
        await runtime.settle()
        signal.set()
        task.cancel()
        with pytest.raises(Cancelled):
            await task

    runtime.run(main)


def test_a_task_both_woken_and_cancelled_is_run_once(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        signal, next_signal = runtime.signal(), runtime.signal()

        async def work() -> None:
            try:
                await signal.wait()
            except Cancelled:
                await next_signal.wait()

        task = runtime.spawn(work())
        await runtime.settle()
        signal.set()
        task.cancel()
        await runtime.settle()
        assert not task.done
        next_signal.set()
        await task

    runtime.run(main)


def test_a_task_may_cancel_itself(runtime: MemoryRuntime) -> None:
    steps = []

    async def work(waits: bool) -> None:
        task = runtime.current_task()
        assert task is not None
        task.cancel()
        steps.append("not at once")
        if waits:
            await runtime.checkpoint()
            steps.append("never here")

    async def main() -> None:
        runtime.spawn(work(waits=False))
        task = runtime.spawn(work(waits=True))
        with pytest.raises(Cancelled):
            await task

    runtime.run(main)
    assert steps == ["not at once", "not at once"]


def test_a_cancelled_main(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        task = runtime.current_task()
        assert task is not None
        runtime.call_at(0, task.cancel)
        await wait_for_ever(runtime)

    with pytest.raises(Cancelled):
        runtime.run(main)


# --- Timeouts


def timed(runtime: MemoryRuntime, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` while another task turns the clock by ten seconds."""

    async def with_time() -> None:
        task = runtime.spawn(main())
        await runtime.advance(10)
        await task

    runtime.run(with_time)


def test_a_timeout_raises_when_the_clock_gets_there(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with runtime.timeout_at(3):
                await wait_for_ever(runtime)
        assert runtime.now() == 3
        await runtime.sleep(1)  # nothing of it is left

    timed(runtime, main)


def test_a_timeout_that_is_not_needed(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        async with runtime.timeout_at(3):
            await runtime.sleep(1)
        await runtime.sleep(5)
        with pytest.raises(ValueError, match="mine"):
            async with runtime.timeout_at(8):
                raise ValueError("mine")
        await runtime.sleep(3)

    timed(runtime, main)


def test_a_timeout_in_the_past_strikes_at_the_first_wait(runtime: MemoryRuntime) -> None:
    steps = []

    async def main() -> None:
        async with runtime.timeout_at(0):
            steps.append("nobody waits here")
        with pytest.raises(TimeoutError):
            async with runtime.timeout_at(-1):
                await wait_for_ever(runtime)

    timed(runtime, main)
    assert steps == ["nobody waits here"]


def test_a_timeout_lets_a_cancellation_from_outside_through(runtime: MemoryRuntime) -> None:
    async def work() -> None:
        async with runtime.timeout_at(3):
            await wait_for_ever(runtime)

    async def main() -> None:
        early = runtime.spawn(work())
        await runtime.checkpoint()
        early.cancel()
        with pytest.raises(Cancelled):
            await early
        assert runtime.now() == 0
        both = runtime.spawn(work())
        runtime.call_at(3, both.cancel)  # before the timeout's own timer of that moment
        await runtime.checkpoint()
        with pytest.raises(Cancelled):
            await both

    timed(runtime, main)


def test_a_cancellation_during_the_cleanup_of_a_timeout(runtime: MemoryRuntime) -> None:
    async def work() -> None:
        async with runtime.timeout_at(3):
            try:
                await wait_for_ever(runtime)
            finally:
                await wait_for_ever(runtime)

    async def main() -> None:
        task = runtime.spawn(work())
        await runtime.sleep(4)
        task.cancel()
        with pytest.raises(Cancelled):
            await task

    timed(runtime, main)


@pytest.mark.parametrize(("outer", "inner"), [(3, 5), (5, 3), (3, 3)])
def test_nested_timeouts(runtime: MemoryRuntime, outer: float, inner: float) -> None:
    raised = []

    async def main() -> None:
        try:
            async with runtime.timeout_at(outer):
                try:
                    async with runtime.timeout_at(inner):
                        await wait_for_ever(runtime)
                except TimeoutError:
                    raised.append(("inner", runtime.now()))
                await wait_for_ever(runtime)
        except TimeoutError:
            raised.append(("outer", runtime.now()))

    timed(runtime, main)
    assert raised == ([("inner", 3), ("outer", 5)] if inner < outer else [("outer", 3)])


def test_both_nested_timeouts_strike_before_the_task_gets_its_turn(runtime: MemoryRuntime) -> None:
    raised = []

    async def main() -> None:
        await runtime.sleep(1)
        try:
            async with runtime.timeout_at(0):
                try:
                    async with runtime.timeout_at(0):
                        await wait_for_ever(runtime)
                except TimeoutError:
                    raised.append("inner")
        except TimeoutError:
            raised.append("outer")

    timed(runtime, main)
    assert raised == ["outer"]


def test_a_swallowed_timeout_is_not_raised(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        async with runtime.timeout_at(3):
            try:
                await wait_for_ever(runtime)
            except Cancelled:
                assert runtime.now() == 3
        with pytest.raises(TimeoutError):
            async with runtime.timeout_at(4):
                await wait_for_ever(runtime)

    timed(runtime, main)


# --- Listening and connecting


def test_listen_and_open(runtime: MemoryRuntime) -> None:
    sinks: list[Recorder] = []

    def make_sink() -> Recorder:
        sinks.append(Recorder(runtime))
        return sinks[-1]

    async def main() -> None:
        listener = await runtime.listen(Address("host", 80), make_sink)
        assert listener.address() == ("host", 80)
        ends = [runtime.open("host", 80) for _ in range(2)]
        for number, end in enumerate(ends):
            end.write(b"%d" % number)
        await runtime.settle()
        assert [sink.reported for sink in sinks] == [["connected", b"0"], ["connected", b"1"]]
        listener.close()
        with pytest.raises(ConnectionRefusedError, match="nothing listens"):
            runtime.open("host", 80)
        await ends[0].send(b"still there")
        await runtime.settle()
        assert sinks[0].reported[-1] == b"still there"

    runtime.run(main)


def test_an_address_is_listened_at_once_only(runtime: MemoryRuntime) -> None:
    async def listen(host: str | None, port: int, path: Path | None = None) -> MemoryListener:
        where = Address(host, port, unix_path=path)
        return await runtime.listen(where, lambda: Recorder(runtime))

    async def main() -> None:
        first = await listen("host", 80)
        await listen("other", 80)
        with pytest.raises(OSError, match="already") as caught:
            await listen("host", 80)
        assert caught.value.errno == errno.EADDRINUSE
        first.close()
        await listen("host", 80)
        first.close()  # a second time: not the new one's
        with pytest.raises(OSError, match="already"):
            await listen("host", 80)
        free = [(await listen("host", 0)).address() for _ in range(2)]
        assert len({("host", 80), *free}) == 3
        path = Path("run", "socket")
        assert (await listen(None, 0, path)).address() == (str(path), 0)
        runtime.open(str(path), 0)
        assert (await listen(None, 80)).address() == ("", 80)

    runtime.run(main)


def test_sockets_and_tls_are_refused(runtime: MemoryRuntime) -> None:
    def refuse(where: Address) -> None:
        with pytest.raises(ValueError, match="give a host and port"):
            runtime.run(runtime.listen, where, lambda: Recorder(runtime))

    refuse(Address("host", 80, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)))
    with socket.socket() as sock:
        refuse(Address("host", 80, sock=sock))


def test_connect_pipe_and_pair(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        client, server = Recorder(runtime), Recorder(runtime)
        listener = await runtime.listen(Address("host", 0), lambda: server)
        runtime.connect_pipe(client, *listener.address())
        assert client.reported == server.reported == []
        await runtime.settle()
        a, b = await paired(runtime)
        for one, other in [(client, server), (a, b)]:
            one.pipe.write(b"there")
            other.pipe.write(b"back")
            await runtime.settle()
            assert (one.reported, other.reported) == (
                ["connected", b"back"],
                ["connected", b"there"],
            )
        with pytest.raises(ConnectionRefusedError):
            runtime.connect_pipe(client, "host", 1)

    runtime.run(main)


def test_a_stream_in_memory_has_no_name(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        a, _ = await paired(runtime)
        names = ["peername", "sockname", "socket", "ssl_object"]
        assert [a.pipe.info(name) for name in names] == [None] * 4

    runtime.run(main)


# --- Bytes, and room for them


def test_bytes_go_both_ways(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        end, recorder = await connected(runtime)
        await end.send(b"hello")
        assert recorder.reported == ["connected"]
        await runtime.settle()
        assert recorder.reported == ["connected", b"hello"]
        assert end.received_now() == b""
        recorder.pipe.write(b"answer")
        assert recorder.pipe.waiting() == 6
        assert await end.receive() == b"answer"
        assert recorder.pipe.waiting() == 0
        recorder.pipe.write(b"a")
        recorder.pipe.write(b"b")
        await runtime.settle()
        assert end.received_now() == b"ab"

    runtime.run(main)


def test_no_sink_is_called_within_a_call_to_pipe(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        for method in ["close", "abort", "resume_reading", "pause_reading"]:
            a, b = await paired(runtime)
            b.pipe.write(b"under way")
            a.within_call = b.within_call = True
            a.pipe.write(b"x")
            getattr(a.pipe, method)()
            b.pipe.close()
            b.pipe.abort()
            a.within_call = b.within_call = False
            await runtime.settle()

    runtime.run(main)


def test_delivery_byte_by_byte() -> None:
    runtime = MemoryRuntime(chunk=1)

    async def main() -> None:
        a, b = await paired(runtime)
        a.pipe.write(b"abc")
        a.pipe.close()
        b.pipe.write(b"xyz")
        await runtime.settle()
        assert a.reported == ["connected", b"x", b"y", b"z"]
        assert b.reported == ["connected", b"a", b"b", b"c", "eof"]
        runtime.chunk = 2
        b.pipe.write(b"xyz")
        await runtime.settle()
        assert a.reported[4:] == [b"xy", b"z"]

    runtime.run(main)


def test_others_run_between_two_chunks(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        end, recorder = await connected(runtime)
        runtime.chunk = 2
        end.write(b"abcdef")
        while len(recorder.reported) < 2:
            await runtime.checkpoint()
        recorder.pipe.pause_reading()
        await runtime.settle()
        assert recorder.reported == ["connected", b"ab"]

    runtime.run(main)


def test_full_and_drain_with_several_waiters(runtime: MemoryRuntime) -> None:
    drained = []

    async def main() -> None:
        end, recorder = await connected(runtime)
        pipe = recorder.pipe
        runtime.chunk = 16 * KiB
        end.stop_taking()
        pipe.write(bytes(64 * KiB))
        assert not pipe.full
        await pipe.drain()
        pipe.write(b"x")
        assert (pipe.full, pipe.waiting()) == (True, 64 * KiB + 1)

        async def wait_for_room(name: str) -> None:
            await pipe.drain()
            drained.append((name, pipe.waiting()))

        for name in "abc":
            runtime.spawn(wait_for_room(name))
        await runtime.settle()
        assert drained == []
        end.start_taking()
        while pipe.waiting() > 16 * KiB:
            assert pipe.full
            assert drained == []
            await runtime.checkpoint()
        assert not pipe.full
        await runtime.settle()
        assert [name for name, _ in drained] == ["a", "b", "c"]
        assert len(end.received_now()) == 64 * KiB + 1

    runtime.run(main)


def test_full_ends_at_the_low_water_mark_not_at_the_next_write(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        end, recorder = await connected(runtime)
        runtime.chunk = 16 * KiB
        recorder.pipe.write(bytes(65 * KiB))
        while recorder.pipe.waiting() > 40 * KiB:
            await runtime.checkpoint()
        recorder.pipe.write(b"x")
        assert recorder.pipe.full
        await recorder.pipe.drain()
        assert recorder.pipe.waiting() <= 16 * KiB
        assert len(end.received_now()) >= 49 * KiB

    runtime.run(main)


def test_a_task_that_drains_waits_again_when_another_was_faster(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        end, recorder = await connected(runtime)
        pipe = recorder.pipe
        end.stop_taking()
        pipe.write(bytes(65 * KiB))

        async def fill() -> None:
            await pipe.drain()
            end.stop_taking()
            pipe.write(bytes(65 * KiB))

        runtime.spawn(fill())
        second = runtime.spawn(pipe.drain())
        await runtime.settle()
        end.start_taking()
        await runtime.settle()
        assert (second.done, pipe.full) == (False, True)
        end.start_taking()
        await second

    runtime.run(main)


@pytest.mark.parametrize("who", ["pipe", "end"])
def test_drain_returns_when_the_connection_is_lost(runtime: MemoryRuntime, who: str) -> None:
    async def main() -> None:
        end, recorder = await connected(runtime)
        end.stop_taking()
        recorder.pipe.write(bytes(65 * KiB))
        waiters = [runtime.spawn(recorder.pipe.drain()) for _ in range(2)]
        await runtime.settle()
        assert not any(task.done for task in waiters)
        (recorder.pipe.abort if who == "pipe" else end.reset)()
        for task in waiters:
            await task
        assert (recorder.pipe.full, recorder.pipe.waiting()) == (False, 0)

    runtime.run(main)


def test_a_raw_ends_send_waits_for_room(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        end, recorder = await connected(runtime)
        recorder.pipe.pause_reading()
        sending = runtime.spawn(end.send(bytes(65 * KiB)))
        await runtime.settle()
        assert not sending.done
        recorder.pipe.resume_reading()
        await sending

    runtime.run(main)


def test_paused_reading_holds_data_and_eof_back(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        a, b = await paired(runtime)
        b.pipe.pause_reading()
        a.pipe.write(b"data")
        a.pipe.close()
        await runtime.settle()
        assert b.reported == ["connected"]
        assert a.pipe.waiting() == 4
        b.pipe.resume_reading()
        b.pipe.pause_reading()
        await runtime.settle()
        assert b.reported == ["connected"]
        b.pipe.resume_reading()
        await runtime.settle()
        b.pipe.resume_reading()
        await runtime.settle()
        assert b.reported == ["connected", b"data", "eof"]
        assert a.pipe.waiting() == 0

    runtime.run(main)


def test_a_sink_may_pause_in_the_middle(runtime: MemoryRuntime) -> None:
    class Hesitant(Recorder):
        def data_received(self, data: bytes | memoryview) -> None:
            super().data_received(data)
            self.pipe.pause_reading()

    async def main() -> None:
        runtime.chunk = 1
        a, b = Recorder(runtime), Hesitant(runtime)
        runtime.pair(a, b)
        await runtime.settle()
        a.pipe.write(b"abc")
        await runtime.settle()
        assert b.reported == ["connected", b"a"]
        b.pipe.resume_reading()
        await runtime.settle()
        assert b.reported == ["connected", b"a", b"b"]

    runtime.run(main)


# --- The end of a stream


def test_half_close_from_the_raw_end(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        end, recorder = await connected(runtime)
        end.write(b"last")
        end.send_eof()
        await runtime.settle()
        assert recorder.reported == ["connected", b"last", "eof"]
        recorder.pipe.write(b"still works")
        assert await end.receive() == b"still works"
        assert not end.at_eof
        with pytest.raises(BrokenPipeError, match="ended its half"):
            end.write(b"too late")
        recorder.pipe.close()
        assert await end.receive() == b""
        assert end.at_eof
        assert recorder.reported == ["connected", b"last", "eof", "lost"]

    runtime.run(main)


def test_half_close_from_the_pipe(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        end, recorder = await connected(runtime)
        recorder.pipe.write(b"flushed")
        recorder.pipe.close()
        recorder.pipe.close()
        recorder.pipe.write(b"ignored")
        assert await end.receive() == b"flushed"
        assert await end.receive() == b""
        end.write(b"still goes on to the sink")
        await runtime.settle()
        assert recorder.reported == ["connected", b"still goes on to the sink"]
        end.send_eof()
        await runtime.settle()
        assert recorder.reported[2:] == ["eof", "lost"]
        with pytest.raises(BrokenPipeError, match="closed"):
            end.write(b"too late")

    runtime.run(main)


def test_a_closed_pipe_is_not_lost_before_it_is_flushed(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        a, b = await paired(runtime)
        b.pipe.pause_reading()
        a.pipe.write(b"last")
        a.pipe.close()
        b.pipe.close()
        await runtime.settle()
        assert a.reported == ["connected", "eof"]
        b.pipe.resume_reading()
        await runtime.settle()
        assert a.reported == ["connected", "eof", "lost"]
        assert b.reported == ["connected", b"last", "eof", "lost"]

    runtime.run(main)


def test_a_side_that_pauses_learns_of_the_end_later(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        a, b = await paired(runtime)
        b.pipe.pause_reading()
        a.pipe.close()
        b.pipe.close()
        await runtime.settle()
        assert (a.reported[1:], b.reported[1:]) == (["eof", "lost"], [])
        a.pipe.abort()  # of a stream that is over: nothing
        b.pipe.resume_reading()
        await runtime.settle()
        assert b.reported[1:] == ["eof", "lost"]

    runtime.run(main)


def test_a_side_that_pauses_may_abort_when_the_other_has_left(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        a, b = await paired(runtime)
        b.pipe.pause_reading()
        a.pipe.close()
        b.pipe.close()
        await runtime.settle()
        b.pipe.abort()
        await runtime.settle()
        assert (a.reported[1:], b.reported[1:]) == (["eof", "lost"], ["lost"])

    runtime.run(main)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1]),
            st.sampled_from(["write", "write", "close", "pause", "resume", "turn", "abort"]),
        ),
        max_size=30,
    ),
    st.sampled_from([1, 2, 100]),
)
def test_any_sequence_of_calls_keeps_the_order_of_the_contract(
    calls: list[tuple[int, str]], chunk: int
) -> None:
    runtime = MemoryRuntime(chunk)
    written = [b"", b""]
    closed = [False, False]
    paused = [False, False]
    aborted = False

    async def main() -> list[list[Any]]:
        nonlocal aborted
        sinks = a, b = await paired(runtime)
        for number, (side, call) in enumerate(calls):
            pipe = sinks[side].pipe
            a.within_call = b.within_call = True
            if call == "write":
                if not closed[side]:
                    written[side] += b"<%d>" % number
                pipe.write(b"<%d>" % number)
            elif call == "close":
                closed[side] = True
                pipe.close()
            elif call == "abort":
                aborted = True
                pipe.abort()
            elif call != "turn":
                paused[side] = call == "pause"
                pipe.pause_reading() if paused[side] else pipe.resume_reading()
            a.within_call = b.within_call = False
            if call == "turn":
                await runtime.checkpoint()
        await runtime.settle()
        return [a.reported, b.reported]

    for side, reported in enumerate(runtime.run(main)):
        chunks = [what for what in reported if isinstance(what, bytes)]
        received, sent = b"".join(chunks), written[1 - side]
        endings = [what for what in reported if what in ("lost", "ConnectionResetError")]
        eof = ["eof"] if "eof" in reported else []
        assert reported == ["connected", *chunks, *eof, *endings]
        assert len(endings) <= 1
        assert max(map(len, chunks), default=0) <= chunk
        assert sent.startswith(received)
        if eof:
            assert (closed[1 - side], received) == (True, sent)
        if any(paused):
            continue
        if aborted:
            assert endings
        else:
            assert (received, bool(eof)) == (sent, closed[1 - side])
            assert endings == (["lost"] if all(closed) else [])


def test_closing_from_within_eof_received(runtime: MemoryRuntime) -> None:
    class Polite(Recorder):
        def eof_received(self) -> None:
            super().eof_received()
            self.within_call = True
            self.pipe.write(b"bye")
            self.pipe.close()
            self.within_call = False

    async def main() -> None:
        a, b = Recorder(runtime), Polite(runtime)
        runtime.pair(a, b)
        await runtime.settle()
        a.pipe.close()
        await runtime.settle()
        assert a.reported == ["connected", b"bye", "eof", "lost"]
        assert b.reported == ["connected", "eof", "lost"]

    runtime.run(main)


def test_abort_drops_what_is_unsent_and_resets_the_peer(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        a, b = await paired(runtime)
        b.pipe.write(b"unread here")
        a.pipe.write(b"unsent")
        a.pipe.abort()
        a.pipe.abort()
        a.pipe.write(b"ignored")
        assert a.pipe.waiting() == 0
        await runtime.settle()
        assert a.reported == ["connected", "lost"]
        assert b.reported == ["connected", "ConnectionResetError"]
        b.pipe.write(b"ignored")
        b.pipe.close()
        b.pipe.abort()
        b.pipe.resume_reading()
        await runtime.settle()
        assert (len(a.reported), len(b.reported), b.pipe.waiting()) == (2, 2, 0)

    runtime.run(main)


def test_a_closing_stream_may_still_be_aborted(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        end, recorder = await connected(runtime)
        end.stop_taking()
        recorder.pipe.write(b"never taken")
        recorder.pipe.close()
        await runtime.settle()
        assert recorder.reported == ["connected"]
        recorder.pipe.abort()
        await runtime.settle()
        assert recorder.reported == ["connected", "lost"]
        with pytest.raises(ConnectionResetError):
            await end.receive()

    runtime.run(main)


def test_reset_is_noticed_even_while_paused(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        end, recorder = await connected(runtime)
        recorder.pipe.pause_reading()
        end.write(b"dropped")
        end.reset()
        await runtime.settle()
        assert recorder.reported == ["connected", "ConnectionResetError"]
        recorder.pipe.resume_reading()
        await runtime.settle()
        assert len(recorder.reported) == 2
        assert await end.receive() == b""
        with pytest.raises(BrokenPipeError):
            await end.send(b"too late")

    runtime.run(main)


def test_a_raw_end_learns_of_a_reset_after_what_it_has(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        end, recorder = await connected(runtime)
        recorder.pipe.write(b"taken")
        await runtime.settle()
        recorder.pipe.abort()
        await runtime.settle()
        assert await end.receive() == b"taken"
        with pytest.raises(ConnectionResetError):
            await end.receive()
        with pytest.raises(ConnectionResetError):
            end.write(b"too late")

    runtime.run(main)


def test_a_reset_before_the_connection_was_announced(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        recorder = Recorder(runtime)
        listener = await runtime.listen(Address("host", 0), lambda: recorder)
        runtime.open(*listener.address()).reset()
        await runtime.settle()
        assert recorder.reported == ["connected", "ConnectionResetError"]

    runtime.run(main)


@pytest.mark.parametrize("taking", [True, False])
def test_a_closed_raw_end_answers_more_bytes_with_a_reset(
    runtime: MemoryRuntime, taking: bool
) -> None:
    async def main() -> None:
        end, recorder = await connected(runtime)
        if not taking:
            end.stop_taking()
        end.close()
        await runtime.settle()
        assert recorder.reported == ["connected", "eof"]
        recorder.pipe.write(b"nobody wants this")
        await runtime.settle()
        assert recorder.reported == ["connected", "eof", "ConnectionResetError"]
        assert end.received_now() == b""

    runtime.run(main)


def test_a_closed_raw_end_and_a_closed_pipe_part_in_good_order(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        end, recorder = await connected(runtime)
        end.close()
        recorder.pipe.close()
        await runtime.settle()
        assert recorder.reported == ["connected", "eof", "lost"]

    runtime.run(main)


# --- start


def test_start_runs_the_first_step_at_once_and_nested(runtime: MemoryRuntime) -> None:
    order: list[Any] = []
    tasks: list[object] = []

    async def child(pipe: Pipe, depth: int) -> None:
        me = runtime.current_task()
        assert me not in tasks
        tasks.append(me)
        order.append(("in", depth))
        if depth:
            pipe.start(child(pipe, depth - 1), copy_context())
        assert runtime.current_task() is me
        await runtime.checkpoint()
        assert runtime.current_task() is me
        order.append(("out", depth))

    async def main() -> None:
        a, _ = await paired(runtime)
        me = runtime.current_task()
        a.pipe.start(child(a.pipe, 2), copy_context())
        assert runtime.current_task() is me
        order.append("caller goes on")
        await runtime.settle()

    runtime.run(main)
    ins, outs = [("in", 2), ("in", 1), ("in", 0)], [("out", 0), ("out", 1), ("out", 2)]
    assert order == [*ins, "caller goes on", *outs]


def test_start_from_a_sink(runtime: MemoryRuntime) -> None:
    tasks = []

    class Handler(Recorder):
        def data_received(self, data: bytes | memoryview) -> None:
            super().data_received(data)
            self.pipe.start(self.answer(bytes(data)), copy_context())
            assert runtime.current_task() is None

        async def answer(self, data: bytes) -> None:
            tasks.append(runtime.current_task())
            self.pipe.write(data.upper())

    async def main() -> None:
        listener = await runtime.listen(Address("host", 0), lambda: Handler(runtime))
        end = runtime.open(*listener.address())
        end.write(b"echo")
        assert await end.receive() == b"ECHO"

    runtime.run(main)
    assert [type(task) for task in tasks] == [MemoryTask]


@pytest.mark.parametrize("suspends", [True, False])
def test_an_exception_that_escapes_a_started_coroutine_fails_run(
    runtime: MemoryRuntime, suspends: bool
) -> None:
    steps = []

    async def fail() -> None:
        if suspends:
            await runtime.checkpoint()
        raise ValueError("not lost")

    async def main() -> None:
        a, _ = await paired(runtime)
        a.pipe.start(fail(), copy_context())
        steps.append("the caller goes on")
        await runtime.settle()

    with pytest.raises(ValueError, match="not lost"):
        runtime.run(main)
    assert steps == ["the caller goes on"]


def test_an_exception_in_a_sink_fails_run(runtime: MemoryRuntime) -> None:
    class Broken(Recorder):
        def data_received(self, data: bytes | memoryview) -> None:
            raise ValueError(bytes(data).decode())

    async def main() -> None:
        runtime.chunk = 1
        a = Recorder(runtime)
        runtime.pair(a, Broken(runtime))
        await runtime.settle()
        a.pipe.write(b"xy")
        await runtime.settle()

    with pytest.raises(ExceptionGroup) as caught:
        runtime.run(main)
    assert [str(exc) for exc in caught.value.exceptions] == ["x", "y"]


def test_a_started_coroutine_can_cancel_who_started_it(runtime: MemoryRuntime) -> None:
    async def cancel(task: MemoryTask[Any]) -> None:
        task.cancel()

    async def starter(pipe: Pipe, then: Callable[[], Awaitable[None]]) -> None:
        me = runtime.current_task()
        assert me is not None
        pipe.start(cancel(me), copy_context())
        await then()

    async def main() -> None:
        a, _ = await paired(runtime)
        with pytest.raises(Cancelled):
            await runtime.spawn(starter(a.pipe, runtime.checkpoint))

    runtime.run(main)


def test_what_start_began_and_ended_is_let_go(runtime: MemoryRuntime) -> None:
    async def main() -> None:
        a, _ = await paired(runtime)
        assert isinstance(a.pipe, MemoryPipe)
        for _ in range(100):
            a.pipe.start(runtime.settle(), copy_context())
            await runtime.settle()
        assert len(a.pipe._started) == 1

    runtime.run(main)


def test_cancel_reaches_all_that_start_began_and_nothing_else(runtime: MemoryRuntime) -> None:
    ends = []

    async def work(name: str, pipe: Pipe | None = None) -> None:
        try:
            if pipe is not None:
                pipe.cancel()  # from its own first step
            if name != "quick":
                await wait_for_ever(runtime)
            ends.append(name)
        except Cancelled:
            ends.append(name + " cancelled")

    async def main() -> None:
        a, b = await paired(runtime)
        a.pipe.cancel()
        for name in ["one", "quick", "two"]:
            a.pipe.start(work(name), copy_context())
        b.pipe.start(work("another pipe's"), copy_context())
        runtime.spawn(work("spawned"))
        await runtime.settle()
        a.pipe.start(work("itself", a.pipe), copy_context())
        assert ends == ["quick"]
        await runtime.settle()
        a.pipe.cancel()
        await runtime.settle()
        assert ends == ["quick", "one cancelled", "two cancelled", "itself cancelled"]

    runtime.run(main)


# --- Determinism


def test_the_same_run_gives_the_same_order_each_time() -> None:
    def once() -> list[Any]:
        runtime = MemoryRuntime(chunk=3)
        log: list[Any] = []

        async def talk(end: MemoryEnd, name: str) -> None:
            for number in range(5):
                end.write(f"{name}{number}".encode() * 4)
                log.append((runtime.now(), name, await end.receive()))
                await runtime.sleep(0.5 if name == "b" else 0.75)

        class Echo(Recorder):
            def data_received(self, data: bytes | memoryview) -> None:
                log.append(data)
                self.pipe.start(self.echo(bytes(data)), copy_context())

            async def echo(self, data: bytes) -> None:
                await runtime.checkpoint()
                self.pipe.write(data)

        async def main() -> None:
            listener = await runtime.listen(Address("host", 0), lambda: Echo(runtime))
            for name in "abc":
                runtime.spawn(talk(runtime.open(*listener.address()), name))
            await runtime.advance(10)

        runtime.run(main)
        return log

    assert once() == once()
    assert len(once()) > 50
