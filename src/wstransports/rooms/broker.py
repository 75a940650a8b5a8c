"""The contract between rooms and a broker, which orders, keeps and passes on their messages.

What is the same for every broker is the rooms' part: the position of each room, gaps, catching up,
resuming, members, and when to look at positions and to renew leases.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ..runtime import Runtime
from .position import Position

# Seconds for which members stay present after their process has renewed them for the last time.
LEASE = 15.0


class BrokerLost(ConnectionError):
    """The broker cannot be reached now, or does not answer."""


class Publication(NamedTuple):
    """A message that was published in a room.

    Attributes:
        `room`: the room's name.
        `position`: its place in the order of the room's messages.
        `data`: what was published: str for a text message, bytes for a binary one.
    """

    room: str
    position: Position
    data: str | bytes


@dataclass(frozen=True, slots=True)
class Keep:
    """What a broker keeps of a room for members that come back."""

    history: int
    """The most messages; 0 for none."""
    seconds: float
    """How long it keeps a message, and an idempotency key."""


@dataclass(frozen=True, slots=True)
class History:
    """What was published in a room after some position."""

    position: Position
    """That of the room's newest message."""
    publications: Sequence[Publication]
    """The messages after the position that was asked for, in order and without a gap."""
    complete: bool
    """Whether `publications` begin right after that position. False if the room is in another
    epoch by now, has not come that far, or keeps that part no more: there are none then."""

    def follows(self, since: Position) -> bool:
        """Whether this goes on after `since` without a gap, whatever the broker says of it."""
        epoch, offset = since
        for publication in self.publications:
            offset += 1
            if publication.position != (epoch, offset):
                return False
        newest = self.position
        whole = newest.offset >= offset if self.publications else newest.offset == offset
        return self.complete and newest.epoch == epoch and whole


class Subscriber(Protocol):
    """What a broker calls: plain functions, none of which raises."""

    def published(self, publication: Publication) -> None:
        """A message was published in a room that is subscribed. Within a room they come in order.

        More of them may come than was asked for: doubled ones, or of a room that was left.
        """

    def lost(self, error: Exception) -> None:
        """The connection is lost because of `error`: messages may be missing from now on."""

    def recovered(self) -> None:
        """Connected again, and subscribed to the same rooms: what is published from now on is
        reported."""


class Broker(Protocol):
    """Orders, keeps and passes on the messages of rooms.

    After `lost` a broker connects again by itself, for as long as it is open. Meanwhile its methods
    raise BrokerLost, within seconds. Cancelling a call leaves the broker usable.

    The first publication in a room begins an epoch, or `subscribe` does. Its name is random, or
    chosen where all processes see the same; no other epoch of the room has it. An epoch ends, and
    another begins, where the broker may have lost publications that it had reported or returned
    from `publish`. It outlives the room's history for as long as `subscribe` or `positions` is
    called at least once a minute.
    """

    async def open(self, runtime: Runtime, group: Any, subscriber: Subscriber) -> None:
        """Connect. `group` is as for `Runtime.connect`. Raises OSError, such as BrokerLost."""

    async def close(self) -> None:
        """Disconnect, within seconds, and end all tasks. Calls that wait raise BrokerLost."""

    async def publish(self, room: str, data: str | bytes, key: str | None, keep: Keep) -> Position:
        """Publish a message; returns its position.

        If `key` is one of a message that is still kept, or was published within `keep.seconds`,
        return the position of that message, and publish nothing. Without a key, a publish is never
        repeated. Raises BrokerLost; then the message may be published, or not.
        """

    async def subscribe(self, room: str) -> Position:
        """Report what is published in a room; returns the position after which that begins.

        Some of it may be reported before this returns. If this raises BrokerLost, the room is not
        subscribed.
        """

    async def unsubscribe(self, room: str) -> None:
        """Report no more of a room. Even if this raises BrokerLost, the room is not subscribed
        again."""

    async def read(self, room: str, since: Position, most: int) -> History:
        """Return the first `most` messages after `since`. Raises BrokerLost."""

    async def positions(self, rooms: Sequence[str]) -> list[Position]:
        """Return the position of each room's newest message. Raises BrokerLost."""

    async def enter(self, room: str, members: Mapping[str, bytes]) -> None:
        """List members of this process as present, each with what `present` returns for it.

        Entering a member again changes nothing else. Names are unique in all processes. Raises
        BrokerLost.
        """

    async def leave(self, room: str, members: Collection[str]) -> None:
        """Take members of this process off the list. Raises BrokerLost."""

    async def renew(self) -> None:
        """Keep this process's members present for another LEASE seconds. Raises BrokerLost."""

    async def present(self, room: str) -> dict[str, bytes]:
        """Return the members of all processes. Raises BrokerLost."""
