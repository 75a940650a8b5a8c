"""The head of an HTTP message: received within bounds, checked by h11, extended by the caller."""

import re

import h11

from ..headers import HeaderFields, Headers

# In bytes, up to and including the blank line. Cookies of a single sign-on fill 16 KiB; 32 KiB is
# what nginx passes on (4 buffers of 8 KiB) and what aiohttp takes. Parsing a hostile head of this
# size takes about 20 ms.
MAX_HEAD_SIZE = 32 * 1024
MAX_HEAD_FIELDS = 128

# RFC 9112 section 2.2 allows LF alone as line end. h11 must see the same end of the head.
_BLANK_LINE = re.compile(rb"\n\r?\n")

# Line breaks, and what h11's pattern is slow to reject.
_CONTROL = re.compile(rb"[\0\r\n\v\f]")

# RFC 9110 section 7.2: uri-host [":" port]. Only the characters are checked.
_HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]+")

_OURS = {"upgrade", "connection", "content-length", "transfer-encoding"}

# How h11's messages begin, and what we say instead: some of them quote the peer's bytes.
FAULTS = (
    ("illegal request line", "the request line is not valid"),
    ("illegal status line", "the status line is not valid"),
    ("InformationalResponse status_code", "the status code is less than 100"),
    ("illegal header line", "a header line is not valid"),
    ("continuation line", "the first header line is indented"),
    ("Illegal header name", "a header name is not a token"),
    ("Illegal header value", "a header value has characters that are not allowed"),
    ("Illegal method", "the method is not a token"),
    ("Illegal target", "the request target has characters that are not allowed"),
    ("Missing mandatory Host", "the Host header is missing"),
    ("Found multiple Host", "the Host header is repeated"),
    ("bad Content-Length", "the Content-Length header is not a number"),
    ("conflicting Content-Length", "the Content-Length headers differ"),
    ("multiple Transfer-Encoding", "the Transfer-Encoding header is repeated"),
    ("Only Transfer-Encoding", "the Transfer-Encoding header is not chunked"),
)


def malformed(what: str, error: h11.ProtocolError) -> str:
    """The reason for rejecting a `what` ("request" or "response") that h11 finds malformed."""
    message = str(error)
    faults = [f": {fault}" for start, fault in FAULTS if message.startswith(start)]
    return "".join([f"malformed HTTP {what}", *faults])


class InvalidHead(Exception):
    """A head that h11 must not see; its arguments are the server's status code and the reason."""


class HeadLimits:
    """The limits of a head. We count, because h11 limits incomplete heads only.

    `size` is in bytes, up to and including the blank line; `fields` in header lines. Raises
    ValueError for a limit that is not an int of at least 1.
    """

    __slots__ = ("fields", "size")

    def __init__(self, size: int, fields: int) -> None:
        for name, unit, limit in (
            ("max_head_size", "in bytes", size),
            ("max_head_fields", "a number of lines", fields),
        ):
            if not isinstance(limit, int) or limit < 1:
                raise ValueError(f"{name} must be {unit}, at least 1, not {limit!r}")
        self.size: int = size
        self.fields: int = fields

    def allow(self, head: bytes) -> bool:
        """Whether a complete head is neither too long nor has too many lines."""
        return len(head) <= self.size and head.count(b"\n") - 2 <= self.fields

    def too_long(self) -> InvalidHead:
        """The error for a head of more bytes."""
        return InvalidHead(431, f"the head is longer than {self.size} bytes")

    def too_many(self) -> InvalidHead:
        """The error for a head of more lines."""
        return InvalidHead(431, f"the head has more than {self.fields} header lines")


def check_fields(fields: list[tuple[bytes, bytes]], line: int, limits: HeadLimits) -> None:
    """Check the header fields of a request that another parser has read, as `HeadBuffer` does.

    `line` is the length of the request's method and target. Raises InvalidHead.
    """
    # Each line has ": " and CRLF; the rest are the request line's " ", " HTTP/1.1" and both CRLFs.
    if line + sum([len(name) + len(value) + 4 for name, value in fields]) + 14 > limits.size:
        raise limits.too_long()
    if len(fields) > limits.fields:
        raise limits.too_many()
    if any(_CONTROL.search(part) for field in fields for part in field):
        raise InvalidHead(400, "control characters in the head")


def check_controls(head: bytes) -> None:
    """Call it before h11 sees a complete head. Raises InvalidHead for control characters.

    h11 rejects these too, but its pattern takes 0.7 s for 16 KiB of blanks before one.
    """
    # Searching for an int takes 0.5k instructions, for a bytes object of length 1 3.9k.
    if head.count(b"\r") != head.count(b"\r\n") or 0x00 in head or 0x0B in head or 0x0C in head:
        raise InvalidHead(400, "control characters in the head")


class HeadBuffer:
    """The bytes received until the head is complete. Append to `data`, then call `take()`."""

    __slots__ = ("_searched", "data")

    def __init__(self) -> None:
        self.data: bytearray = bytearray()
        self._searched = 0

    def take(self, limits: HeadLimits) -> bytes | None:
        """Remove the head, blank line included, and return it; None while it is incomplete.

        `data` keeps what follows the head. Raises InvalidHead, with the same reason wherever the
        input was cut.
        """
        end = _BLANK_LINE.search(self.data, self._searched, limits.size)
        if end is None:
            if len(self.data) >= limits.size:
                raise limits.too_long()
            self._searched = max(0, len(self.data) - 2)
            return None
        head = bytes(self.data[: end.end()])
        if head.count(b"\n") - 2 > limits.fields:
            raise limits.too_many()
        del self.data[: end.end()]
        self._searched = 0
        return head


def parsed_headers(head: h11.Request | h11.Response | h11.InformationalResponse) -> Headers:
    """The header fields of a head that h11 has parsed and validated."""
    lines = [b": ".join(field) for field in head.headers.raw_items()]
    return Headers.decode(b"\r\n".join([*lines, b""]))


def raw_fields(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Header fields in the form in which h11 takes them."""
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.pairs]


def is_host(text: str) -> bool:
    """Whether `text` is allowed as the Host header's value (RFC 9112 section 3.2)."""
    return _HOST.fullmatch(text) is not None


def added_headers(headers: HeaderFields, *reserved: str) -> Headers:
    """The headers that the caller adds to our request or response, checked.

    `reserved` are further names, in lower case, that the handshake writes itself. Raises TypeError
    or ValueError for an invalid header, and ValueError for one that the handshake writes.
    """
    added = Headers(headers)
    for name in added:
        if name in _OURS or name in reserved or name.startswith("sec-websocket-"):
            raise ValueError(f"the handshake writes the {name} header itself: leave it out")
    return added
