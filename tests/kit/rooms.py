"""Rooms for tests: a server with some, and a broker that does what a test says."""

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from kit.loops import Loop
from kit.peer import Peer
from wstransports import Client, WebSocketServer
from wstransports.rooms import (
    BrokerLost,
    History,
    Joined,
    Keep,
    Position,
    Publication,
    Rooms,
    Subscriber,
)
from wstransports.rooms.broker import LEASE
from wstransports.runtime import Runtime, Signal


@dataclass
class Stream:
    """What the broker keeps of a room."""

    epoch: str
    offset: int = 0
    kept: list[Publication] = field(default_factory=list)
    keys: dict[str, Position] = field(default_factory=dict)

    @property
    def position(self) -> Position:
        """That of the newest message."""
        return Position(self.epoch, self.offset)


class Engine:
    """A broker as a server of its own, which several processes use by a FakeBroker each."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.links: list[FakeBroker] = []
        self.present: dict[tuple[str, str], tuple[FakeBroker, bytes]] = {}
        self.renewed: dict[FakeBroker, float] = {}
        self._epochs = 0

    def stream(self, room: str) -> Stream:
        """A room, with an epoch."""
        if room not in self.streams:
            self._epochs += 1
            self.streams[room] = Stream(f"e{self._epochs}")
        return self.streams[room]

    def forget(self, room: str = "news") -> None:
        """Lose a room with all that was published in it: the next epoch begins."""
        self.streams.pop(room, None)

    def cut(self, room: str = "news", keep: int = 0) -> None:
        """Keep only so many of the newest messages."""
        kept = self.stream(room).kept
        del kept[: len(kept) - keep]

    def publish(
        self, room: str, data: str | bytes, key: str | None = None, history: int = 1000
    ) -> Position:
        """Order a message, keep it, and pass it on."""
        stream = self.stream(room)
        if key is not None and key in stream.keys:
            return stream.keys[key]
        stream.offset += 1
        publication = Publication(room, stream.position, data)
        if key is not None:
            stream.keys[key] = stream.position
        stream.kept.append(publication)
        del stream.kept[: max(0, len(stream.kept) - history)]
        for link in self.links:
            link.push(publication)
        return stream.position


class FakeBroker:
    """One process's link to the engine. It keeps the contract, as badly as it may."""

    runtime: Runtime
    subscriber: Subscriber

    def __init__(self, engine: Engine | None = None) -> None:
        self.engine = Engine() if engine is None else engine
        self.up = True
        self.loses = False
        """Pushes are lost from now on."""
        self.holds = False
        """Pushes wait for `release`."""
        self.fails: dict[str, Exception] = {}
        """What the methods of these names raise."""
        self.loses_replies = False
        """`publish` publishes, and raises."""
        self.wrong: Callable[[History], History] = lambda history: history
        """What `read` returns instead."""
        self.calls: list[tuple[Any, ...]] = []
        """Each call: its name, and its most important arguments."""
        self.subscribed: set[str] = set()
        self.gates: dict[str, Signal] = {}
        """The methods of these names wait."""
        self.after: dict[str, Callable[[], object]] = {}
        """What happens when the engine has done what a method of this name says, and before the
        method returns."""
        self._pushes: deque[Publication] = deque()

    # What the test does.

    def push(self, publication: Publication) -> None:
        """The engine passes on a message."""
        if publication.room in self.subscribed and self.up and not self.loses:
            self._pushes.append(publication)
            if not self.holds:
                self.release()

    def release(self, most: int | None = None) -> None:
        """Deliver pushes that wait."""
        for _ in range(len(self._pushes) if most is None else most):
            self.subscriber.published(self._pushes.popleft())

    def lose(self, error: str = "it was cut off") -> None:
        """The connection is lost, and what was on its way."""
        self.up = False
        self._pushes.clear()
        self.subscriber.lost(BrokerLost(error))

    def recover(self) -> None:
        """The connection is back."""
        self.up = True
        self.subscriber.recovered()

    # As a Broker.

    async def open(self, runtime: Runtime, group: Any, subscriber: Subscriber) -> None:
        """Connect."""
        self.runtime, self.subscriber, self.up = runtime, subscriber, True
        await self._call("open")
        self.engine.links.append(self)

    async def close(self) -> None:
        """Disconnect."""
        self.up = False
        if self in self.engine.links:
            self.engine.links.remove(self)
        for gate in self.gates.values():
            gate.set()
        self.calls.append(("close",))
        if "close" in self.fails:
            raise self.fails["close"]

    async def publish(self, room: str, data: str | bytes, key: str | None, keep: Keep) -> Position:
        """Publish."""
        await self._call("publish", room, data)
        position = self.engine.publish(room, data, key, keep.history)
        if self.loses_replies:
            raise BrokerLost("no answer")
        return position

    async def subscribe(self, room: str) -> Position:
        """Subscribe."""
        await self._call("subscribe", room)
        self.subscribed.add(room)
        position = self.engine.stream(room).position
        self._then("subscribe")
        return position

    async def unsubscribe(self, room: str) -> None:
        """Unsubscribe, at once."""
        self.subscribed.discard(room)
        await self._call("unsubscribe", room)

    async def read(self, room: str, since: Position, most: int) -> History:
        """Read the history."""
        await self._call("read", room, since)
        stream = self.engine.stream(room)
        first = stream.offset - len(stream.kept)
        whole = since.epoch == stream.epoch and first <= since.offset <= stream.offset
        begin = since.offset - first
        kept = stream.kept[begin : begin + most] if whole else []
        history = self.wrong(History(stream.position, kept, whole))
        self._then("read")
        return history

    async def positions(self, rooms: Sequence[str]) -> list[Position]:
        """Look at positions."""
        await self._call("positions", *rooms)
        positions = [self.engine.stream(room).position for room in rooms]
        self._then("positions")
        return positions

    async def enter(self, room: str, members: Mapping[str, bytes]) -> None:
        """List members."""
        await self._call("enter", room, *sorted(members.values()))
        self.engine.renewed.setdefault(self, self.runtime.now())
        for member, info in members.items():
            self.engine.present[room, member] = (self, info)

    async def leave(self, room: str, members: Collection[str]) -> None:
        """Take members off the list."""
        await self._call("leave", room, len(members))
        for member in members:
            self.engine.present.pop((room, member), None)

    async def renew(self) -> None:
        """Renew this process's lease."""
        await self._call("renew")
        self.engine.renewed[self] = self.runtime.now()

    async def present(self, room: str) -> dict[str, bytes]:
        """Those whose process has renewed its lease in time."""
        await self._call("present", room)
        alive = self.runtime.now() - LEASE
        return {
            member: info
            for (where, member), (link, info) in self.engine.present.items()
            if where == room and self.engine.renewed[link] > alive
        }

    def count(self, name: str) -> int:
        """How many calls of this name there were."""
        return sum(call[0] == name for call in self.calls)

    async def _call(self, name: str, *arguments: object) -> None:
        self.calls.append((name, *arguments))
        if name in self.gates:
            await self.gates[name].wait()
        if name in self.fails:
            raise self.fails[name]
        if not self.up:
            raise BrokerLost("it is cut off")

    def _then(self, name: str) -> None:
        if name in self.after:
            self.after.pop(name)()


