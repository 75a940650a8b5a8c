"""One room in this process: its members, and how far they are."""

import logging
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Protocol

from wscore import PreparedMessage

from ..client import Client
from ..log import LoggerLike, log
from ..runtime import Runtime, Signal
from .broker import Broker, BrokerLost, Publication
from .position import Position

# The most messages that one call reads from the history.
PAGE = 128

# The most messages that are held until those before them are read.
MOST_HELD = 256


class Owner(Protocol):
    """What a room needs of the rooms of its process."""

    runtime: Runtime
    broker: Broker
    logger: LoggerLike | None

    def tend(self, room: "Subscription") -> None:
        """Have `run` called soon, once more."""

    def message(self, publication: Publication) -> PreparedMessage | None:
        """What members get of it; None for nothing."""

    def announce(self, members: Iterable[Client], message: PreparedMessage) -> None:
        """Send a message to members."""

    def dismiss(self, room: "Subscription", clients: Collection[Client]) -> None:
        """These have missed messages, and are not members any more: close them with 1012."""

    def forget(self, room: "Subscription") -> None:
        """It is neither subscribed nor needed."""


class _Round:
    """What waits until the room has been tended."""

    def __init__(self, over: Signal) -> None:
        self.over = over
        self.error: Exception | None = None


class Subscription:
    """A room with members in this process, or with clients that join.

    All members have got the same: everything up to `position`. Only `published` and `run` move it
    on, and `run` is called by one task at a time.
    """

    __slots__ = (
        *("_behind", "_entering", "_gone", "_held", "_owner", "_reading", "_round"),
        *("joining", "members", "name", "position", "present"),
    )

    def __init__(self, name: str, owner: Owner) -> None:
        self.name: str = name
        self.members: dict[Client, None] = {}  # a set that keeps its order
        self.present: dict[Client, tuple[str, bytes]] = {}
        """Those that are listed as present, with their name and what they say of themselves."""
        self.joining: set[Client] = set()
        """Clients that join."""
        self.position: Position | None = None
        """How far the members are; None while the room is not subscribed."""
        self._owner = owner
        self._behind = False  # something is missing
        self._reading = False  # the room is being subscribed, or its history read
        self._held: list[Publication] = []  # what came meanwhile, and cannot be given yet
        self._entering = False  # the broker may have forgotten who is present
        self._gone: set[str] = set()  # who is to be taken off the broker's list
        self._round: _Round | None = None

    @property
    def wanted(self) -> bool:
        """Whether anybody needs it to be subscribed."""
        return bool(self.members or self.joining)

    # What the broker reports.

    def published(self, publication: Publication) -> None:
        """A message comes from the broker."""
        if self._is_next(publication):
            self._advance(publication)
        elif not self._is_old(publication):
            self._hold(publication)

    def is_level(self, newest: Position) -> bool:
        """Whether the members are as far as the broker was when it returned this position."""
        here = self.position
        return here is None or (newest.epoch == here.epoch and newest.offset <= here.offset)

    def catch_up(self) -> None:
        """The broker has more, or has lost something: read it."""
        self._behind = True
        self._owner.tend(self)

    def enter_again(self) -> None:
        """The broker may have lost who is present."""
        self._entering = bool(self.present)
        self.retry()

    def retry(self) -> None:
        """Do what failed, if anything did."""
        if self._is_due():
            self._owner.tend(self)

    # Members.

    def add(self, client: Client, present: tuple[str, bytes] | None) -> None:
        """Make a client a member: it has got everything up to `position`."""
        self.members[client] = None
        if present is not None:
            self.present[client] = present

    def remove(self, client: Client) -> None:
        """A member leaves."""
        del self.members[client]
        self._leave(client)
        self.retry()

    async def settle(self) -> None:
        """Wait until the broker knows who left, if it can be reached."""
        if self._gone:
            with suppress(BrokerLost):
                await self._tended()

    def absent(self, member: str) -> None:
        """A client that was listed as present did not become a member."""
        self._gone.add(member)
        self._owner.tend(self)

    async def ready(self) -> Position:
        """Wait until the room is subscribed; returns the position. Raises BrokerLost."""
        while self.position is None:
            await self._tended()
        return self.position

    async def reach(self, position: Position) -> bool:
        """Catch up, because a client was further already; returns whether there is such a position.

        Raises BrokerLost.
        """
        self._behind = True
        await self._tended()
        here = await self.ready()
        return here.epoch == position.epoch and here.offset >= position.offset

    async def _tended(self) -> None:
        if self._round is None:
            self._round = _Round(self._owner.runtime.signal())
        tended = self._round
        self._owner.tend(self)
        await tended.over.wait()
        if tended.error is not None:
            raise BrokerLost(f"room {self.name!r}: {tended.error}") from tended.error

    # In the background.

    async def run(self) -> None:
        """Bring what the broker knows of the room in line with what happened here."""
        error: Exception | None = None
        try:
            while self._is_due():
                await self._step()
        except OSError as lost:
            error = lost
        except Exception as failure:  # noqa: BLE001  # the broker's own, whatever it is
            error = failure
            await self._give_up(failure)
        if self.position is None and not self.wanted and not self._gone:
            self._owner.forget(self)
        self.end_round(error)

    def end_round(self, error: Exception | None) -> None:
        """Those who wait go on, or raise because of `error`."""
        tended, self._round = self._round, None
        if tended is not None:
            tended.error = error
            tended.over.set()

    def _is_due(self) -> bool:
        """Whether there is anything to do."""
        subscribed = self.position is not None
        pending = self._gone or (subscribed and (self._behind or self._entering))
        return bool(pending) or subscribed is not self.wanted

    async def _step(self) -> None:
        """Do the first thing that is due."""
        broker = self._owner.broker
        if self._gone:
            gone = list(self._gone)
            await broker.leave(self.name, gone)
            self._gone.difference_update(gone)
        elif not self.wanted:
            self.position = None
            self._behind = self._entering = False
            await broker.unsubscribe(self.name)
        elif self.position is None:
            self._reading = True
            try:
                self.position = await broker.subscribe(self.name)
            finally:
                self._take_held()
        elif self._entering:
            await self._enter()
        else:
            await self._read(self.position)

    async def _enter(self) -> None:
        self._entering = False
        try:
            await self._owner.broker.enter(self.name, dict(self.present.values()))
        except BaseException:
            self._entering = True
            raise

    async def _read(self, since: Position) -> None:
        """Read the next page of the history."""
        self._behind, self._reading = False, True
        try:
            history = await self._owner.broker.read(self.name, since, PAGE)
            if history.follows(since):
                for publication in history.publications:
                    if self._is_next(publication):
                        self._advance(publication)
                self._behind = self._behind or history.position.offset > self._offset()
            else:
                self._cut(history.position)
        finally:
            self._take_held()

    async def _give_up(self, failure: Exception) -> None:
        """Nothing is known of the room any more: begin again with those that join."""
        what = "the broker failed in room '%s': its members are closed with 1012"
        log(self._owner.logger, logging.ERROR, what, self.name, error=failure)
        self._cut(None)
        self._behind = self._entering = False
        self._gone.clear()
        try:
            await self._owner.broker.unsubscribe(self.name)
        except Exception as error:  # noqa: BLE001  # it is known to fail
            what = "the broker did not end room '%s' either: %s"
            log(self._owner.logger, logging.DEBUG, what, self.name, str(error))

    # The order of messages.

    def _is_next(self, publication: Publication) -> bool:
        here, at = self.position, publication.position
        return here is not None and at.offset == here.offset + 1 and at.epoch == here.epoch

    def _is_old(self, publication: Publication) -> bool:
        here, at = self.position, publication.position
        return here is not None and at.offset <= here.offset and at.epoch == here.epoch

    def _offset(self) -> int:
        assert self.position is not None
        return self.position.offset

    def _advance(self, publication: Publication) -> None:
        """Give the next message to all members."""
        self.position = publication.position
        if self.members:
            message = self._owner.message(publication)
            if message is not None:
                self._owner.announce(self.members, message)

    def _hold(self, publication: Publication) -> None:
        """Something before this is missing, and is perhaps being read."""
        if self._reading and len(self._held) < MOST_HELD:
            self._held.append(publication)
        elif self._reading or self.position is not None:
            self.catch_up()

    def _take_held(self) -> None:
        """Give what was held to the members, as far as nothing before it is missing."""
        self._reading = False
        held, self._held = self._held, []
        for publication in held:
            self.published(publication)

    def _cut(self, position: Position | None) -> None:
        """The members miss something: they are members no more, and those to come begin there."""
        members = list(self.members)
        self.members.clear()
        for client in members:
            self._leave(client)
        self.position = position
        if members:
            self._owner.dismiss(self, members)

    def _leave(self, client: Client) -> None:
        present = self.present.pop(client, None)
        if present is not None:
            self._gone.add(present[0])
