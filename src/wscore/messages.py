"""Messages of one frame that is all here: what most input is, and all that is plain about it."""

from .accel import leaf
from .enums import DataType
from .events import Event, MessagePiece
from .frames import FIN, MASKED, MAX_CONTROL
from .masking import apply_mask

# Not looked up in their class for each message: 0.84 us instead of 0.97 for 32 masked bytes.
_TEXT = DataType.TEXT
_BINARY = DataType.BINARY
_FIN_TEXT = FIN | _TEXT
_FIN_BINARY = FIN | _BINARY


@leaf
def whole_messages(
    data: bytes | memoryview,
    position: int,
    masked: bool,
    limit: int,
    budget: int,
    events: list[Event],
) -> int:
    """Append the messages that stand in `data` from `position` on, at most `budget` of them.

    Returns where they end: before whatever is anything but a whole valid message in one frame, not
    longer than `limit` bytes, and `masked` or not as it has to be. What it is instead, the parser
    finds out. Only between two messages.
    """
    data = bytes(data)
    end = len(data)
    base = MASKED if masked else 0
    append = events.append  # as locals: 0.84 us instead of 0.96
    from_bytes = int.from_bytes
    while budget and position < end - 1:
        first = data[position]
        if first != _FIN_TEXT and first != _FIN_BINARY:
            break
        size = data[position + 1] - base
        start = position + 2
        if size > MAX_CONTROL:
            if size == 126:
                if end - start < 2:
                    break
                size = data[start] << 8 | data[start + 1]
                if size < 126:
                    break
                start += 2
            elif size == 127:
                size = from_bytes(data[start : start + 8])  # less of it ends behind `end`, too
                if size < 65536:
                    break
                start += 8
            else:
                break
        if masked:
            start += 4
        stop = start + size
        if not 0 <= size <= limit or stop > end:
            break
        if not masked:
            payload = data[start:stop]
        elif size <= MAX_CONTROL:
            # As apply_mask, without the call: 0.84 us instead of 1.01 for 32 bytes.
            pad = from_bytes((data[start - 4 : start] * 32)[:size], "little")
            payload = (from_bytes(data[start:stop], "little") ^ pad).to_bytes(size, "little")
        else:
            payload = apply_mask(data, data[start - 4 : start], start, stop)
        if first == _FIN_TEXT:
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                break
            append(MessagePiece(_TEXT, payload, text, True, True))
        else:
            append(MessagePiece(_BINARY, payload, None, True, True))
        position = stop
        budget -= 1
    return position
