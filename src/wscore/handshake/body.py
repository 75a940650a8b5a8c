"""The body of a response that is no handshake: read for its words, within a bound."""

import re

from ..headers import Headers

# In bytes as they arrive, chunk headers included.
MAX_BODY = 64 * 1024

_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")


class Body:
    """Gathers a response's body: by length, in chunks, or to the end of the stream.

    h11 is not asked, because its patterns for chunk extensions and trailers take 3 s over 64 KiB
    of blanks that end badly. A malformed body ends where it stops making sense.
    """

    __slots__ = ("_at", "_chunk_left", "_chunked", "_content", "_raw", "_searched", "_wanted")

    def __init__(self, status: int, headers: Headers) -> None:
        """The framing of RFC 9112 section 6.3; a parser has found both headers sound."""
        self._chunked = "Transfer-Encoding" in headers
        self._wanted = MAX_BODY
        if status in (204, 304):
            self._chunked = False
            self._wanted = 0
        elif not self._chunked and "Content-Length" in headers:
            self._wanted = min(int(headers["Content-Length"]), MAX_BODY)
        self._raw = bytearray()
        # Of a chunked body only: what is decoded, up to where, and what the chunk there lacks,
        # its CRLF included.
        self._content = bytearray()
        self._at = 0
        self._searched = 0
        self._chunk_left = 0

    def receive(self, data: bytes) -> bool:
        """Take more of it; returns whether that was all there is to read."""
        self._raw += data[: self._wanted - len(self._raw)]
        over = self._chunked and self._decode_chunks()
        return over or len(self._raw) == self._wanted

    @property
    def content(self) -> bytes:
        """The body, as much of it as there is."""
        return bytes(self._content if self._chunked else self._raw)

    def _decode_chunks(self) -> bool:
        """RFC 9112 section 7.1; returns whether the last chunk was seen, or nonsense."""
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
