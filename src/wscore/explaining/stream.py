"""Explaining what one side sends while it comes, in pieces of any size: `ExplainedStream`."""

import re
from dataclasses import replace
from enum import Enum, auto

from ..frames import MASKED
from ..masking import apply_mask
from .explained import Explained, shown_bytes
from .frame import FrameExplainer, Sender
from .head import END_OF_HEAD, NO_HEAD_BITS, ExplainedHead, begins_head
from .message import MOST_INFLATED

# The longest head, and the longest piece of a payload, that is held until it is complete. The
# second is a multiple of the masking key's size.
MOST_HEAD = 2**17
PIECE = 2**16

_INFORMATIONAL = re.compile(rb"HTTP/1\.\d 1(?!01)")
_QUERY = re.compile(r"\?[^\s\"]+")
# What a name and an equals sign precede; or what is there without a name.
_VALUE = re.compile(r"(?<==)[^&]+|(?<=[?&])[^=&]+(?=&|$)")
_CREDENTIALS = re.compile(r"//[^/?#\s\"]*@")


class _Stage(Enum):
    """What comes next."""

    HEAD = auto()
    FRAMES = auto()
    BODY = auto()


class _OpenFrame:
    """A frame whose header is there, and whose payload comes in pieces."""

    def __init__(self, frames: FrameExplainer, header: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.faults: list[str] = []
        self.size = frames.header(header, 0, self.fields, self.faults)
        self.left = int(self.fields["length"])
        self._first = header[0]
        self._key = header[-4:] if header[1] >= MASKED else b""
        self._frames = frames
        self._inflated = frames.messages.inflated  # by the frames before
        self._payload: bytes | None = None

    def add(self, piece: bytes) -> None:
        """More of the payload; the first piece is shown."""
        self.size += len(piece)
        self.left -= len(piece)
        if self._key:
            piece = apply_mask(piece, self._key)
        messages = self._frames.messages
        shown = self._frames.payload(self._first, piece, not self.left, self.faults)
        if self._payload is None:
            self._payload = piece
            self.fields |= shown
        if "inflated" in shown:
            total = f"({messages.inflated - self._inflated} bytes)"
            self.fields["inflated"] = shown["inflated"] if messages.broken else total
        if "message" in shown:
            self.fields["message"] = shown["message"]

    def explained(self, offset: int) -> Explained:
        """The frame, or what is there of it, which begins at `offset`."""
        if self.left:
            self.fields["missing"] = f"({self.left} bytes of the payload)"
        payload = self._payload or b""
        return Explained(offset, self.size, "frame", self.fields, tuple(self.faults), payload)


class ExplainedStream:
    """Explains what `sender` sends: the HTTP head, then frames (RFC 6455 section 5.2).

    A frame is a part once it is complete, with the start of its payload. At most 128 KiB are held,
    and one `feed` decompresses at most 16 MiB. The values in a query are left out, because they
    may be tokens, as well as what `explain` leaves out. Nothing is explained after a fault, which
    ends a connection.
    """

    def __init__(self, sender: Sender) -> None:
        self.opened: bool = False
        """Whether a response with status 101 was there, so that frames follow."""
        self.ended: bool = False
        """Whether nothing more is explained."""
        self.bits: int = NO_HEAD_BITS
        """The reserved bits that the extensions in the head may set; the response's count."""
        self._sender = sender
        self._held = bytearray()
        self._offset = 0  # of what is held
        self._searched = 0  # no head ends before this offset
        self._stage = _Stage.HEAD
        self._frames: FrameExplainer | None = None
        self._frame: _OpenFrame | None = None

    def feed(self, data: bytes | memoryview) -> list[Explained]:
        """More was sent; returns what is complete."""
        parts: list[Explained] = []
        if not self.ended:
            self._held += data
            if self._frames is not None:
                self._frames.messages.left = MOST_INFLATED
            while not self.ended and self._take(parts):
                pass
        return parts

    def end(self) -> list[Explained]:
        """Nothing more will be sent, or explained; returns what is not complete."""
        parts: list[Explained] = []
        if self._frame is not None:
            self._end_frame(parts)
        if self._held and self._stage is _Stage.FRAMES:
            part = self._explainer().explain(bytes(self._held), 0)
            parts.append(replace(part, offset=self._offset))
        elif self._held:
            self._show_rest("incomplete", parts)
        self._stop()
        return parts

    def _take(self, parts: list[Explained]) -> bool:
        """Take a head, a frame or a piece of one; returns whether there may be another."""
        if self._stage is _Stage.FRAMES:
            return self._take_frame(parts)
        if self._stage is _Stage.HEAD:
            return self._take_head(parts)
        if self._held:
            self._show_rest("body", parts)
        return False

    # Heads.

    def _take_head(self, parts: list[Explained]) -> bool:
        held = self._held
        end = END_OF_HEAD.search(held, self._searched)
        if end is None:
            self._searched = max(0, len(held) - 2)
            if len(held) > MOST_HEAD:
                self._show_rest("incomplete", parts)
            return False
        data = bytes(held[: end.end()])
        if not begins_head(data, 0):
            self._show_rest("not HTTP", parts)
            return False
        head = ExplainedHead(data, 0)
        for part in head.parts:
            fields = {name: _without_secrets(value) for name, value in part.fields.items()}
            parts.append(replace(part, offset=part.offset + self._offset, fields=fields))
        self._drop(len(data))
        self._searched = 0
        self.bits = head.bits
        if self._sender == "client":
            self._stage = _Stage.FRAMES
        elif head.opens:
            self.opened = True
            self._stage = _Stage.FRAMES
        elif not _INFORMATIONAL.match(data):
            self._stage = _Stage.BODY
        return True

    # Frames.

    def _take_frame(self, parts: list[Explained]) -> bool:
        held = self._held
        if self._frame is None:
            if len(held) < 2 or len(held) < (size := _header_size(held[1])):
                return False
            self._frame = _OpenFrame(self._explainer(), bytes(held[:size]))
            self._drop(size)
        frame = self._frame
        size = min(frame.left, PIECE)
        if len(held) < size and not frame.faults:
            return False
        piece = bytes(held[:size])
        self._drop(len(piece))
        frame.add(piece)
        if not frame.left or frame.faults:
            self._end_frame(parts)
        return True

    def _end_frame(self, parts: list[Explained]) -> None:
        frame, self._frame = self._frame, None
        assert frame is not None
        if self._held and frame.left and not frame.faults:
            piece = bytes(self._held[: frame.left])
            self._drop(len(piece))
            frame.add(piece)
        parts.append(frame.explained(self._offset - frame.size))
        if frame.faults:
            self._stop()

    # Inside.

    def _explainer(self) -> FrameExplainer:
        if self._frames is None:
            self._frames = FrameExplainer(self._sender, self.bits)
        return self._frames

    def _show_rest(self, kind: str, parts: list[Explained]) -> None:
        held = bytes(self._held)
        parts.append(Explained(self._offset, len(held), kind, {"data": shown_bytes(held)}))
        self._stop()

    def _drop(self, size: int) -> None:
        del self._held[:size]
        self._offset += size

    def _stop(self) -> None:
        self.ended = True
        self._held.clear()


def _header_size(second: int) -> int:
    """The size of a frame's header, whose second byte is `second`."""
    return 2 + {126: 2, 127: 8}.get(second & 0x7F, 0) + (4 if second >= MASKED else 0)


def _without_secrets(value: str) -> str:
    """A line or a field of a head, without the values in queries and without credentials."""
    value = _QUERY.sub(lambda query: _VALUE.sub("...", query[0]), value)
    return _CREDENTIALS.sub("//...@", value)
