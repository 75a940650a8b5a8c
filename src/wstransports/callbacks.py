"""Running the user's callbacks: in tasks that are counted, with their errors contained."""

import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, ParamSpec, Protocol

from .errors import ConnectionClosed, Peer
from .identity import Identity
from .runtime import Pipe, Runtime

P = ParamSpec("P")

# Seconds after which a task that somebody else cancelled counts as a failed callback. A loop that
# shuts down cancels all tasks, including those that then close the connections with 1001.
_SHUTDOWN_SHOWS = 0.1


class Link(Protocol):
    """What the callbacks need of their connection."""

    @property
    def client(self) -> Peer | None:
        """The client, once the handshake is complete."""

    def is_neighbour(self, peer: Peer | None) -> bool:
        """Whether `peer` is a client of the same server."""

    @property
    def identity(self) -> Identity:
        """What logs about the connection."""

    def stop_messages(self) -> None:
        """Deliver no more messages."""

    def callback_failed(self) -> None:
        """Close the connection with 1011, or answer its request with 500: a callback raised."""

    def is_ending(self) -> bool:
        """Whether the connection is closing or closed, or about to be."""

    def advance_close(self) -> None:
        """Continue the closing handshake as far as possible."""


class Callbacks:
    """The tasks of one connection, which run its callbacks."""

    __slots__ = (
        "_cancelled",
        "_runtime",
        "closing",
        "context",
        "link",
        "pipe",
        "running",
        "stopped",
    )

    pipe: Pipe

    def __init__(self, link: Link, runtime: Runtime, context: Context) -> None:
        self.context: Context = context
        """What all the callbacks run in, so that each sees the variables that others set."""
        self.running: int = 0
        """The number of tasks that have not ended."""
        self.closing: bool = False
        """The connection is closing: each task ends with `advance_close`."""
        self.stopped: bool = False
        """A callback failed: none but on_closed may run."""
        self._cancelled = False  # all tasks, by us
        self.link: Link = link
        self._runtime = runtime

    def start(self, function: Callable[P, Awaitable[None]], *args: P.args, **_: P.kwargs) -> None:
        """Run one of our async functions in a task."""
        self.begin(self._run(function, *args))

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run one of our coroutines in a task; it must end with a call of `end`."""
        self.running += 1
        self.pipe.start(coroutine, self.context)

    def end(self) -> None:
        """A coroutine given to `begin` has ended."""
        self.running -= 1
        if self.closing:
            self.link.advance_close()

    def cancel(self) -> None:
        """Cancel all tasks."""
        self._cancelled = True
        self.pipe.cancel()

    async def call(self, name: str, callback: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Run a user's callback, and handle what it raises, as `failed` does."""
        try:
            await callback(*args)
        except BaseException as error:  # noqa: BLE001  # a callback may raise anything
            self.failed(name, error)

    def failed(self, name: str, error: BaseException) -> None:
        """Handle what a callback raised: log it, and close the connection with 1011.

        But clients may leave at any time: ConnectionClosed about this client just ends the
        callback, one about another client of the server is one line in the log.

        Raises what must go on, after it was handled: the cancellation of the task, and what ends
        the program, such as KeyboardInterrupt.
        """
        goes_on, own = self._split(error)
        if own is not None:
            self._handle(name, own)
        if _ends_program(goes_on):
            self._stop()
        elif goes_on and not self._cancelled and not _is_closing(goes_on):
            self.stopped = True
            self.link.stop_messages()
            when = self._runtime.now() + _SHUTDOWN_SHOWS
            self.pipe.call_at(when, partial(self._cancelled_by_others, name))
        if goes_on is not None:
            try:
                raise goes_on
            finally:  # its traceback refers to this frame
                del goes_on, error, own

    def _split(self, error: BaseException) -> tuple[BaseException | None, BaseException | None]:
        """The part of `error` that must go on, and the part that does not."""
        if isinstance(error, BaseExceptionGroup):
            return error.split(lambda one: self._goes_on(one))  # Python 3.11 takes no method
        return (error, None) if self._goes_on(error) else (None, error)

    def _goes_on(self, error: BaseException) -> bool:
        if isinstance(error, Exception | BaseExceptionGroup):
            return False
        if isinstance(error, KeyboardInterrupt | SystemExit) or _is_closing(error):
            return True
        return self._runtime.is_cancellation(error)

    def _handle(self, name: str, error: BaseException) -> None:
        link = self.link
        closed = _closed_connections(error)
        others = [one for one in closed if one.client is not link.client]
        if link.client is None or not closed or not all(map(self._is_about_neighbour, others)):
            link.identity.log(logging.ERROR, f"{name} raised", error=error)
            self._stop()
        elif others:
            what = f"{name} ended because another client is closed: {others[0]}"
            link.identity.log(logging.WARNING, what)

    def _is_about_neighbour(self, closed: ConnectionClosed) -> bool:
        return self.link.is_neighbour(closed.client)

    def _stop(self) -> None:
        self.stopped = True
        self.link.callback_failed()

    def _cancelled_by_others(self, name: str) -> None:
        if not self.link.is_ending():
            # A timer has no client's context, and the user's log filter may need it.
            log = self.link.identity.log
            self.context.run(lambda: log(logging.WARNING, f"{name} was cancelled"))
            self.link.callback_failed()

    async def _run(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            await function(*args)
        finally:
            self.end()


def _ends_program(error: BaseException | None) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_ends_program, error.exceptions))
    return isinstance(error, KeyboardInterrupt | SystemExit)


def _is_closing(error: BaseException) -> bool:
    """Whether `error` closes the coroutine that caught it, as where its loop is gone.

    `coroutine.close()` raises a new GeneratorExit in each frame that it ends, so the traceback has
    that one only. A GeneratorExit that the callback raised has passed through the callback's.
    """
    traceback = error.__traceback__
    return isinstance(error, GeneratorExit) and traceback is not None and traceback.tb_next is None


def _closed_connections(error: BaseException) -> list[ConnectionClosed]:
    """The ConnectionClosed errors that make up `error`; [] if it contains any other."""
    if isinstance(error, ConnectionClosed):
        return [error]
    if not isinstance(error, BaseExceptionGroup):
        return []
    found = [_closed_connections(one) for one in error.exceptions]
    return [one for ones in found for one in ones] if all(found) else []
