"""How a client becomes a member of a room: `Joining`."""

from collections.abc import Sequence
from typing import NamedTuple

from wscore import PreparedMessage, Reasons, State

from ..client import Client
from ..runtime import checkpoint
from .broker import Publication
from .farewell import REASON
from .hub import Hub
from .position import Position
from .subscription import PAGE, Subscription


class Joined(NamedTuple):
    """What `room.join` returns.

    Attributes:
        `resumed`: whether the client has got all messages after `since`. If not, it may have missed
            some: send it the state that they lead to.
        `position`: the room's position. The client gets all messages after it.
    """

    resumed: bool
    position: Position


class Joining:
    """One client on its way into one room."""

    def __init__(self, hub: Hub, room: Subscription, client: Client) -> None:
        self._hub = hub
        self._room = room
        self._client = client
        self._sent = False  # a message that it missed

    async def join(self, since: Position | None, info: bytes | None) -> Joined:
        """See `Room.join`."""
        hub, room, client = self._hub, self._room, self._client
        present: tuple[str, bytes] | None = None
        room.joining.add(client)
        try:
            await room.ready()
            if info is not None:
                present = (hub.member_name(), info)
                await hub.broker.enter(room.name, dict([present]))
            await checkpoint(hub.runtime)
            resumed = since is not None and await self._resume(since)
            position = await room.ready()  # from here on nothing waits
            self._check_open()
        except BaseException:
            if present is not None:
                room.absent(present[0])
            raise
        else:
            hub.add(room, client, present)
            return Joined(resumed, position)
        finally:
            room.joining.discard(client)
            if not room.wanted:
                hub.tend(room)

    async def _resume(self, at: Position) -> bool:
        """Send what the client missed after `at`, up to the room's position; returns whether that
        is possible. Raises ConnectionClosed if it is no longer, and BrokerLost."""
        hub, room = self._hub, self._room
        reached, most = False, PAGE
        while at != (here := await room.ready()):
            if at.epoch != here.epoch or at.offset > here.offset:
                # The client was further than this process, or its token is not from here.
                if reached or not hub.settings.keep.history or not await room.reach(at):
                    return self._missed()
                reached = True
                continue
            async with hub.pages.place():
                self._check_open()  # it may have left while it waited for its turn
                history = await hub.broker.read(room.name, at, most)
                if not history.follows(at):
                    return self._missed()
                since, (at, unsent) = at, self._send(history.publications, at)
                del history
            # A client that is slow holds no page, and reads about as much as it took.
            most = PAGE if unsent is None else max(1, at.offset - since.offset)
            if unsent is not None:
                await self._client.writer.send(unsent)
            await hub.runtime.checkpoint()
        return True

    def _send(
        self, publications: Sequence[Publication], at: Position
    ) -> tuple[Position, PreparedMessage | None]:
        """Send what follows on `at` while there is buffer space; returns how far, and the last
        message if there was none for it. Raises ConnectionClosed."""
        room, outbox = self._room, self._client._session.outbox
        for publication in publications:
            # What the members have not got yet comes to all of them later.
            if room.position is None or not _is_up_to(publication.position, room.position):
                break
            at = publication.position
            message = self._hub.message(publication)
            if message is None:
                continue
            self._sent = True
            try:
                if not outbox.try_send(message, at_once=False, most=None):
                    return at, message
            except Exception as error:  # an extension may raise anything
                outbox.broadcast_failed(error)
                raise outbox.closed_error() from error
        return at, None

    def _check_open(self) -> None:
        """Raise ConnectionClosed if the client has left, or is leaving."""
        if self._client.state is not State.OPEN:
            raise self._client._session.closed_error()

    def _missed(self) -> bool:
        """The client cannot get all. Raises ConnectionClosed if it got a part."""
        if self._sent:
            self._client.close_nowait(Reasons.SERVICE_RESTART, REASON)
            raise self._client._session.closed_error()
        return False


def _is_up_to(at: Position, here: Position) -> bool:
    return at.epoch == here.epoch and at.offset <= here.offset
