"""Connections that report the sizes of their messages, before and after compression."""

from typing import Any, Protocol

from .client import ClientConnection
from .enums import DataType
from .events import Event, MessagePiece
from .parser import Parser
from .prepared import PreparedMessage
from .sending import Sender
from .server import ServerConnection


class Meter(Protocol):
    """What a metered connection reports to. It must not raise, nor call the connection."""

    def message_sent(self, size: int, wire_size: int, /) -> None:
        """A message is in the output: its bytes, and those of its payload after compression."""

    def message_received(self, size: int, wire_size: int, /) -> None:
        """A message arrived completely: its bytes, and those of its payload as it was sent."""


class MeteredParser(Parser):
    """A Parser that reports each message that is complete."""

    __slots__ = ("_ends", "_received", "_wire_received", "meter")

    meter: Meter

    def __init__(self, masked: bool, max_message_size: int | None) -> None:
        super().__init__(masked, max_message_size)
        self._received = 0  # bytes of the current message
        self._wire_received = 0  # and those of its payload, if it is compressed
        self._ends: dict[int, int] = {}  # the same of those that ended in this call, by event

    def feed(self, data: bytes | memoryview) -> list[Event]:
        """As a Parser."""
        self._ends.clear()
        events = super().feed(data)
        for index, event in enumerate(events):
            if isinstance(event, MessagePiece):
                self._received += len(event.data)
                if event.last:
                    size, self._received = self._received, 0
                    self.meter.message_received(size, self._ends.get(index, size))
        return events

    def _decode(self, payload: bytes, events: list[Event]) -> None:
        self._wire_received += len(payload)
        super()._decode(payload, events)
        if not self._encoded:  # the last event ended the message
            self._ends[len(events) - 1] = self._wire_received
            self._wire_received = 0


class _Sending:
    """What is counted of the message that is being encoded, or sent in fragments."""

    __slots__ = ("active", "meter", "parser", "size", "wire_size")

    meter: Meter

    def __init__(self, parser: MeteredParser) -> None:
        self.parser = parser
        self.size = 0
        self.wire_size = 0
        self.active = False


class _MeteredSender(Sender):
    """A Sender that reports each message that it puts in the output."""

    __slots__ = ()

    _sending: _Sending

    def report_to(self, meter: Meter) -> None:
        """Report to `meter`: call it before the opening handshake ends."""
        self._sending.meter = self._sending.parser.meter = meter

    def _data_frame(
        self, head: int, payload: bytes, first: bool, last: bool, compress: bool | None
    ) -> None:
        sending = self._sending
        if first:
            sending.size = sending.wire_size = 0
        sending.size += len(payload)
        sending.active = True
        try:
            super()._data_frame(head, payload, first, last, compress)
        finally:
            sending.active = False
        if last:
            sending.meter.message_sent(sending.size, sending.wire_size)

    def _frame(self, first: int, payload: bytes) -> None:
        super()._frame(first, payload)
        if self._sending.active:
            self._sending.wire_size += len(payload)
        elif first & 0x0F < DataType.CLOSE:  # a whole message that is not encoded
            self._sending.meter.message_sent(len(payload), len(payload))

    def _prepared(self, message: PreparedMessage) -> bytes:
        frame = super()._prepared(message)
        if frame:
            self._sending.meter.message_sent(len(message.payload), _payload_size(frame))
        return frame


class MeteredServerConnection(_MeteredSender, ServerConnection):
    """A ServerConnection, with the same arguments, that reports its messages."""

    __slots__ = ("_sending",)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._parser = parser = MeteredParser(True, self.max_message_size)
        self._sending = _Sending(parser)
        self._short_below = 0  # `_frame` writes the short messages too


class MeteredClientConnection(_MeteredSender, ClientConnection):
    """A ClientConnection, with the same arguments, that reports its messages."""

    __slots__ = ("_sending",)

    def __init__(self, host: str, target: str = "/", **settings: Any) -> None:
        super().__init__(host, target, **settings)
        self._parser = parser = MeteredParser(False, self.max_message_size)
        self._sending = _Sending(parser)
        self._short_below = 0


def _payload_size(frame: bytes) -> int:
    """The payload's length of an unmasked frame."""
    return len(frame) - (2 if frame[1] < 126 else 4 if frame[1] == 126 else 10)
