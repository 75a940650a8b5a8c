"""The one way in which a user's callback is run: counted, and with its errors contained."""

import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, Protocol

from .errors import ConnectionClosed, Peer
from .runtime import Pipe

logger = logging.getLogger("wstransports")

P = ParamSpec("P")


class Link(Protocol):
    """The connection whose callbacks run: what they need of it."""

    client: Peer | None

    def log(self, what: str) -> None:
        """Log one line about the connection."""

    def callback_failed(self) -> None:
        """Close the connection with 1011: a callback raised."""

    def advance_close(self) -> None:
        """Go on with the closing handshake, as far as it goes."""


class Callbacks:
    """The tasks of one connection, and the callbacks that they run."""

    __slots__ = ("_link", "closing", "pipe", "running")

    pipe: Pipe

    def __init__(self, link: Link) -> None:
        self.running = 0
        """How many tasks have not ended."""
        self.closing = False
        """The connection is closing: its link settles at the end of each task."""
        self._link = link

    def start(self, function: Callable[P, Awaitable[None]], *args: P.args, **_: P.kwargs) -> None:
        """Run an async function of ours in a task."""
        self.begin(self._run(function, *args))

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine of ours in a task; it ends by calling `end`."""
        self.running += 1
        self.pipe.start(coroutine)

    def end(self) -> None:
        """What `begin` was given has come to its end."""
        self.running -= 1
        if self.closing:
            self._link.advance_close()

    async def call(self, name: str, callback: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Run a callback of the user's; an exception it raises is logged, and goes no further."""
        try:
            await callback(*args)
        except Exception as error:  # noqa: BLE001  # a callback may raise anything
            self.failed(name, error)

    def failed(self, name: str, error: Exception) -> None:
        """A callback raised: close the connection, unless all it says is that a client left."""
        link = self._link
        closed = _closed_connections(error)
        if not closed:
            logger.error("%s: %s raised", link, name, exc_info=error)
            link.callback_failed()
        elif others := [one for one in closed if one.client is not link.client]:
            link.log(f"{name} ended because another client is gone: {others[0]}")

    async def _run(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            await function(*args)
        finally:
            self.end()


def _closed_connections(error: BaseException) -> list[ConnectionClosed]:
    """The ConnectionClosed that an exception is, or a group is made of; [] for any other."""
    if isinstance(error, ConnectionClosed):
        return [error]
    if not isinstance(error, BaseExceptionGroup):
        return []
    found = [_closed_connections(one) for one in error.exceptions]
    return [one for ones in found for one in ones] if all(found) else []
