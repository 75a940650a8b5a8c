"""The messages in explained frames: their order, their text, their compression."""

from collections.abc import Iterator

from ..enums import DataType
from ..extensions import CorruptMessage
from ..extensions.base import Decoder
from ..extensions.deflate import Deflate
from ..utf8 import decode
from .explained import MOST_TEXT, shown_bytes, shown_text
from .faults import fault

# One explanation decompresses at most so many bytes, because 1 KiB may decompress to 1 MiB.
MOST_INFLATED = 2**24
_PIECE = 65536
_COST_OF_ROUND = 256
_SHOWN = 4 * MOST_TEXT  # bytes, of which a character has at most four

# The largest window, and context takeover: that decompresses the others too.
_ANY = Deflate(peer_window_bits=15).agree([])


class MessageState:
    """Follows the messages of one direction."""

    def __init__(self) -> None:
        self.type: DataType | None = None
        """The type of the message whose frames are not complete; None between messages."""
        self.closed = False
        """Whether a Close was there."""
        self.frames: int = 0
        self.size: int = 0
        self._carry = b""  # an incomplete code point
        self._valid = True  # the text so far
        self._compressed = False
        self._inflater: Decoder | None = None
        self.inflated: int = 0
        """The bytes of the current message, decompressed, if it is compressed."""
        self.left: int = MOST_INFLATED
        """How many bytes may still be decompressed."""
        self.broken: bool = False
        """Nothing more can be decompressed."""

    def begin(self, opcode: DataType, compressed: bool, faults: list[str]) -> None:
        """A data frame's header was read."""
        if self.closed:
            faults.append(fault("a data frame after a Close"))
        if opcode is DataType.CONTINUATION:
            if self.type is None:
                faults.append(fault("a continuation frame without a message to continue"))
        else:
            if self.type is not None:
                faults.append(fault("a new message before the end of a fragmented one"))
            self.type = opcode
            self.frames = self.size = self.inflated = 0
            self._carry = b""
            self._valid = True
            self._compressed = compressed
        self.frames += 1

    def payload(self, payload: bytes, last: bool, faults: list[str]) -> dict[str, str]:
        """Show what is there of a data frame's payload; `last` if it ends its message."""
        fields: dict[str, str] = {}
        kind = DataType.BINARY if self.type is None else self.type
        self.size += len(payload)
        if self._compressed:
            fields["compressed"] = shown_bytes(payload)
            fields |= self._inflate(payload, last, faults)
        elif kind is DataType.TEXT:
            fields["text"] = shown_text(self._text(payload, last, faults))
        else:
            fields["data"] = shown_bytes(payload)
        if last:
            if self.frames > 1:
                what = "text" if kind is DataType.TEXT else "binary"
                more = f", {self.inflated} inflated" if self._compressed else ""
                fields["message"] = f"({what}, {self.frames} frames, {self.size} bytes{more})"
            self.type = None
            self._compressed = False
            self.frames = self.size = 0
        return fields

    def _text(self, payload: bytes, last: bool, faults: list[str]) -> str:
        """The text of a piece; what is not valid is replaced, and a fault once a message."""
        if not self._valid:
            return payload.decode(errors="replace")
        payload = self._carry + payload
        try:
            text, used = decode(payload, last)
        except UnicodeDecodeError:
            self._valid = False
            self._carry = b""
            faults.append(fault("a text message is not valid UTF-8"))
            return payload.decode(errors="replace")
        self._carry = payload[used:]
        return text

    def _inflate(self, payload: bytes, last: bool, faults: list[str]) -> dict[str, str]:
        """Show the start of what a compressed frame contains."""
        if self.broken:
            return {"inflated": "(unknown)"}
        size, start, text = 0, b"", ""
        try:
            for piece, final in self._inflated(payload, last):
                size += len(piece)
                start += piece[: _SHOWN - len(start)]
                if self.type is DataType.TEXT:
                    text += self._text(piece, final, faults)[: _SHOWN - len(text)]
        except CorruptMessage as error:
            self.broken = True
            detail = str(error).removeprefix("a compressed message ")
            faults.append(fault("a compressed message", detail))
        self.inflated += size
        if self.left <= 0:
            self.broken = True
            return {"inflated": f"(more than {MOST_INFLATED} bytes in all)"}
        content = {"data": shown_bytes(start)}
        if self.type is DataType.TEXT:
            content = {"text": shown_text(text)}
        return {"inflated": f"({size} bytes)", **content}

    def _inflated(self, payload: bytes, last: bool) -> Iterator[tuple[bytes, bool]]:
        """What a compressed frame contains, in pieces, True with the last of its message.

        Stops when nothing is left of the limit. Raises CorruptMessage.
        """
        if self._inflater is None:
            self._inflater = _ANY.decoder()
        inflater = self._inflater
        for start in range(0, max(len(payload), 1), _PIECE):
            part = payload[start : start + _PIECE]
            final = last and start + _PIECE >= len(payload)
            while True:
                piece = inflater.decode(part, final, _PIECE)
                # Many empty blocks decompress to nothing, one a call.
                self.left -= len(piece) + (_COST_OF_ROUND if inflater.pending else 0)
                if self.left <= 0:
                    return
                yield piece, final and not inflater.pending
                if not inflater.pending:
                    break
                part = b""
