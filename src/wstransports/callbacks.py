"""Running the user's callbacks: in tasks that are counted, with their errors contained."""

import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, ParamSpec, Protocol

from .errors import ConnectionClosed, Peer
from .runtime import Pipe

logger = logging.getLogger("wstransports")

P = ParamSpec("P")


class Link(Protocol):
    """What the callbacks need of their connection."""

    client: Peer | None

    def log(self, what: str) -> None:
        """Log one line about the connection."""

    def callback_failed(self) -> None:
        """Close the connection with 1011: a callback raised."""

    def advance_close(self) -> None:
        """Continue the closing handshake as far as possible."""


class Callbacks:
    """The tasks of one connection, which run its callbacks."""

    __slots__ = ("_link", "closing", "context", "pipe", "running")

    pipe: Pipe

    def __init__(self, link: Link, context: Context) -> None:
        self.context = context
        """What all the callbacks run in, so that each sees the variables that others set."""
        self.running = 0
        """The number of tasks that have not ended."""
        self.closing = False
        """The connection is closing: each task ends with `advance_close`."""
        self._link = link

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
            self._link.advance_close()

    async def call(self, name: str, callback: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Run a user's callback; an exception is handled by `failed` and not raised."""
        try:
            await callback(*args)
        except Exception as error:  # noqa: BLE001  # a callback may raise anything
            self.failed(name, error)

    def failed(self, name: str, error: Exception) -> None:
        """A callback raised: log that, and close the connection, unless it is ConnectionClosed.

        One about this client is not logged; one about another client is one line in the log.
        """
        link = self._link
        closed = _closed_connections(error)
        if not closed:
            logger.error("%s: %s raised", link, name, exc_info=error)
            link.callback_failed()
        elif others := [one for one in closed if one.client is not link.client]:
            link.log(f"{name} ended because another client is closed: {others[0]}")

    async def _run(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            await function(*args)
        finally:
            self.end()


def _closed_connections(error: BaseException) -> list[ConnectionClosed]:
    """The ConnectionClosed errors that make up `error`; [] if it contains any other."""
    if isinstance(error, ConnectionClosed):
        return [error]
    if not isinstance(error, BaseExceptionGroup):
        return []
    found = [_closed_connections(one) for one in error.exceptions]
    return [one for ones in found for one in ones] if all(found) else []
