"""The rooms of one process, while they are open: `Hub`."""

import itertools
import logging
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ..broadcast import Policy
from ..client import Client
from ..log import LoggerLike, log
from ..log_limit import LogLimit
from ..runtime import Runtime, wait_for
from .announcer import Announcer
from .broker import Broker, BrokerLost, Keep, Publication
from .crew import Crew
from .farewell import Farewell
from .pages import Pages
from .position import Position
from .rendering import Rendering
from .subscription import Subscription

# Seconds between two looks at the positions of all rooms, and between two renewals of who is
# present: a third of LEASE.
PERIOD = 5.0

# The most rooms in one such look.
PAGE = 256

# Without a history, a message may be that late, in seconds, before it counts as lost.
GRACE = 1.0

# Seconds in which the broker may still be informed of who left, when the rooms close.
CLOSING = 2.0


@dataclass(frozen=True)
class Settings:
    """What rooms were given."""

    keep: Keep
    policy: Policy
    drain: float
    """Seconds over which those are closed that missed messages."""
    logger: LoggerLike | None


class Hub:
    """It is the `Subscriber` of the broker, and the `Owner` of the subscriptions."""

    def __init__(
        self, runtime: Runtime, group: Any, broker: Broker, rendering: Rendering, settings: Settings
    ) -> None:
        self.runtime: Runtime = runtime
        self.broker: Broker = broker
        self.settings: Settings = settings
        self.logger: LoggerLike | None = settings.logger
        self.announcer: Announcer = Announcer(runtime, group, settings.policy)
        self.pages: Pages = Pages(runtime)
        self.message = rendering.message
        self.announce = self.announcer.send
        self._group = group
        self._crew = Crew(runtime, group)
        self._farewell = Farewell(runtime, group, settings.drain)
        self._rooms: dict[str, Subscription] = {}
        self._rooms_of: dict[Client, dict[Subscription, None]] = {}
        self._limit = LogLimit(runtime.now)
        self._process = os.urandom(8).hex()
        self._numbers = itertools.count(1)
        self._lost = False
        self._recovered = False
        self._closing = self._closed = False
        self._wake = runtime.signal()
        self._stopped = runtime.signal()
        self._over = runtime.signal()

    async def open(self) -> None:
        """Open the broker. Raises OSError."""
        await self.broker.open(self.runtime, self._group, self)
        self.runtime.spawn(self._keep(), self._group)

    async def close(self) -> None:
        """Close the broker, once it knows who has left. Raises nothing but cancellation."""
        self._closing = True
        self._stopped.set()
        self._wake.set()
        self._farewell.stop()
        await wait_for(self.runtime, self._crew.idle(), CLOSING)
        try:
            await self.broker.close()
        except Exception as error:  # noqa: BLE001  # the broker's own, whatever it is
            log(self.logger, logging.ERROR, "the rooms' broker failed to close", error=error)
        self._crew.stop()
        self._closed = True
        for room in list(self._rooms.values()):
            self.tend(room)
        await wait_for(self.runtime, self._over, CLOSING)

    # As a Subscriber.

    def published(self, publication: Publication) -> None:
        """A message was published."""
        room = self._rooms.get(publication.room)
        if room is not None:
            room.published(publication)

    def lost(self, error: Exception) -> None:
        """The broker is lost: the members stay."""
        self._lost = True
        what = "the rooms' broker is lost, and is tried again: %s"
        log(self.logger, logging.WARNING, what, str(error))

    def recovered(self) -> None:
        """The broker is back: look at what was missed."""
        self._lost = False
        self._recovered = True
        self._wake.set()
        log(self.logger, logging.INFO, "the rooms' broker is back")

    # As an Owner.

    def tend(self, room: Subscription) -> None:
        """Have it run soon. Once all is closed, those who wait for that raise BrokerLost."""
        if self._closed:
            room.end_round(BrokerLost("the rooms are closed"))
        else:
            self._crew.add(room)

    def dismiss(self, room: Subscription, clients: Collection[Client]) -> None:
        """Close clients that missed messages."""
        what = "%d members of room '%s' missed messages: they are closed with 1012"
        self._limit.log(self.logger, logging.WARNING, what, len(clients), room.name)
        for client in clients:
            self._drop(room, client)
        self._farewell.add(clients)

    def forget(self, room: Subscription) -> None:
        """Nobody needs it."""
        if self._rooms.get(room.name) is room:
            del self._rooms[room.name]

    # Members.

    def room(self, name: str) -> Subscription | None:
        """The room, if it has members here, or clients that join."""
        return self._rooms.get(name)

    def subscription(self, name: str) -> Subscription:
        """The room, for a client that joins."""
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = Subscription(name, self)
        return room

    def member_name(self) -> str:
        """A name for `Broker.enter`, which no other member has."""
        return f"{self._process}-{next(self._numbers)}"

    def add(self, room: Subscription, client: Client, present: tuple[str, bytes] | None) -> None:
        """Make a client a member."""
        room.add(client, present)
        self._rooms_of.setdefault(client, {})[room] = None

    async def leave(self, name: str, client: Client) -> bool:
        """Take a client out of a room; returns whether it was in it."""
        room = self._rooms.get(name)
        if room is None:
            return False
        left = client in room.members
        if left:
            self.announcer.catch_up(client)  # it gets nothing of this room later
            self._drop(room, client)
            room.remove(client)
        await room.settle()
        return left

    def client_left(self, client: Client) -> None:
        """Take a client out of all its rooms."""
        for room in self._rooms_of.pop(client, ()):
            room.remove(client)

    def _drop(self, room: Subscription, client: Client) -> None:
        rooms = self._rooms_of[client]
        del rooms[room]
        if not rooms:
            del self._rooms_of[client]

    # In the background.

    async def _keep(self) -> None:
        """Look after the rooms from time to time, and when the broker is back."""
        try:
            while not self._closing:
                if not self._recovered:
                    await wait_for(self.runtime, self._wake, PERIOD)
                self._wake = self.runtime.signal()
                recovered, self._recovered = self._recovered, False
                if not self._closing:
                    await self._try_to_look(recovered)
        finally:
            self._over.set()

    async def _try_to_look(self, recovered: bool) -> None:
        try:
            await self._look(recovered)
        except OSError as error:
            if not self._lost:
                what = "the rooms' broker did not say how far its rooms are: %s"
                log(self.logger, logging.WARNING, what, str(error))
        except Exception as error:  # noqa: BLE001  # the broker's own, whatever it is
            log(self.logger, logging.ERROR, "the rooms' broker failed", error=error)

    async def _look(self, recovered: bool) -> None:
        rooms = list(self._rooms.values())
        for room in rooms:
            if recovered:
                room.enter_again()
            else:
                room.retry()
        if any(room.present for room in rooms):
            await self.broker.renew()
        late: list[tuple[Subscription, Position]] = []
        for first in range(0, len(rooms), PAGE):
            page = rooms[first : first + PAGE]
            newest = await self.broker.positions([room.name for room in page])
            late += [(room, at) for room, at in zip(page, newest, strict=True)]
        if not self.settings.keep.history and not all(room.is_level(at) for room, at in late):
            await wait_for(self.runtime, self._stopped, GRACE)  # it may be on its way
        for room, at in late:
            if not room.is_level(at):
                room.catch_up()
