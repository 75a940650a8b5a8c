"""Whose connections they are: what a session tells the server."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from wscore import RequestReceived

from .client import Client
from .runtime import Pipe

if TYPE_CHECKING:
    from .session import Session


class Owner(Protocol):
    """Whose connection it is: the server."""

    def connected(self, session: "Session") -> None:
        """The stream stands."""

    def asked(self, session: "Session", event: RequestReceived) -> None:
        """A request wants an answer, by `accept` or `reject`."""

    def name(self, pipe: Pipe) -> tuple[str, int]:
        """What the peer's `addr` and `port` are."""

    def opened(self, session: "Session", client: Client) -> Coroutine[Any, Any, None]:
        """The client is connected: what is to be run for it."""

    def entered(self, client: Client) -> None:
        """The client's set-up is over."""

    def left(self, client: Client) -> None:
        """The client's state has left OPEN."""

    def gone(self, session: "Session") -> None:
        """The stream is gone, and nothing runs for it any more."""
