"""The contract between the API and an event loop: everything that an adapter supplies.

It is synchronous wherever possible, because no loop runs anything else between two awaits. An
adapter calls the `Sink` that it was given; the API calls `Pipe` and `Runtime`.
"""

import logging
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from contextvars import Context
from types import TracebackType
from typing import Any, Protocol, TypeVar

from .address import Address
from .batch import Batch
from .identity import Identity

# So many turns of the loop read what has arrived. One is enough for most loops, but uvloop polls
# after its timers, trio runs tasks in random order, and anyio's streams take a few steps.
TURNS = 8

# The usual high-water mark of a Pipe, in bytes.
WRITE_LIMIT = 64 * 1024

T = TypeVar("T")


class Sink(Protocol):
    """What an adapter calls: plain functions, in this order.

    `connected` once, `data_received` any number of times, `eof_received` at most once, and
    `connection_lost` once, last, whatever ended the connection (`Pipe.abort` included). An
    adapter calls none of them during a call of its `Pipe`. None raises: an error in handling
    input is logged, and leads to `Pipe.abort`. If an accepted connection ends before it is
    connected, in its TLS handshake, `connection_lost` is the only call. After that a pipe refers
    to its sink no more, so that connections need no garbage collector.
    """

    @property
    def identity(self) -> Identity:
        """What logs about the connection, and names it in log lines."""

    def connected(self, pipe: "Pipe") -> None:
        """The byte stream is connected; `pipe` controls it."""

    def data_received(self, data: bytes | memoryview) -> None:
        """Bytes arrived; never called while reading is paused. The memory of a memoryview may be
        reused once this has returned."""

    def eof_received(self) -> None:
        """The peer closed its half; ours still works if the transport has half-close."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The byte stream is closed: cleanly (None), or because of `exc`."""


class LostSink:
    """Takes the place of a pipe's sink when its stream is lost: the two would be a cycle."""

    def __init__(self, sink: Sink) -> None:
        self.identity: Identity = sink.identity

    def connected(self, pipe: "Pipe") -> None:
        """It is over."""

    def data_received(self, data: bytes | memoryview) -> None:
        """It is over."""

    def eof_received(self) -> None:
        """It is over."""

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""


class Pipe(Protocol):
    """One byte stream."""

    full: bool
    """More than the high-water mark waits to be sent, or the stream is broken and
    `connection_lost` will follow: senders should `await drain()`."""

    def write(self, data: bytes) -> None:
        """Send `data` without blocking; ignored once the stream is closed or lost."""

    def writelines(self, parts: list[bytes]) -> None:
        """Send `parts` in order, as `write` would send their concatenation. A large message and its
        header are sent without a copy, in one system call where the stream can do that."""

    def set_write_limit(self, size: int) -> None:
        """Set the high-water mark of `full` to `size` bytes, at least 1; it is WRITE_LIMIT before.
        Once a stream is `full`, it stays so until only about a quarter of that waits.
        """

    def waiting(self) -> int:
        """How many written bytes are still waiting to be sent."""

    async def drain(self) -> None:
        """Wait until `full` is False or the connection is lost. Any number of tasks may wait."""

    def pause_reading(self) -> None:
        """Call neither `Sink.data_received` nor `eof_received` until `resume_reading`."""

    def resume_reading(self) -> None:
        """Read again."""

    def close(self) -> None:
        """Send what is written, then close our half. The sink still gets what arrives;
        `connection_lost` follows when the peer closes its half too, or after `abort`."""

    def abort(self) -> None:
        """Drop the stream and all unsent bytes; `connection_lost` follows soon."""

    def info(self, name: str) -> Any:
        """Look up "peername", "sockname", "socket" or "ssl_object"; None if there is none."""

    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        """Run a coroutine in a task of this stream, each step of it in `context`. Its first step
        runs at once if the loop can do that, but later while a task runs in that context: it cannot
        be entered twice. The coroutine raises nothing but the loop's cancellation."""

    def cancel(self) -> None:
        """Cancel all tasks that `start` made."""

    def call_at(self, when: float, call: Callable[[], None]) -> "Timer":
        """Call `call` when the loop's clock reaches `when`, but never within this call.

        When the last of TURNS calls in a row runs, each made within the one before for a time that
        has passed, the sink has got all that had arrived before the first.
        """


