"""The body of a response that rejects the handshake, up to a limit."""

import re

from ..headers import Headers

# In bytes as received, chunk headers included.
MAX_BODY = 64 * 1024

_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")


class Body:
    """Reads a response's body: by length, in chunks, or to the end of the stream.

    h11 does not read it, because its patterns for chunk extensions and trailers take 3 s for
    64 KiB of blanks before an invalid byte. A malformed body ends before the first error.
    """

    __slots__ = ("_at", "_chunk_left", "_chunked", "_content", "_raw", "_searched", "_wanted")

    def __init__(self, status: int, headers: Headers) -> None:
        """Choose the framing (RFC 9112 section 6.3); h11 has validated both headers."""
        self._chunked = "Transfer-Encoding" in headers
        self._wanted = MAX_BODY
        if status in (204, 304):
            self._chunked = False
            self._wanted = 0
        elif not self._chunked and "Content-Length" in headers:
            self._wanted = min(int(headers["Content-Length"]), MAX_BODY)
        self._raw = bytearray()
        # For a chunked body only.
        self._content = bytearray()  # decoded so far
        self._at = 0  # where decoding goes on in _raw
        self._searched = 0  # no line ends before this position
        self._chunk_left = 0  # bytes missing of the current chunk, its CRLF included

    def receive(self, data: bytes) -> bool:
        """Add received bytes; returns whether the body is complete."""
        self._raw += data[: self._wanted - len(self._raw)]
        over = self._chunked and self._decode_chunks()
        return over or len(self._raw) == self._wanted

    @property
    def content(self) -> bytes:
        """The body as received so far."""
        return bytes(self._content if self._chunked else self._raw)

    def _decode_chunks(self) -> bool:
        """Decode (RFC 9112 section 7.1); returns whether the last chunk or an error was found."""
        raw = self._raw
        while True:
            if self._chunk_left:
                piece = raw[self._at : self._at + self._chunk_left]
                self._at += len(piece)
                self._chunk_left -= len(piece)
                # The last two bytes of a chunk are its CRLF.
                self._content += piece[: max(0, len(piece) + self._chunk_left - 2)]
                if self._chunk_left:
                    return False
                if raw[self._at - 2 : self._at] != b"\r\n":
                    return True
            end = raw.find(b"\r\n", max(self._at, self._searched))
            if end < 0:
                self._searched = len(raw) - 1
                return False
            size = raw[self._at : end].partition(b";")[0].strip(b" \t")
            self._at = end + 2
            if not _CHUNK_SIZE.fullmatch(size) or int(size, 16) == 0:
                return True
            self._chunk_left = int(size, 16) + 2
