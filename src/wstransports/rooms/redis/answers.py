"""What the scripts answer and publish, as positions and publications.

These functions raise ValueError or TypeError for what no script of ours makes.
"""

from ..broker import History, Publication
from ..position import Position
from .resp import Reply


def position_of(reply: Reply) -> Position:
    """The position in an answer."""
    return Position.parse(_bytes(reply).decode())


def history_of(room: str, since: Position, reply: Reply) -> History:
    """The page of history in an answer."""
    newest, complete, *entries = reply
    pairs = zip(entries[::2], entries[1::2], strict=True)
    publications = [
        Publication(room, Position(since.epoch, offset), _data(kind, _bytes(raw)))
        for offset, (kind, raw) in enumerate(pairs, since.offset + 1)
    ]
    return History(position_of(newest), publications, complete == 1)


def publication_of(room: str, payload: Reply) -> Publication:
    """What was published: its type, its position, a space, the data."""
    head, _, raw = _bytes(payload).partition(b" ")
    return Publication(room, position_of(head[1:]), _data(head[:1], raw))


def _data(kind: Reply, raw: bytes) -> str | bytes:
    """The data of a text (t) or binary (b) message."""
    if kind == b"t":
        return raw.decode()
    if kind == b"b":
        return raw
    raise ValueError(f"neither a text nor a binary message: {repr(kind)[:40]}")


def _bytes(reply: Reply) -> bytes:
    if not isinstance(reply, bytes):
        raise TypeError(f"not a string: {repr(reply)[:40]}")
    return reply
