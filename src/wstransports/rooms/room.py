"""One room: `rooms["news"]`."""

from collections.abc import Callable, Iterator
from typing import Any

from wscore import State
from wscore.sending import Data

from ..client import Client
from ..runtime import checkpoint
from .checks import checked_data, checked_key, checked_since
from .hub import Hub
from .joining import Joined, Joining
from .position import Position


class Room:
    """One room. `rooms[name]` makes it; it costs nothing to make it again.

    `len(room)`, `client in room` and `for client in room` are about the members in this process.
    """

    __slots__ = ("_hub", "_is_ours", "name")

    def __init__(
        self, name: str, hub: Callable[[], Hub], is_ours: Callable[[Client[Any]], bool]
    ) -> None:
        self.name: str = name
        self._hub = hub
        self._is_ours = is_ours

    def __repr__(self) -> str:
        return f"<Room {self.name!r}>"

    def __len__(self) -> int:
        return len(self._members())

    def __contains__(self, client: object) -> bool:
        return client in self._members()

    def __iter__(self) -> Iterator[Client[Any]]:
        """Yield the members in this process, except those that leave meanwhile."""
        members = self._members()
        for client in list(members):
            if client in members:
                yield client

    async def join(
        self,
        client: Client[Any],
        *,
        since: Position | str | None = None,
        info: str | None = None,
    ) -> Joined:
        """Make a client a member: it gets all messages of the room from now on.

        Call it in on_connection or later. A client that leaves the server leaves its rooms.

        Arguments:
            `since`: the position up to which the client has got all messages, as a Position or as
                its str, which may come from the client. It first gets those after it, if they are
                all still there. Anything that is not a position of this room resumes nothing.
            `info`: lists the client in `present()`, with this str.

        Returns whether it resumed, and the room's position. Until your code waits for something
        else, no later message is sent to the client. Raises ConnectionClosed if the client is not
        connected, or what it missed was lost while it was sent (1012); BrokerLost; RuntimeError if
        the client is a member already, or the rooms are not open; ValueError for a client of
        another server; TypeError.
        """
        if not isinstance(client, Client):
            raise TypeError(f"join() takes a client of the server, not {client!r}")
        at = checked_since(since)
        if info is not None and not isinstance(info, str):
            raise TypeError(f"info must be str, such as a name or JSON, not {info!r}")
        about = None if info is None else checked_data(info, "info").encode()
        if not self._is_ours(client):
            raise ValueError(
                f"{client!r} is not a client of the server that these rooms belong to: only its"
                " clients can join"
            )
        hub = self._hub()
        if client.state is not State.OPEN:
            raise client._session.closed_error()
        room = hub.subscription(self.name)
        if client in room.members or client in room.joining:
            raise RuntimeError(
                f"{client!r} is in room {self.name!r} already: join it once, or leave it first"
            )
        return await Joining(hub, room, client).join(at, about)

    async def leave(self, client: Client[Any]) -> bool:
        """Send a client no more messages of the room; returns whether it was a member.

        Then `present` does not list it any more, also if it has left with its connection before.
        Raises RuntimeError if the rooms are not open.
        """
        hub = self._hub()
        left = await hub.leave(self.name, client)
        await checkpoint(hub.runtime)
        return left

    async def publish(self, data: Data, *, key: str | None = None) -> Position:
        """Send a message to all members, in all processes; returns its position.

        Arguments:
            `data`: str for a text message, bytes-like for a binary one.
            `key`: names the message: if you publish it again with the same key, within `seconds`
                of the rooms, then it is sent once, and you get the first position.

        It waits for the broker, and not for the members. Raises BrokerLost if the broker does not
        say that it has the message. It may have it: publish again with a `key` to be sure. Raises
        TypeError for other data, ValueError for text that is not Unicode or another key, and
        RuntimeError if the rooms are not open.
        """
        message, name = checked_data(data, "data"), checked_key(key)
        hub = self._hub()
        position = await hub.broker.publish(self.name, message, name, hub.settings.keep)
        await hub.announcer.settle()
        return position

    async def present(self) -> dict[str, str]:
        """Return who is present: the `info` of each member that joined with one, in all processes.

        The keys are names of the members, which are unique. Raises BrokerLost, and RuntimeError if
        the rooms are not open.
        """
        hub = self._hub()
        present = await hub.broker.present(self.name)
        await checkpoint(hub.runtime)
        return {name: info.decode(errors="replace") for name, info in present.items()}

    def _members(self) -> dict[Client[Any], Any]:
        room = self._hub().room(self.name)
        return {} if room is None else room.members
