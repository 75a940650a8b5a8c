"""An ASGI application, and how its connections are served: `Settings`."""

from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from dataclasses import dataclass
from typing import Any

from wscore import ServerConnection, ServerHandshake

from ..options import ConnectionOptions
from .headers import RawHeaders
from .scope import Scope

Message = MutableMapping[str, Any]
Receive = Callable[[], Coroutine[Any, Any, Message]]
Send = Callable[[Message], Coroutine[Any, Any, None]]
Application = Callable[[Scope, Receive, Send], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the connections of one application have in common."""

    app: Application
    options: ConnectionOptions
    handshake: ServerHandshake
    """Copied for each connection."""
    ping_interval: float | None = None
    """Seconds of silence before a ping; None for half of the options' `timeout`."""
    root_path: str = ""
    """The start of the path that a proxy has removed."""
    asgi_version: str = "3.0"
    headers: Callable[[], RawHeaders] = tuple
    """Returns the headers of each response that accepts."""

    def core(self) -> ServerConnection:
        """A new connection of the core."""
        options = self.options
        return ServerConnection(
            handshake=self.handshake.fresh_copy(),
            max_message_size=options.max_message_size,
            open_timeout=options.open_timeout,
            close_timeout=options.close_timeout,
            timeout=options.timeout,
            ping_interval=self.ping_interval,
        )
