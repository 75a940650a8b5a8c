"""JSON messages from the peer: what `reader.json()` and `client.receive_json()` return."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def parsed(message: str | bytes, loads: Callable[[str | bytes], T]) -> T:
    """What `loads` makes of a message. Raises ValueError if the peer nested it too deeply."""
    try:
        return loads(message)
    except RecursionError:
        raise ValueError("the message's JSON is nested too deeply") from None
