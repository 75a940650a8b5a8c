"""One explained frame: each field of its header by its name, and what breaks a rule."""

from typing import Literal

from ..enums import DataType
from ..extensions.deflate import RSV1
from ..frames import FIN, MASKED, MAX_CONTROL
from ..masking import apply_mask
from ..reasons import Reasons, may_receive, reason_for
from .explained import Explained, shown_bytes, shown_text
from .faults import fault
from .message import MessageState

Sender = Literal["client", "server"]

_TYPES = {int(member): member for member in DataType if member is not DataType.NONE}
_RESERVED_BITS = 0x70


class FrameExplainer:
    """Explains the frames of one direction, one after another.

    `sender` is the end that sent them; None if that is unknown: then all must be masked, or
    none. `bits` are the reserved bits that extensions may set in a message's first frame.
    """

    def __init__(self, sender: Sender | None, bits: int) -> None:
        self._masked = None if sender is None else sender == "client"
        self._known = sender is not None
        self._bits = bits
        self.messages: MessageState = MessageState()

    def explain(self, data: bytes, offset: int) -> Explained:
        """Explain the frame at `offset`, or what is there of it."""
        fields: dict[str, str] = {}
        faults: list[str] = []
        start = self.header(data, offset, fields, faults)
        if start > len(data):
            fields["missing"] = "(the rest of the header)"
            return Explained(offset, len(data) - offset, "frame", fields, tuple(faults))
        size = int(fields["length"])
        stop = min(start + size, len(data))
        key = data[start - 4 : start]
        payload = apply_mask(data, key, start, stop) if "key" in fields else data[start:stop]
        missing = size - len(payload)
        fields |= self.payload(data[offset], payload, not missing, faults)
        if missing:
            fields["missing"] = f"({missing} bytes of the payload)"
        return Explained(offset, stop - offset, "frame", fields, tuple(faults), payload)

    def payload(
        self, first: int, payload: bytes, complete: bool, faults: list[str]
    ) -> dict[str, str]:
        """Show a payload, or a part of one; `first` is its frame's first byte.

        `complete` says that the frame ends with it.
        """
        opcode = _TYPES.get(first & 0x0F)
        if opcode is None:
            return {"data": shown_bytes(payload)}
        if opcode < DataType.CLOSE:
            return self.messages.payload(payload, first >= FIN and complete, faults)
        return self._control(opcode, payload, complete, faults)

    def header(self, data: bytes, offset: int, fields: dict[str, str], faults: list[str]) -> int:
        """Explain the header at `offset`; returns its end, which may be beyond that of `data`."""
        first = data[offset]
        opcode = _TYPES.get(first & 0x0F)
        fields["FIN"] = str(first >> 7)
        fields["RSV"] = f"{(first & _RESERVED_BITS) >> 4:03b}"
        fields["opcode"] = (
            f"{first & 0x0F}({'reserved' if opcode is None else opcode.name.lower()})"
        )
        self._judge_first(first, opcode, faults)
        start = offset + 2
        if start > len(data):
            return start
        second = data[offset + 1]
        fields["MASK"] = str(second >> 7)
        self._judge_mask(second >= MASKED, faults)
        size = second & 0x7F
        control = opcode is not None and opcode >= DataType.CLOSE
        if control and (size > MAX_CONTROL or first < FIN):
            faults.append(fault("a control frame is longer than 125 bytes or fragmented"))
        if size > MAX_CONTROL:
            width, least = (2, 126) if size == 126 else (8, 65536)
            start += width
            if start > len(data):
                return start
            size = int.from_bytes(data[start - width : start])
            if size < least:
                faults.append(fault("a payload length is not in its shortest form"))
            if size >> 63:
                faults.append(fault("a payload length has its most significant bit set"))
        fields["length"] = str(size)
        if opcode is not None and not control:
            self.messages.begin(opcode, bool(first & self._bits & RSV1), faults)
        if second >= MASKED:
            start += 4
            if start <= len(data):
                fields["key"] = data[start - 4 : start].hex()
        return start

    def _judge_first(self, first: int, opcode: DataType | None, faults: list[str]) -> None:
        if opcode is None:
            faults.append(fault("unknown opcode", str(first & 0x0F)))
            return
        begins = opcode is DataType.TEXT or opcode is DataType.BINARY
        if first & _RESERVED_BITS & ~(self._bits if begins else 0):
            faults.append(fault("reserved bits are set"))

    def _judge_mask(self, masked: bool, faults: list[str]) -> None:
        if self._masked is None:
            self._masked = masked
        elif masked is not self._masked:
            if not self._known:
                faults.append(fault("some frames are masked, others are not"))
            elif self._masked:
                faults.append(fault("a client must mask its frames"))
            else:
                faults.append(fault("a server must not mask its frames"))

    def _control(
        self, opcode: DataType, payload: bytes, complete: bool, faults: list[str]
    ) -> dict[str, str]:
        """Show a control frame's payload."""
        if opcode is not DataType.CLOSE:
            return {"data": shown_bytes(payload)}
        self.messages.closed = True
        if len(payload) < 2:
            if payload and complete:
                faults.append(fault("a Close with a payload of one byte"))
            return {"data": shown_bytes(payload)}
        code = int.from_bytes(payload[:2])
        known = reason_for(code)
        fields = {"code": str(code)}
        if isinstance(known, Reasons):
            fields["code"] += f"({known.name}, {known.description})"
        if not may_receive(code):
            faults.append(fault("a Close with the invalid code", str(code)))
        try:
            reason = payload[2:].decode()
        except UnicodeDecodeError:
            reason = payload[2:].decode(errors="replace")
            if complete:
                faults.append(fault("a close reason is not valid UTF-8"))
        return {**fields, "reason": shown_text(reason)}
