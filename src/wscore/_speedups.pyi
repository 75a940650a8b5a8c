from .events import Event

def apply_mask(data: bytes, key: bytes, start: int = ..., stop: int = ..., /) -> bytes: ...
def decode(data: bytes, final: bool, /) -> tuple[str, int]: ...
def message_frame(data: object, below: int, /) -> bytes | None: ...
def whole_messages(
    data: bytes,
    position: int,
    masked: bool,
    limit: int,
    budget: int,
    events: list[Event],
    /,
) -> int: ...
