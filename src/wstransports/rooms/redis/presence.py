"""Which members are in a room, over all processes: each process has a lease on its own."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence

from ..broker import LEASE
from .names import Names
from .pair import Pair
from .resp import Argument
from .scripts import ENTER

# The members that one command takes or one answer brings, more or less.
AT_ONCE = 1000

_MILLISECONDS = int(LEASE * 1000)


class Presence:
    """The members of this process, on the server and here.

    On the server a process has a hash for each room, which expires unless it is renewed: so the
    members of a process that was killed vanish together. Here they are kept for a server that has
    lost them.
    """

    def __init__(self, names: Names, pair: Pair) -> None:
        self._names = names
        self._pair = pair
        self._process = ""
        self._members: dict[str, dict[str, bytes]] = {}
        self._left: dict[str, dict[str, bytes]] = {}  # which the server may still have

    def begin(self) -> None:
        """Begin without members, as a process with a name of its own: this one may be a copy."""
        self._process = os.urandom(8).hex()
        self._members.clear()
        self._left.clear()

    async def enter(self, room: str, members: Mapping[str, bytes]) -> None:
        """See `Broker.enter`."""
        try:
            await self._enter(room, members)
        except BaseException:  # the server may have entered them
            self._left.setdefault(room, {}).update(members)
            raise
        self._members.setdefault(room, {}).update(members)
        _forget(self._left, room, members)

    async def leave(self, room: str, members: Collection[str]) -> None:
        """See `Broker.leave`."""
        _forget(self._members, room, members)
        self._left.setdefault(room, {}).update(dict.fromkeys(members, b""))
        await self._leave(room)

    async def renew(self) -> None:
        """See `Broker.renew`."""
        for room in list(self._left):
            await self._leave(room)
        rooms = list(self._members)
        with self._pair.asking() as link:
            calls = [(self._keys(room), self._lease()) for room in rooms]
            held = await ENTER.run_all(link, calls)
        for room, there in zip(rooms, held, strict=True):
            if not there:
                await self._enter(room, self._members.get(room, {}))

    async def present(self, room: str) -> dict[str, bytes]:
        """See `Broker.present`."""
        found: dict[str, bytes] = {}
        with self._pair.asking() as link:
            for process in await link.ask("ZRANGE", self._processes(room), 0, -1):
                key = self._key(room, process.decode())
                cursor = None
                while cursor != b"0":
                    cursor, pairs = await link.ask("HSCAN", key, cursor or 0, "COUNT", AT_ONCE)
                    names = (name.decode() for name in pairs[::2])
                    found.update(zip(names, pairs[1::2], strict=True))
        return found

    async def _enter(self, room: str, members: Mapping[str, bytes]) -> None:
        """Enter members on the server."""
        pairs = [part for member in members.items() for part in member]
        calls = [(self._keys(room), (*self._lease(), *part)) for part in _parts(pairs)]
        with self._pair.asking() as link:
            await ENTER.run_all(link, calls)

    async def _leave(self, room: str) -> None:
        """Take off the server's list those that it may still have."""
        names = list(self._left.get(room, ()))  # another call may have done it
        key = self._key(room, self._process)
        with self._pair.asking() as link:
            for answer in link.send(*(("HDEL", key, *part) for part in _parts(names))):
                await answer.get()
        _forget(self._left, room, names)

    def _lease(self) -> tuple[Argument, ...]:
        return self._process, _MILLISECONDS

    def _keys(self, room: str) -> tuple[Argument, ...]:
        return self._key(room, self._process), self._processes(room)

    def _key(self, room: str, process: str) -> bytes:
        return self._names.key(room, f"members:{process}")

    def _processes(self, room: str) -> bytes:
        return self._names.key(room, "processes")


def _parts(arguments: Sequence[Argument]) -> list[Sequence[Argument]]:
    """The arguments of one command after the other."""
    return [arguments[i : i + AT_ONCE] for i in range(0, len(arguments), AT_ONCE)]


def _forget(rooms: dict[str, dict[str, bytes]], room: str, names: Iterable[str]) -> None:
    """Take names out of a room, and the room out when it is empty."""
    left = rooms.get(room, {})
    for name in names:
        left.pop(name, None)
    if not left:
        rooms.pop(room, None)
