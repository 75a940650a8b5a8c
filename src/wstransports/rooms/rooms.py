"""The rooms of a server: `Rooms`."""

import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from wscore.sending import Data

from ..broadcast import Policy
from ..client import Client
from ..runtime import Runtime, checkpoint, running
from ..server import WebSocketServer
from .broker import Broker, Publication
from .checks import checked_keep, checked_name, checked_seconds
from .hub import Hub, Settings
from .local import LocalBroker
from .position import Position
from .rendering import Rendering
from .room import Room

RenderT = TypeVar("RenderT", bound=Callable[[Publication], str | bytes])


class Rooms:
    """The rooms of a server: messages to all members of a room, in order.

    `rooms["news"]` is a `Room`. Rooms open and close with the block of their server. Without a
    server, `async with Rooms(broker=...) as rooms` publishes from elsewhere.

    Arguments:
        `server`: the WebSocketServer whose clients may join; None to publish only.
        `broker`: what passes messages on to other processes, such as a RedisBroker; None for rooms
            in this process alone.
        `history`: the most messages of a room that are kept for members that come back.
        `seconds`: how long they are kept.
        `slow`: what happens with members that have no buffer space: as for `broadcast`. "close"
            closes with 1013 those that exceed `max_waiting` or `max_seconds`. "drop" leaves out
            messages, unnoticed.
        `max_waiting`, `max_seconds`: as for `broadcast`.
        `drain`: seconds over which members are closed with 1012 that missed messages.

    Create it before the server's block. All processes that share rooms use the same `history` and
    `seconds`. Raises TypeError or ValueError for invalid arguments, RuntimeError if the server
    listens already.
    """

    def __init__(
        self,
        server: WebSocketServer | None = None,
        *,
        broker: Broker | None = None,
        history: int = 1000,
        seconds: float = 300,
        slow: Literal["close", "drop"] = "close",
        max_waiting: int = 2**20,
        max_seconds: float = 10,
        drain: float = 30,
    ) -> None:
        if server is not None and not isinstance(server, WebSocketServer):
            raise TypeError(f"Rooms() takes a WebSocketServer, or None, not {server!r}")
        if broker is not None and not hasattr(broker, "subscribe"):
            raise TypeError(f"broker must be a Broker, such as RedisBroker(url), not {broker!r}")
        if slow not in ("close", "drop"):
            raise ValueError(f'slow must be "close" or "drop", not {slow!r}')
        logger = None if server is None else server._options.logger
        self._server = server
        self._broker: Broker = LocalBroker() if broker is None else broker
        self._rendering = Rendering(logger)
        self._settings = Settings(
            checked_keep(history, seconds),
            Policy(slow, max_waiting, max_seconds),
            checked_seconds(drain, "drain"),
            logger,
        )
        self._hub: Hub | None = None
        self._group: AbstractAsyncContextManager[Any]
        if server is not None:
            server._attach(_Part(self))

    def __getitem__(self, name: str) -> Room:
        """Return a room: any name of 1 to 255 bytes in UTF-8. Raises TypeError or ValueError."""
        return Room(checked_name(name), self._opened, self._is_ours)

    async def publish(self, name: str, data: Data, *, key: str | None = None) -> Position:
        """Publish a message in the room of this name, as `Room.publish` does."""
        return await self[name].publish(data, key=key)

    def render(self, function: RenderT) -> RenderT:
        """Register `def render(publication)`, which makes what members get of a publication.

        It returns str for a text message, bytes for a binary one; without it members get the data
        as it was published. It is called about once for each publication in each process, so that
        all members get the same. `publication` has `room`, `data` and `position`: send
        `str(publication.position)` along, and clients can pass it on as `since`. If it raises, that
        is logged, and no member in this process gets this message. Returns `function`. Raises
        TypeError unless it is a plain function.
        """
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise TypeError(f"render must be a plain function, not {function!r}")
        self._rendering.function = function
        return function

    # Without a server.

    async def __aenter__(self) -> Self:
        """Open the broker. Raises OSError, and RuntimeError if the rooms have a server, or are open
        already."""
        if self._server is not None:
            raise RuntimeError("these rooms open with their server: enter the server's block")
        if self._hub is not None:
            raise RuntimeError("these rooms are open already: create others for another block")
        runtime = running()
        self._group = runtime.task_group()
        group = await self._group.__aenter__()
        try:
            await self._open(runtime, group)
        except BaseException:
            await self._group.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the broker."""
        runtime = self._opened().runtime
        try:
            with runtime.shield():
                await self._close()
        finally:
            await self._group.__aexit__(None, None, None)
        if kind is None:
            await checkpoint(runtime)

    async def _open(self, runtime: Runtime, group: Any) -> None:
        hub = Hub(runtime, group, self._broker, self._rendering, self._settings)
        await hub.open()
        self._hub = hub

    async def _close(self) -> None:
        hub = self._hub
        if hub is not None:
            await hub.close()
            self._hub = None

    def _opened(self) -> Hub:
        if self._hub is None:
            block = "the server's block" if self._server else "`async with rooms`"
            raise RuntimeError(f"these rooms are not open: enter {block} first")
        return self._hub

    def _is_ours(self, client: Client[Any]) -> bool:
        return self._server is not None and self._server._acceptor.is_client(client)


class _Part:
    """The rooms as a part of their server."""

    def __init__(self, rooms: Rooms) -> None:
        self.open = rooms._open
        self.close = rooms._close
        self._rooms = rooms

    def client_left(self, client: Client[Any]) -> None:
        """A client has left its rooms too."""
        hub = self._rooms._hub
        if hub is not None:
            hub.client_left(client)