class Signal(Protocol):
    """A one-shot event: any number of tasks wait, and any code may set it."""

    def set(self) -> None:
        """Let `wait` return, now or later; further calls change nothing."""

    def wait(self) -> Awaitable[object]:
        """Await it to return when `set` has been called."""


class Waiter(Protocol):
    """What one task waits for, again and again."""

    def wait(self) -> Awaitable[object]:
        """Await it to return after the next call of `set` or `wake`."""

    def set(self) -> None:
        """Let the task that waits go on, now or later; nothing happens if none waits."""

    def wake(self) -> None:
        """As `set`, but the task goes on within this call if the loop can do that, and no other
        task is running: call it only where a callback might run."""


class Timer(Protocol):
    """A scheduled call, as `Pipe.call_at` returns it."""

    def cancel(self) -> object:
        """Cancel the call."""


class Task(Protocol):
    """A running coroutine, as `Runtime.spawn` returns it."""

    def cancel(self) -> object:
        """Cancel it; ignored once it has ended."""


class CredentialsRefused(ConnectionError):
    """A proxy rejected the credentials, or requires some."""


class Listener(Protocol):
    """An open listener, as `Runtime.listen` returns it and `async with` yields it to the user."""

    def address(self) -> tuple[str, int]:
        """The address it listens on: host and port, or the path and 0."""

    def is_serving(self) -> bool:
        """Whether it accepts connections."""

    def close(self) -> None:
        """Stop accepting; open connections are left alone.

        TLS handshakes in progress are dropped. Further calls change nothing.
        """


class Runtime(Protocol):
    """One event loop."""

    batch: Batch
    """The loop's Batch, which gathers output while input is handled."""

    checkpoints: bool
    """Whether every await of the API must be a checkpoint, even with nothing to wait for: trio's
    rule, and only a cost on asyncio."""

    def now(self) -> float:
        """The loop's clock, in seconds."""

    def signal(self) -> Signal:
        """A new Signal."""

    def waiter(self) -> Waiter:
        """A new Waiter."""

    def timeout_at(self, when: float) -> AbstractAsyncContextManager[object]:
        """A block that is cancelled, and raises TimeoutError, when the clock reaches `when`."""

    def checkpoint(self) -> Awaitable[None]:
        """Let other tasks run once."""

    def in_thread(self, function: Callable[[], T]) -> Awaitable[T]:
        """Run a function that blocks, in another thread; returns what it returns, or raises."""

    def current_task(self) -> object:
        """The task that is running; compare it with `is`."""

    def is_cancellation(self, error: BaseException) -> bool:
        """Whether `error` is the cancellation of the task that is running, and must go on; not
        that of another task which it has awaited."""

    def task_group(self) -> AbstractAsyncContextManager[Any]:
        """A block that owns tasks, on loops whose tasks need an owner. Its end waits for them; it
        is always left without an exception."""

    def spawn(self, coroutine: Coroutine[Any, Any, None], group: Any = None) -> Task:
        """Run a coroutine soon, in a task that only its `cancel` cancels, until the loop ends.

        It belongs to `group`, which `task_group` returned on entry, or without one to the loop. The
        coroutine raises nothing but the loop's cancellation.
        """

    def shield(self) -> AbstractContextManager[object]:
        """A block whose awaits cancellation does not interrupt: it must bound its time."""

    async def listen(
        self, where: Address, make_sink: Callable[[], Sink | None], group: Any = None
    ) -> Listener:
        """Accept connections at `where`, each with a sink of its own.

        `make_sink` is called when a connection is accepted, before its TLS handshake; if it
        returns None, the connection is closed at once.
        Their tasks belong to `group`, which `task_group` returned on entry, or without one to the
        loop. Raises OSError, naming the address, if it cannot listen.
        """

    async def connect(self, where: Address, sink: Sink, group: Any = None) -> None:
        """Connect to `where`, with TLS and through a proxy as needed, and call `sink.connected`.

        `group` is as for `listen`. Raises OSError if it cannot connect, CredentialsRefused if
        that is because of a proxy.
        """


class LoopRuntime(Runtime, Protocol):
    """A Runtime that is registered for its loop."""

    def stop_signals(self, stop: Callable[[], None]) -> AbstractContextManager[object]:
        """A block in which the first SIGINT or SIGTERM calls `stop` in the loop; the next one has
        its former effect. Raises RuntimeError unless in the main thread."""


