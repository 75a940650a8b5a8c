"""Unfragmented messages that have arrived completely: the common case, and the fast path."""

from typing import Protocol

from .enums import DataType
from .events import Event, MessagePiece
from .frames import FIN, MASKED, MAX_CONTROL
from .masking import apply_mask, as_number
from .speedups import accelerated

_FIN_TEXT = FIN | DataType.TEXT
_FIN_BINARY = FIN | DataType.BINARY


class Decoding(Protocol):
    """Handles the messages that extensions have encoded."""

    def take(self, first: int, payload: bytes, events: list[Event], /) -> bool:
        """Decode a message, given its frame's first byte; returns whether to continue."""


@accelerated
def whole_messages(
    data: bytes | memoryview,
    position: int,
    masked: bool,
    limit: int,
    budget: int,
    events: list[Event],
    bits: int,
    decoding: Decoding,
    /,
) -> int:
    """Append the unfragmented messages in `data` from `position` on, at most `budget` of them.

    Call it between two messages only. Returns where it stopped: at the end of `data`, or before
    the first frame that is not such a message, is incomplete, invalid or longer than `limit` bytes,
    or is not masked as `masked` demands. The parser then decides what that frame is.

    Frames of less than 64 KiB that have reserved bits, all of them in `bits`, go to `decoding`. If
    that returns False, the message is the last.
    """
    if not isinstance(data, bytes):
        data = bytes(data)
    end = len(data)
    while budget > 0 and position < end - 1:
        first = data[position]
        encoded = first & bits
        if first - encoded != _FIN_TEXT and first - encoded != _FIN_BINARY:
            break
        size = data[position + 1]
        start = position + 2
        if masked:
            size -= MASKED
            start += 4
        if size == 126:
            if end - start < 2:
                break
            size = data[position + 2] << 8 | data[position + 3]
            if size < 126:
                break
            start += 2
        elif size == 127 and not encoded:
            # If some of the eight bytes are missing, the size found ends after `end` too.
            size = int.from_bytes(data[position + 2 : position + 10])
            if size < 65536:
                break
            start += 8
        elif size > 126:
            break
        stop = start + size
        if stop > end or not 0 <= size <= limit:
            break
        if not masked:
            payload = data[start:stop]
        elif size <= MAX_CONTROL:
            # Inlined: calls of apply_mask would make 16 short messages take 1.5 times as long.
            pad = (data[start - 4 : start] * 32)[:size]
            payload = (as_number(data[start:stop]) ^ as_number(pad)).to_bytes(size)
        else:
            payload = apply_mask(data, data[start - 4 : start], start, stop)
        if encoded:
            if not decoding.take(first, payload, events):
                return stop
        elif first == _FIN_TEXT:
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                break
            events.append(MessagePiece(DataType.TEXT, payload, text, True, True))
        else:
            events.append(MessagePiece(DataType.BINARY, payload, None, True, True))
        position = stop
        budget -= 1
    return position
