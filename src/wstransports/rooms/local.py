"""The broker of a single process: `LocalBroker`."""

import itertools
import os
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..runtime import Runtime
from .broker import History, Keep, Publication, Subscriber
from .position import Position


class _Stream:
    """What was published in one room."""

    def __init__(self, epoch: str) -> None:
        self.position: Position = Position(epoch, 0)
        self.kept: deque[tuple[float, Publication]] = deque()  # with the end of its time
        self.keys: OrderedDict[str, tuple[float, Position]] = OrderedDict()
        self.present: dict[str, bytes] = {}

    def trim(self, now: float) -> None:
        """Forget what is too old."""
        while self.kept and self.kept[0][0] <= now:
            self.kept.popleft()
        while self.keys and next(iter(self.keys.values()))[0] <= now:
            self.keys.popitem(last=False)

    def is_empty(self) -> bool:
        """Whether it can be forgotten, unless it is subscribed."""
        return not (self.kept or self.keys or self.present)


class LocalBroker:
    """Keeps all in memory. Its methods do not wait for anything, and it is never lost."""

    _runtime: Runtime
    _subscriber: Subscriber

    def __init__(self) -> None:
        self._streams: OrderedDict[str, _Stream] = OrderedDict()  # the last used one last
        self._subscribed: set[str] = set()
        # Epochs differ in all processes, and after a room was forgotten.
        self._epochs = (f"{os.urandom(6).hex()}-{number}" for number in itertools.count(1))

    async def open(self, runtime: Runtime, group: Any, subscriber: Subscriber) -> None:
        """As a Broker."""
        self._runtime = runtime
        self._subscriber = subscriber

    async def close(self) -> None:
        """As a Broker: the history stays, for members that come back to another block."""
        self._subscribed.clear()

    async def publish(self, room: str, data: str | bytes, key: str | None, keep: Keep) -> Position:
        """As a Broker."""
        until = self._runtime.now() + keep.seconds
        stream = self._stream(room)
        if key is not None:
            if key in stream.keys:
                return stream.keys[key][1]
        epoch, offset = stream.position
        stream.position = position = Position(epoch, offset + 1)
        if key is not None:
            stream.keys[key] = (until, position)
        publication = Publication(room, position, data)
        if keep.history:
            stream.kept.append((until, publication))
            while len(stream.kept) > keep.history:
                stream.kept.popleft()
        if room in self._subscribed:
            self._subscriber.published(publication)
        return position

    async def subscribe(self, room: str) -> Position:
        """As a Broker."""
        self._subscribed.add(room)
        return self._stream(room).position

    async def unsubscribe(self, room: str) -> None:
        """As a Broker."""
        self._subscribed.discard(room)
        self._stream(room)

    async def read(self, room: str, since: Position, most: int) -> History:
        """As a Broker."""
        stream = self._stream(room)
        newest = stream.position
        first = newest.offset - len(stream.kept)  # what is kept begins right after it
        if since.epoch != newest.epoch or not first <= since.offset <= newest.offset:
            return History(newest, (), complete=False)
        begin = since.offset - first
        kept = itertools.islice(stream.kept, begin, begin + most)
        return History(newest, [publication for _, publication in kept], complete=True)

    async def positions(self, rooms: Sequence[str]) -> list[Position]:
        """As a Broker."""
        return [self._stream(room).position for room in rooms]

    async def enter(self, room: str, members: Mapping[str, bytes]) -> None:
        """As a Broker."""
        self._stream(room).present.update(members)

    async def leave(self, room: str, members: Collection[str]) -> None:
        """As a Broker."""
        present = self._stream(room).present
        for member in members:
            present.pop(member, None)

    async def renew(self) -> None:
        """As a Broker: there is nothing to renew."""

    async def present(self, room: str) -> dict[str, bytes]:
        """As a Broker."""
        return dict(self._stream(room).present)

    def _stream(self, room: str) -> _Stream:
        """A room's stream, as of now. The rooms that nobody uses are forgotten by the way."""
        now = self._runtime.now()
        if room in self._streams:
            self._streams.move_to_end(room)
        else:
            self._streams[room] = _Stream(next(self._epochs))
        self._streams[room].trim(now)
        for _ in range(2):  # more than can be added
            oldest, stream = next(iter(self._streams.items()))
            stream.trim(now)
            if oldest == room:
                break
            if stream.is_empty() and oldest not in self._subscribed:
                del self._streams[oldest]
            else:
                self._streams.move_to_end(oldest)
        return self._streams[room]
