"""Checks of what rooms are given."""

import math
from typing import Any, overload

from .broker import Keep
from .position import Position

# The longest name of a room, and the longest key, in bytes of UTF-8.
MOST = 255


def checked_name(name: str) -> str:
    """Return a room's name. Raises TypeError or ValueError."""
    if not isinstance(name, str):
        raise TypeError(f"a room's name is a str, not {name!r}")
    return _checked_text(name, "a room's name")


def checked_key(key: str | None) -> str | None:
    """Return an idempotency key. Raises TypeError or ValueError."""
    if key is None:
        return None
    if not isinstance(key, str):
        raise TypeError(f"key must be a str that names the message, not {key!r}")
    return _checked_text(key, "key")


def _checked_text(text: str, what: str) -> str:
    size = len(checked_data(text, what).encode())
    if not 1 <= size <= MOST:
        raise ValueError(f"{what} has 1 to {MOST} bytes in UTF-8, but {text[:90]!r} has {size}")
    return text


@overload
def checked_data(data: str, what: str) -> str: ...
@overload
def checked_data(data: Any, what: str) -> str | bytes: ...


def checked_data(data: Any, what: str) -> str | bytes:
    """Return data as str or bytes. Raises TypeError or ValueError."""
    if isinstance(data, str):
        try:
            if not data.isascii():
                data.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{what} is not Unicode: {data[error.start : error.end]!r} at index {error.start}"
            ) from None
        return data
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise TypeError(
        f"{what} must be str (text) or bytes-like (binary), not {type(data).__name__}: publish what"
        " the message says, such as json.dumps(...)"
    )


def checked_since(since: Position | str | None) -> Position | None:
    """Return a position, which may come from a client. Raises TypeError."""
    if since is None:
        return None
    if not isinstance(since, Position | str):
        raise TypeError(f"since must be a Position, or its str, not {since!r}")
    try:
        return Position.parse(str(since))
    except ValueError:
        return None  # a client may send anything: it resumes nothing


def checked_keep(history: int, seconds: float) -> Keep:
    """Return what to keep. Raises TypeError or ValueError."""
    if not isinstance(history, int) or isinstance(history, bool):
        raise TypeError(f"history must be a number of messages, not {history!r}")
    if history < 0:
        raise ValueError(f"history must be 0 messages or more, not {history!r}")
    return Keep(history, checked_seconds(seconds, "seconds"))


def checked_seconds(seconds: float, name: str) -> float:
    """Return a duration. Raises ValueError."""
    if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise ValueError(f"{name} must be a number of seconds, 0 or more, not {seconds!r}")
    return seconds
