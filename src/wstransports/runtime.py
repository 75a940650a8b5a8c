"""The contract between the API and an event loop: all that an adapter supplies.

Synchronous wherever it can be, because between two awaits nothing else runs on any loop.
An adapter calls the `Sink` it was given; the API calls `Pipe` and `Runtime`.
"""

import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from types import TracebackType
from typing import Any, Protocol

from .batch import Batch
from .options import Address

logger = logging.getLogger("wstransports")


class Sink(Protocol):
    """What the API is to the adapter: plain functions, called in this order.

    `connected` once, then `data_received` any number of times, `eof_received` at most once,
    and `connection_lost` once, last, whatever ended the connection (also our own `abort`).
    None of them is called from within a call to `Pipe`, and none raises: an error in handling what
    came is logged, and ends in `abort`.
    """

    def connected(self, pipe: "Pipe") -> None:
        """The byte stream stands; `pipe` is its other side."""

    def data_received(self, data: bytes | memoryview) -> None:
        """Some bytes arrived; never called while reading is paused. What a memoryview shows may be
        overwritten once this has returned."""

    def eof_received(self) -> None:
        """The peer ended its half; ours still works where the transport allows it."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The byte stream is gone, by `exc` or (None) in good order."""


class Pipe(Protocol):
    """One byte stream."""

    full: bool
    """More waits for the peer than the high-water mark, or the stream broke and
    `connection_lost` is on its way: senders should `await drain()`."""

    def write(self, data: bytes) -> None:
        """Send `data`; never blocks, ignored once the stream is closed or lost."""

    def writelines(self, parts: list[bytes]) -> None:
        """Send `parts` one behind the other, as `write` would their sum, which nobody makes: a large
        message and its header go as they are, in one system call where the stream can."""

    def waiting(self) -> int:
        """How many written bytes the peer's side has not taken yet."""

    async def drain(self) -> None:
        """Return when `full` is False, or when the connection is lost. Any number may wait."""

    def pause_reading(self) -> None:
        """Call neither `data_received` nor `eof_received` until `resume_reading`."""

    def resume_reading(self) -> None:
        """Go on reading."""

    def close(self) -> None:
        """Send what is written, then end our half. What still arrives goes on to the sink;
        `connection_lost` follows when the peer ends its half too (it may be aborted before)."""

    def abort(self) -> None:
        """Drop the stream at once, unsent bytes included; `connection_lost` follows soon."""

    def info(self, name: str) -> Any:
        """ "peername", "sockname", "socket", "ssl_object"; None where there is no such thing."""

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in a task that belongs to this stream; its first step at once where
        the loop can do that. The coroutine lets no exception but cancellation escape."""

    def cancel(self) -> None:
        """Cancel whatever `start` began and still runs."""

    def call_at(self, when: float, call: Callable[[], None]) -> "Timer":
        """Call `call` when the loop's clock shows `when`: on its next turn, where it does now."""


class Signal(Protocol):
    """Something one task waits for and anybody may announce, once."""

    def set(self) -> None:
        """Wake who waits, now or later; a second call changes nothing."""

    async def wait(self) -> object:
        """Return when `set` has been called."""


class Timer(Protocol):
    """A call to come, as `Pipe.call_at` returns it."""

    def cancel(self) -> object:
        """Do not call."""


class Listener(Protocol):
    """An open listener, as `Runtime.listen` returns it."""

    server: Any
    """What the loop itself calls a server; `async with` yields it to the user."""

    def address(self) -> tuple[str, int]:
        """Where it listens: host and port, or the path and 0."""

    async def close(self) -> None:
        """Accept no more; connections that stand are left alone."""


