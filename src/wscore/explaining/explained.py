"""One part of explained bytes, as a line: `Explained`."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..reasons import printable

# The most characters of a text, and bytes of other data, that a line shows.
MOST_TEXT = 80
MOST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Explained:
    """A part of explained bytes: a frame (RFC 6455 section 5.2), or a line of an HTTP head.

    As a str it is one line, with unprintable characters escaped. Parts follow each other without
    gaps: together they are all bytes.
    """

    offset: int
    """Where it begins, in bytes from the start."""
    size: int
    """How many bytes belong to it; fewer than a frame's header says where the bytes end early."""
    kind: str
    """"frame"; "request", "response", "header" or "end of head" in an HTTP head; "body"."""
    fields: dict[str, str]
    """What it says: names and shortened values, in the order of the bytes."""
    faults: tuple[str, ...] = ()
    """What is wrong with it, each with the clause of the RFC; empty for a correct part."""
    payload: bytes = field(default=b"", repr=False)
    """A frame's payload as far as it is there, without the mask; still compressed."""

    def __str__(self) -> str:
        return f"{self.offset:>6} {self.kind}: {shown_fields(self.fields, self.faults)}"


def shown_fields(fields: dict[str, str], faults: Sequence[str]) -> str:
    """What a part says, and what is wrong with it."""
    shown = " ".join([f"{name}={value}" for name, value in fields.items()])
    return shown + "".join([f"  WRONG: {fault}" for fault in faults])


def shown_text(text: str) -> str:
    """Text in quotes, shortened."""
    more = "..." if len(text) > MOST_TEXT else ""
    return f'"{printable(text, MOST_TEXT)}"{more}'


def shown_bytes(data: bytes) -> str:
    """Bytes in hex, shortened; "-" for none."""
    more = "..." if len(data) > MOST_BYTES else ""
    return (data[:MOST_BYTES].hex() or "-") + more
