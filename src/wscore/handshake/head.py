"""The head of an HTTP message: gathered within bounds, and what the caller may add to ours."""

import re

import h11

from ..headers import HeaderFields, Headers

# In bytes, up to and including the blank line. h11 bounds incomplete heads only: one of any
# size that arrives whole would pass it.
MAX_HEAD = 16 * 1024
MAX_FIELDS = 128

# RFC 9112 section 2.2 lets a line end in LF alone. This must be where h11 ends the head, too.
_BLANK_LINE = re.compile(rb"\n\r?\n")

# RFC 9110 section 7.2: uri-host [":" port], judged by its characters alone.
_HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]+")

_OURS = {"upgrade", "connection", "content-length", "transfer-encoding"}


class InvalidHead(Exception):
    """A head that h11 must not see; the arguments are a server's status for it, and why."""


class HeadBuffer:
    """What arrived so far, until the head is whole. Append to `data`, then `take()`."""

    __slots__ = ("_searched", "data")

    def __init__(self) -> None:
        self.data = bytearray()
        self._searched = 0

    def take(self) -> bytes | None:
        """Cut off the head, blank line included; `data` keeps what follows it.

        Returns None while it is incomplete. Raises InvalidHead, for the same reason however the
        input was cut.
        """
        end = _BLANK_LINE.search(self.data, self._searched, MAX_HEAD)
        if end is None:
            if len(self.data) >= MAX_HEAD:
                raise InvalidHead(431, f"the head is longer than {MAX_HEAD} bytes")
            self._searched = max(0, len(self.data) - 2)
            return None
        head = bytes(self.data[: end.end()])
        if head.count(b"\n") - 2 > MAX_FIELDS:
            raise InvalidHead(431, f"the head has more than {MAX_FIELDS} header lines")
        # No header line may have these. h11 would find out too, but its pattern takes 0.7 s over
        # 16 KiB of blanks before one of them.
        # (Numbers: to look for bytes of one character takes 3.9k instructions, not 0.5k.)
        if head.count(b"\r") != head.count(b"\r\n") or 0x00 in head or 0x0B in head or 0x0C in head:
            raise InvalidHead(400, "control characters in the head")
        del self.data[: end.end()]
        self._searched = 0
        return head


def parsed_headers(head: h11.Request | h11.Response | h11.InformationalResponse) -> Headers:
    """The header fields that h11 has read, and found sound."""
    lines = [b": ".join(field) for field in head.headers.raw_items()]
    return Headers.decode(b"\r\n".join([*lines, b""]))


def raw_fields(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Header fields for h11 to write."""
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.pairs]


def is_host(text: str) -> bool:
    """Whether the Host header may have this value (RFC 9112 section 3.2)."""
    return _HOST.fullmatch(text) is not None


def added_headers(headers: HeaderFields, *reserved: str) -> Headers:
    """The caller's additions to our head, checked.

    Raises TypeError or ValueError for what is no header, and ValueError for what the handshake
    itself writes: the `reserved` names, in lower case, and those of both sides.
    """
    added = Headers(headers)
    for name in added:
        if name in _OURS or name in reserved or name.startswith("sec-websocket-"):
            raise ValueError(f"the handshake writes the {name} header itself: leave it out")
    return added