class Runtime(Protocol):
    """One event loop."""

    batch: Batch
    """Output gathered while this loop handles input: the API's, one for each loop."""

    checkpoints: bool
    """Whether every await of the API has to let others run and be cancelled, also where there is
    nothing to wait for: a rule on some loops, a cost on others."""

    def now(self) -> float:
        """The loop's clock, in seconds."""

    def signal(self) -> Signal:
        """A new Signal."""

    def timeout_at(self, when: float) -> AbstractAsyncContextManager[object]:
        """A block that is cancelled, and raises TimeoutError, when the clock shows `when`."""

    def checkpoint(self) -> Awaitable[None]:
        """Let others run once."""

    def current_task(self) -> object:
        """Who runs now, comparable with `is`."""

    def task_group(self) -> AbstractAsyncContextManager[Any]:
        """A block that tasks live in, where the loop's tasks do; it is left without an exception
        in any case, and its end waits for them."""

    def shield(self) -> AbstractContextManager[object]:
        """A block that waits on where its task is cancelled: its time has to be bounded."""

    async def listen(
        self, where: Address, make_sink: Callable[[], Sink], group: Any = None
    ) -> Listener:
        """Accept connections at `where`, each with a sink of its own.

        All that runs for them lives in `group`, what an open `task_group` gave; without one it
        lives as long as the loop does. Raises OSError where it is not possible, naming the
        address.
        """

    async def connect(self, where: Address, sink: Sink, group: Any = None) -> None:
        """Connect to `where`, TLS and proxy included; `sink.connected` has been called then.

        `group` is as for `listen`. Raises OSError where it is not possible.
        """


async def wait_for(runtime: Runtime, signal: Signal, seconds: float) -> None:
    """Wait for a signal, `seconds` at most (0: for any time); who calls looks what came of it."""
    if not seconds:
        await signal.wait()
        return
    with suppress(TimeoutError):
        async with runtime.timeout_at(runtime.now() + seconds):
            await signal.wait()


def peer_name(pipe: Pipe) -> tuple[str, int] | None:
    """The peer's host and port; None where it has none (Unix sockets, memory)."""
    name = pipe.info("peername")
    return (name[0], name[1]) if isinstance(name, tuple) else None


def log_dropped(sink: Sink, error: Exception) -> None:
    """Log why a connection is dropped: `error` in handling it, ours or an extension's."""
    logger.error("%s: the connection is dropped, for an error in handling it", sink, exc_info=error)


_finders: list[Callable[[], Runtime | None]] = []


def register(find: Callable[[], Runtime | None], first: bool = False) -> None:
    """Make an adapter known; `find` returns its Runtime where its loop runs right here.

    `first` has it asked before the others.
    """
    _finders.insert(0 if first else len(_finders), find)


def running() -> Runtime:
    """The Runtime of the loop that runs here; RuntimeError where none does."""
    for find in _finders:
        runtime = find()
        if runtime is not None:
            return runtime
    raise RuntimeError("no event loop runs here: call this from a coroutine that one drives")


async def checkpoint(runtime: Runtime) -> None:
    """Let others run once, on a loop whose users expect that of every await."""
    if runtime.checkpoints:
        await runtime.checkpoint()


class Block(Protocol):
    """A loop driven from outside, for the `with` form."""

    def enter(self) -> Any:
        """Take or make the loop, enter the server in it; returns what the loop calls a server."""

    def run_forever(self) -> None:
        """Drive the loop until it is told to stop."""

    def exit(self, error: BaseException | None) -> bool:
        """Leave the server and put everything back; True where `error` is our stop's doing."""


class Served(Protocol):
    """What a block serves: a server."""

    loop: Any

    async def __aenter__(self) -> Any:
        """Listen."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""


_blocks: list[Callable[[Served], Block]] = []


def register_block(make: Callable[[Served], Block]) -> None:
    """Make an adapter's Block known, for a loop that can be driven from outside."""
    _blocks.append(make)


def block(server: Served) -> Block:
    """The Block for a server; RuntimeError inside a running loop."""
    for find in _finders:
        if find() is not None:
            raise RuntimeError(
                "a loop runs here already: use `async with socket:` or `await"
                " socket.serve_forever()`, for `with socket:` drives a loop of its own"
            )
    return _blocks[0](server)
