"""What the scripts answer and publish, as positions and publications.

These functions raise ValueError or TypeError for what no script of ours makes.
"""

import re

from ..broker import History, Publication
from ..position import MOST, TOKEN, Position
from .resp import Reply

# What stands before the data of a publication: its type and its position.
_HEAD = re.compile(rb"([tb])" + TOKEN.encode() + rb" ")


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
    # Not by `position_of` and its kind: for each message that would take twice the instructions.
    head = _HEAD.match(payload)
    if head is None:
        raise ValueError(f"not a publication: {payload[:40]!r}")
    kind, epoch, digits = head.groups()
    offset = int(digits)
    if offset > MOST:
        raise ValueError(f"not an offset: {offset}")
    position = Position(epoch.decode(), offset)
    return Publication(room, position, _data(kind, payload[head.end() :]))


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