class Hall:
    """A server with rooms, and its clients."""

    def __init__(self, loop: Loop, server: WebSocketServer, rooms: Rooms) -> None:
        self.loop = loop
        self.server = server
        self.rooms = rooms
        self.clients: list[Client] = []
        self.ended: dict[Client, tuple[int, str]] = defaultdict(tuple)  # type: ignore[arg-type]
        server.connection(self._on_connection)

    async def connect(self) -> tuple[Peer, Client]:
        """A peer, and the client that it is to the server."""
        count = len(self.clients)
        peer = await self.loop.connect(self.server)
        await self.loop.until(lambda: len(self.clients) > count)
        return peer, self.clients[-1]

    async def join(self, room: str = "news", **options: Any) -> tuple[Peer, Client, Joined]:
        """The same, as a member of a room."""
        peer, client = await self.connect()
        return peer, client, await self.rooms[room].join(client, **options)

    async def _on_connection(self, client: Client) -> None:
        self.clients.append(client)


@asynccontextmanager
async def hall(
    loop: Loop, options: dict[str, Any] | None = None, **rooms: Any
) -> AsyncIterator[Hall]:
    """A server with rooms, in its block; `options` are the server's."""
    server = loop.server(**(options or {}))
    made = Hall(loop, server, Rooms(server, **rooms))
    await server.__aenter__()
    try:
        yield made
    finally:
        await loop.leave(server)
