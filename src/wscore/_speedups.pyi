from collections.abc import Iterator

from .events import Event
from .messages import Decoding

_Buffer = bytes | bytearray | memoryview

def apply_mask(data: _Buffer, key: bytes, start: int = 0, stop: int = ..., /) -> bytes: ...
def decode(data: bytes, final: bool, /) -> tuple[str, int]: ...
def encode(text: str, /) -> bytes: ...
def message_frame(data: object, below: int, keys: Iterator[bytes] | None, /) -> bytes | None: ...
def readable(data: object, /) -> bytes | memoryview: ...
def whole_messages(
    data: _Buffer,
    position: int,
    masked: bool,
    limit: int,
    budget: int,
    events: list[Event],
    bits: int,
    decoding: Decoding,
    /,
) -> int: ...
