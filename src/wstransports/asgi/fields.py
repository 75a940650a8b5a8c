"""What an application's event must have."""

from typing import Any

from .application import Message


def field(message: Message, name: str) -> Any:
    """A field without which `message` cannot be sent. Raises ValueError, naming both."""
    try:
        return message[name]
    except KeyError:
        raise ValueError(
            f"{_named(message)} needs {name!r}, but has only {sorted(map(str, message))}: add it"
        ) from None
    except TypeError:
        raise TypeError(
            f"an ASGI event is a dict with a 'type', not {type(message).__name__}"
        ) from None


def _named(message: Message) -> str:
    return str(message.get("type", "an ASGI event"))
