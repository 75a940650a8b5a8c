"""The type in which a message is requested: `get(str)`, `receive(bytes)`."""

from wscore import DataType

Kind = type[str | bytes] | DataType


def wants_text(kind: Kind) -> bool:
    """Whether `kind` stands for str. Raises TypeError for what is neither str nor bytes."""
    if kind is str or kind is DataType.TEXT:
        return True
    if kind is bytes or kind is DataType.BINARY:
        return False
    raise TypeError(f"kind must be str or bytes, DataType.TEXT or BINARY, not {kind!r}")


def converted(message: str | bytes, as_text: bool) -> str | bytes:
    """A message as str or bytes. Raises UnicodeDecodeError for bytes that are not UTF-8."""
    if as_text:
        return message if isinstance(message, str) else message.decode()
    return message.encode() if isinstance(message, str) else message
