"""Rooms over a Redis or Valkey server: `RedisBroker`."""

import logging
import math
import ssl as tls
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ...log import LoggerLike
from ...log_limit import LogLimit
from ...runtime import Runtime
from ..broker import BrokerLost, History, Keep, Subscriber
from ..position import Position
from .answers import history_of, position_of, publication_of
from .names import Names
from .pair import Pair
from .presence import Presence
from .resp import Argument, Push
from .scripts import POSITION, PUBLISH, READ, Call
from .url import RedisURL

# The longest message, in bytes: a server drops a connection on which 32 MiB of pushes wait, or 8
# for a minute.
MOST_DATA = 8 * 1024 * 1024

# The most messages and milliseconds that a server is asked to keep: it counts no further, and a
# publish would fail with half of it done.
MOST_KEPT = 2**50

# The bytes of messages after which a page of history ends.
PAGE = 1024 * 1024


class RedisBroker:
    """A `Broker` on a Redis server, version 7 or later, or a Valkey server.

    It needs nothing installed. All processes that use the same server and the same `prefix` share
    their rooms. The server must be a single one or the primary of replicas, not a cluster.

    Arguments:
        `url`: where the server is: `redis://user:password@host:port/db`, `rediss://` for TLS, or
            `unix:///path?db=0`. Percent-encode what is special in a password.
        `ssl`: the ssl.SSLContext for rediss; None for one that verifies the server.
        `timeout`: the seconds that the server has for an answer, and for a connection. A server
            that sends nothing for half of that is asked whether it is still there.
        `prefix`: what the names of all keys and channels begin with.
        `logger`: what gets the log lines; None for the package's own logger.

    Raises TypeError or ValueError for invalid arguments.
    """

    def __init__(
        self,
        url: str,
        *,
        ssl: tls.SSLContext | None = None,
        timeout: float = 5.0,
        prefix: str = "wstransports",
        logger: LoggerLike | None = None,
    ) -> None:
        self._url = RedisURL.parse(url)
        _check(ssl, self._url.secure, timeout, prefix, logger)
        self._logger = logger
        self._names = Names(prefix, self._url.db)
        self._pair = Pair(self._url, ssl, timeout, logger, self)
        self._presence = Presence(self._names, self._pair)
        self._rooms: dict[bytes, str] = {}  # by channel
        self._limit: LogLimit
        self._subscriber: Subscriber

    def __repr__(self) -> str:
        return f"RedisBroker({str(self._url)!r})"

    async def open(self, runtime: Runtime, group: Any, subscriber: Subscriber) -> None:
        """Connect. Raises BrokerLost, which names the server and the cause, or RuntimeError if it
        is open already."""
        if self._pair.is_open:
            raise RuntimeError("this broker is open already: make another one")
        self._subscriber = subscriber
        self._limit = LogLimit(runtime.now)
        self._presence.begin()
        await self._pair.open(runtime, group)

    async def close(self) -> None:
        """Disconnect, and end all tasks."""
        self._rooms.clear()
        await self._pair.close()

    async def publish(self, room: str, data: str | bytes, key: str | None, keep: Keep) -> Position:
        """See `Broker.publish`. Raises ValueError for more than 8 MiB."""
        kind, raw = (b"t", data.encode()) if isinstance(data, str) else (b"b", data)
        if len(raw) > MOST_DATA:
            raise ValueError(f"a broker on Redis takes at most {MOST_DATA} bytes, not {len(raw)}")
        keys = [] if key is None else [self._names.key(room, f"key:{key}")]
        kept = max(1, int(min(keep.seconds * 1000, MOST_KEPT)))
        history = min(keep.history, MOST_KEPT)
        channel = self._names.channel(room)
        call = self._call(room, channel, kind, raw, history, kept, more_keys=keys)
        with self._pair.asking() as link:
            return position_of(await PUBLISH.run(link, call))

    async def subscribe(self, room: str) -> Position:
        """See `Broker.subscribe`."""
        channel = self._names.channel(room)
        try:
            with self._pair.asking(pushes=True) as link:
                self._rooms[channel] = room
                await link.ask("SUBSCRIBE", channel)
            [position] = await self.positions([room])
        except BaseException:
            self._forget(channel)
            raise
        return position

    async def unsubscribe(self, room: str) -> None:
        """See `Broker.unsubscribe`."""
        self._forget(self._names.channel(room))

    async def read(self, room: str, since: Position, most: int) -> History:
        """See `Broker.read`. Where the messages are long, it returns fewer of them."""
        call = self._call(room, since.epoch, since.offset, most, PAGE)
        with self._pair.asking() as link:
            return history_of(room, since, await READ.run(link, call))

    async def positions(self, rooms: Sequence[str]) -> list[Position]:
        """See `Broker.positions`."""
        calls = [self._call(room) for room in rooms]
        with self._pair.asking() as link:
            return [position_of(reply) for reply in await POSITION.run_all(link, calls)]

    async def enter(self, room: str, members: Mapping[str, bytes]) -> None:
        """See `Broker.enter`."""
        await self._presence.enter(room, members)

    async def leave(self, room: str, members: Collection[str]) -> None:
        """See `Broker.leave`."""
        await self._presence.leave(room, members)

    async def renew(self) -> None:
        """See `Broker.renew`."""
        await self._presence.renew()

    async def present(self, room: str) -> dict[str, bytes]:
        """See `Broker.present`."""
        return await self._presence.present(room)

    # As the owner of the pair.

    def channels(self) -> list[bytes]:
        """Those of the subscribed rooms."""
        return list(self._rooms)

    def pushed(self, push: Push) -> None:
        """Report a message, if it is one of a subscribed room."""
        if push[0] != b"message" or len(push) != 3:
            return
        _, channel, payload = push
        room = self._rooms.get(channel) if isinstance(channel, bytes) else None
        if room is None:
            return
        try:
            publication = publication_of(room, payload)
        except (TypeError, ValueError):
            what = "ignores what something else published in the channel %s of %s"
            where = channel.decode(), str(self._url)
            self._limit.log(self._logger, logging.WARNING, what, *where)
        else:
            self._subscriber.published(publication)

    def lost(self, error: BrokerLost) -> None:
        """The connections are lost."""
        self._subscriber.lost(error)

    def recovered(self) -> None:
        """There are new ones."""
        self._subscriber.recovered()

    # Inside.

    def _call(self, room: str, *arguments: Argument, more_keys: Sequence[Argument] = ()) -> Call:
        """The keys and arguments of a script that works on a room's head and log."""
        keys = self._names.key(room, "head"), self._names.key(room, "log"), *more_keys
        run = self._pair.run
        return keys, (run.id, int(run.keeps), *arguments)

    def _forget(self, channel: bytes) -> None:
        """Subscribe to a channel no more."""
        if self._rooms.pop(channel, None) is not None:
            with suppress(BrokerLost), self._pair.asking(pushes=True) as link:
                link.send(("UNSUBSCRIBE", channel))


def _check(ssl: object, secure: bool, timeout: float, prefix: str, logger: object) -> None:
    """Raises TypeError or ValueError for what cannot be."""
    if ssl is not None and not isinstance(ssl, tls.SSLContext):
        raise TypeError(f"ssl must be an ssl.SSLContext, not {ssl!r}")
    if ssl is not None and not secure:
        raise ValueError("ssl is for rediss:// addresses: write rediss:// or leave ssl out")
    if isinstance(ssl, tls.SSLContext) and ssl.protocol is tls.PROTOCOL_TLS_SERVER:
        raise ValueError("ssl is an SSLContext for servers: use PROTOCOL_TLS_CLIENT")
    if not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        raise ValueError(f"timeout must be a number of seconds above 0, not {timeout!r}")
    if not isinstance(prefix, str) or not prefix or "{" in prefix:
        raise ValueError(f"prefix must be a str that is not empty and has no brace, not {prefix!r}")
    if not isinstance(logger, logging.Logger | logging.LoggerAdapter | None):
        raise TypeError(f"logger must be a logging.Logger or a LoggerAdapter, not {logger!r}")
