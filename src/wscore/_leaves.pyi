from .events import Event

def apply_mask(data: bytes, key: bytes, start: int = ..., stop: int = ..., /) -> bytes: ...
def whole_messages(
    data: bytes,
    position: int,
    masked: bool,
    limit: int,
    budget: int,
    events: list[Event],
    /,
) -> int: ...
