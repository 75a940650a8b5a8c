"""Input in pieces: the fuzzer's bytes choose the size of the reads."""

from collections.abc import Iterator

from wscore import Event, MessagePiece


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """`data` in reads of `size` bytes; whole for 0."""
    size = size or max(len(data), 1)
    for start in range(0, len(data), size):
        yield data[start : start + size]


def settled(events: list[Event]) -> list[Event]:
    """The events, each message's pieces in a row made one, however the input was cut."""
    result: list[Event] = []
    for event in events:
        before = result[-1] if result else None
        if isinstance(event, MessagePiece):
            assert event.data or event.last
            if isinstance(before, MessagePiece) and not before.last:
                assert not event.first
                assert event.type is before.type
                text = None if event.text is None else (before.text or "") + event.text
                data = before.data + event.data
                result[-1] = MessagePiece(event.type, data, text, before.first, event.last)
                continue
        result.append(event)
    return result
