"""Header fields as ASGI has them: pairs of bytes."""

from collections.abc import Iterable

RawHeaders = Iterable[tuple[bytes, bytes]]


def decoded(headers: RawHeaders) -> list[tuple[str, str]]:
    """Header fields of ASGI, as the core takes them. Raises TypeError unless they are bytes."""
    try:
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    except (AttributeError, TypeError, ValueError):
        raise TypeError(
            "headers must be a list of (name, value) pairs of bytes, such as (b'name', b'value')"
        ) from None
