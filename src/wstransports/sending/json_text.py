"""JSON messages to the peer: what `writer.send_json()` sends."""

from collections.abc import Callable
from typing import Any


def json_text(data: Any, dumps: Callable[[Any], str | bytes]) -> str:
    """What `dumps` makes of `data`, as text. Raises TypeError if that is neither str nor bytes."""
    dumped = dumps(data)
    if isinstance(dumped, str):
        return dumped
    if isinstance(dumped, bytes | bytearray | memoryview):
        return str(dumped, "utf-8")
    raise TypeError(
        f"dumps must return JSON as str or bytes, not {type(dumped).__name__}: pass a function such"
        " as json.dumps"
    )
