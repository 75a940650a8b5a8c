"""What opens and closes with a server, such as its rooms."""

from typing import Any, Protocol

from .client import Client
from .runtime import Runtime


class Part(Protocol):
    """What belongs to a server. A part that is not open ignores all calls but `open`."""

    async def open(self, runtime: Runtime, group: Any) -> None:
        """The server's block begins, and the server does not listen yet; raises OSError.

        `group` is as for `Runtime.listen`.
        """

    async def close(self) -> None:
        """The server's block ends, and all its clients have left; raises nothing."""

    def client_left(self, client: Client) -> None:
        """The client's state is no longer OPEN. A second call changes nothing."""


class Parts:
    """The parts of one server."""

    def __init__(self) -> None:
        self._parts: list[Part] = []

    def add(self, part: Part) -> None:
        """From now on this belongs to the server too."""
        self._parts.append(part)

    async def open(self, runtime: Runtime, group: Any) -> None:
        """Open them in turn. Raises OSError; call `close` then."""
        for part in self._parts:
            await part.open(runtime, group)

    async def close(self) -> None:
        """Close those that are open."""
        for part in reversed(self._parts):
            await part.close()

    def client_left(self, client: Client) -> None:
        """A client has left."""
        for part in self._parts:
            part.client_left(client)
