"""Whose connections they are: what a session tells its server, or who connected."""

from typing import TYPE_CHECKING, Protocol

from wscore import Event

from .client import Client

if TYPE_CHECKING:
    from .connection.session import Session


class Owner(Protocol):
    """Whose connection it is."""

    def connected(self, session: "Session") -> None:
        """The stream stands."""

    def handshake(self, session: "Session", event: Event) -> None:
        """What the opening handshake came to; `session.open` follows where it succeeded."""

    def entered(self, client: Client) -> None:
        """The client's set-up is over."""

    def left(self, client: Client) -> None:
        """The client's state has left OPEN."""

    def gone(self, session: "Session") -> None:
        """The stream is gone, and nothing runs for it any more."""
