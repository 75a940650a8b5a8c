"""The names of a room's keys and channel on the server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Names:
    """Names that begin with `prefix`. A room's keys share a hash tag, `{room}`."""

    prefix: str
    db: int
    """Channels are common to all databases, so their names have it."""

    def key(self, room: str, what: str) -> bytes:
        """The name of a key. In a room's name a brace is escaped: it would end there, and the room
        `a}:key:b` would share keys with the room `a`."""
        if "%" in room or "}" in room:
            room = room.replace("%", "%25").replace("}", "%7D")
        return f"{self.prefix}:{{{room}}}:{what}".encode()

    def channel(self, room: str) -> bytes:
        """The name of the channel on which a room's messages are published."""
        return f"{self.prefix}@{self.db}:{{{room}}}".encode()