async def wait_for(runtime: Runtime, signal: Signal, seconds: float) -> None:
    """Wait for a signal, at most `seconds` (0: no limit); the caller checks whether it came."""
    if not seconds:
        await signal.wait()
        return
    with suppress(TimeoutError):
        async with runtime.timeout_at(runtime.now() + seconds):
            await signal.wait()
            return
    await read_arrived(runtime)


async def read_arrived(runtime: Runtime) -> None:
    """Let the loop read what has arrived: if it was held up, that may have come in time."""
    for _ in range(TURNS):
        await runtime.checkpoint()


def peer_name(pipe: Pipe) -> tuple[str, int] | None:
    """The peer's host and port; None if it has none (Unix sockets, memory)."""
    name = pipe.info("peername")
    return name[:2] if isinstance(name, tuple) else None  # of IPv4 the same object


def log_dropped(sink: Sink, error: Exception) -> None:
    """Log `error`, raised by an extension or by us, because of which a connection is dropped."""
    what = "dropped because of an error in handling the connection"
    sink.identity.log(logging.ERROR, what, error=error)


@types.coroutine
def in_context(coroutine: Coroutine[Any, Any, None], context: Context) -> Generator[Any, Any, None]:
    """Run a coroutine with each step in `context`, on a loop whose tasks cannot be given one."""
    step: Callable[[Any], Any] = coroutine.send
    arguments: list[Any] = [None]  # no name: a cancellation's traceback refers to this frame
    while True:
        try:
            trap = context.run(step, arguments.pop())
        except StopIteration:
            return
        try:
            step = coroutine.send
            arguments.append((yield trap))
        except GeneratorExit:  # thrown inside, it would look like one that was raised there
            context.run(coroutine.close)
            raise
        except BaseException as error:  # noqa: BLE001  # it goes on inside
            step = coroutine.throw
            arguments.append(error)


_finders: list[Callable[[], LoopRuntime | None]] = []


def register(find: Callable[[], LoopRuntime | None], first: bool = False) -> None:
    """Register an adapter; `find` returns its Runtime if its loop is running here, else None.

    With `first` it is asked before the adapters that are registered already.
    """
    _finders.insert(0 if first else len(_finders), find)


def running() -> LoopRuntime:
    """The Runtime of the running loop. Raises RuntimeError if no loop is running."""
    for find in _finders:
        runtime = find()
        if runtime is not None:
            return runtime
    raise RuntimeError("no event loop is running: call this from a coroutine")


async def checkpoint(runtime: Runtime) -> None:
    """Let other tasks run once, on a loop with `checkpoints`."""
    if runtime.checkpoints:
        await runtime.checkpoint()


class Served(Protocol):
    """The server of a block."""

    loop: Any
    """The block sets it to the loop that it drives; `loop.run_forever()` serves."""

    async def __aenter__(self) -> Any:
        """Listen."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""


Block = Callable[[Served], AbstractContextManager[Any]]
"""A block of a server on a loop that it drives from outside: yields the listener, and suppresses
the error that its own stop caused."""

_blocks: list[Block] = []


def register_block(block: Block) -> None:
    """Register an adapter's Block, for a loop that can be driven from outside."""
    _blocks.append(block)


def block(server: Served) -> AbstractContextManager[Any]:
    """The Block of a server. Raises RuntimeError inside a running loop."""
    check_none_runs()
    return _blocks[0](server)


def check_none_runs() -> None:
    """Raise RuntimeError inside a running loop."""
    for find in _finders:
        if find() is not None:
            raise RuntimeError(
                "an event loop is running already: use `async with server:` or `await"
                " server.serve_forever()`, because `with server:` drives a loop of its own"
            )


Main = Callable[[], Coroutine[Any, Any, None]]
Runner = Callable[[Main], object]
"""Runs an async function in an event loop of its own: `trio.run` is one."""

_runners: list[Runner] = []


def register_runner(run: Runner) -> None:
    """Register how an adapter runs a whole program."""
    _runners.append(run)


def default_runner() -> Runner:
    """The Runner that was registered first. Raises RuntimeError inside a running loop."""
    check_none_runs()
    return _runners[0]
