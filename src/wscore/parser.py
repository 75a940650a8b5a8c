"""From bytes to events: all rules of RFC 6455 section 5 for what a peer may send."""

import sys
from collections.abc import Sequence

from .enums import DataType
from .events import CloseReceived, ConnectionFailed, Event, MessagePiece, Ping, Pong
from .extensions import CorruptMessage, Decoder
from .extensions.negotiated import NO_EXTENSIONS, NegotiatedExtensions
from .frames import FIN, MASKED, MAX_CONTROL, truncated_reason
from .masking import apply_mask
from .messages import whole_messages
from .reasons import Reasons, may_receive, reason_for
from .utf8 import decode

# The most frames that one call handles, so that the caller can let other tasks run.
SLICE = 256

# A fragment counts as at least this many bytes, because keeping it costs more than its payload. 256
# of them are free: they come on top of the limit, so that a message that fills it may end with an
# empty one.
_FRAGMENT_COST = 64
_FREE_COST = 256 * _FRAGMENT_COST

_UNLIMITED = sys.maxsize

_RESERVED_BITS = 0x70

# Decoders take and return at most _PIECE bytes at a time, and one call returns at most _MAX_WORK
# bytes of theirs, because 1 KiB may decompress to 1 MiB. Input that decompresses to nothing counts
# too: some blocks cost zlib 80 ns for each byte, and a call with such input takes 5 ms.
_PIECE = 65536
_MAX_WORK = 4 * _PIECE
_COST_OF_ROUND = 256
_COST_OF_BYTE = 4

# A lookup by opcode takes 70 ns, calling the enumeration 340.
_TYPES = {int(member): member for member in DataType if member is not DataType.NONE}
_CONTINUATION = DataType.CONTINUATION
_TEXT = DataType.TEXT
_BINARY = DataType.BINARY
_NONE = DataType.NONE


class _Violation(Exception):
    """The peer violated the protocol; never leaves this file."""

    def __init__(self, code: Reasons, reason: str) -> None:
        self.code = code
        self.reason = reason


class Parser:
    """Turns what a peer sends after the handshake into events.

    `masked` is True if the peer is a client, which must mask its frames (RFC 6455 section 5.1).
    `max_message_size` is in bytes, None for no limit; it may be changed at any time and applies
    from the next frame on. After a Close or a protocol violation `over` is set: do not call `feed`
    again.
    """

    __slots__ = (
        "_all_decoders",
        "_bound",
        "_carry",
        "_charged",
        "_chosen",
        "_encoded",
        "_decoded",
        "_final",
        "_first",
        "_key",
        "_left",
        "_limit",
        "_masked",
        "_pending",
        "_rest",
        "_work_left",
        "_size",
        "_type",
        "max_frames",
        "negotiated",
        "more",
        "over",
        "pongs_first",
    )

    def __init__(self, masked: bool, max_message_size: int | None) -> None:
        self.more: bool = False  # input was kept back: call feed(b"") again
        self.over: bool = False  # the last event was a CloseReceived or a ConnectionFailed
        # A Close after a Ping is left for the next call, so that the Ping can be answered before.
        self.pongs_first: bool = False
        self.negotiated: NegotiatedExtensions = NO_EXTENSIONS
        # With their reserved bits, in order of use; created for the first encoded message.
        self._all_decoders: tuple[tuple[int, Decoder], ...] = ()
        # The reserved bits of the last encoded message, and its decoders.
        self._chosen: tuple[int, tuple[Decoder, ...]] = 0, ()
        self._encoded = False  # whether the current message is encoded
        self._decoded = 0  # its decoded size so far
        self._bound = 0  # the limit for its decoded size, as of its current frame
        self._pending: Sequence[int] = ()  # the decoders that have more output
        self._work_left = _MAX_WORK  # bytes that they may still return in this call
        self._masked = masked
        self.max_frames: int = SLICE  # in one call
        self.max_message_size = max_message_size
        self._rest = b""  # an incomplete frame header or control frame
        self._type = _NONE  # of the current message
        self._first = False  # whether none of its pieces was reported yet
        self._final = False  # whether its current frame is the last
        self._left = 0  # bytes of its current frame that are missing
        self._key = b""  # the masking key for those
        self._carry = b""  # an incomplete code point at the end of its last piece
        self._size = 0  # the sum of its frames' declared lengths
        self._charged = 0  # the same, with small fragments rounded up

    @property
    def max_message_size(self) -> int | None:
        """The size limit for messages in bytes; None for no limit."""
        return None if self._limit == _UNLIMITED else self._limit

    @max_message_size.setter
    def max_message_size(self, size: int | None) -> None:
        if size is not None and not (isinstance(size, int) and size >= 0):
            raise ValueError(f"max_message_size must be in bytes, None for no limit, not {size!r}")
        # The C extension takes no larger number.
        self._limit = _UNLIMITED if size is None else min(size, _UNLIMITED)

    def drop(self) -> None:
        """There will be no more input: free what was kept for it. Do not call `feed` again."""
        self._all_decoders, self._chosen = (), (0, ())
        self._rest = b""
        self.more = False

    def hold(self, data: bytes) -> None:
        """Keep `data` for the next call, and set `more` if there is any."""
        self._rest = data
        self.more = bool(data)

    def feed(self, data: bytes | memoryview) -> list[Event]:
        """Parse bytes, at most `max_frames` frames; returns the events.

        If `more` is set afterwards, call again with b"" before passing new bytes.
        """
        if self._rest:
            data = self._rest + data
            self._rest = b""
        self.more = False
        events: list[Event] = []
        position = 0
        self._work_left = _MAX_WORK
        try:
            # The fast path: 0.20 us instead of 0.35 for a message.
            if self._type is _NONE:
                position = whole_messages(
                    data,
                    0,
                    self._masked,
                    self._limit,
                    self.max_frames,
                    events,
                    self.negotiated.bits,
                    self,
                )
                if position == len(data) and not self._pending:
                    return events
            elif self._pending:
                self._decode(b"", events)
            if self._work_left > 0:
                position = self._run(data, position, self.max_frames - len(events), events)
        except _Violation as violation:
            self.over = True
            events.append(ConnectionFailed(violation.code, violation.reason))
        else:
            if position < len(data) and not self.over:
                self._rest = bytes(data[position:])
                self.more = self.more or self._work_left <= 0
            if self._pending:
                self.more = True
        return events

    def _run(
        self, data: bytes | memoryview, position: int, budget: int, events: list[Event]
    ) -> int:
        """Parse at most `budget` frames from `position` on; returns where the next call begins."""
        end = len(data)
        bits = self.negotiated.bits
        while position < end:
            if self._left:
                position = self._payload(data, position, end, events)
                if self._work_left <= 0:
                    break
                continue
            if budget <= 0:
                self.more = True
                break
            budget -= 1
            if end - position < 2:
                break
            is_close = data[position] & 0x0F == DataType.CLOSE
            if is_close and self.pongs_first and Ping in map(type, events):
                self.more = True
                break
            after = self._frame(data, position, end, events)
            if after < 0:
                break
            position = after
            if self.over or self._work_left <= 0:
                break
            if self._type is _NONE:
                before = len(events)
                position = whole_messages(
                    data, position, self._masked, self._limit, budget, events, bits, self
                )
                if self._work_left <= 0:
                    break
                budget -= len(events) - before
        return position

    def _frame(self, data: bytes | memoryview, position: int, end: int, events: list[Event]) -> int:
        """Read a data frame's header or a control frame; returns its end, -1 if incomplete."""
        first = data[position]
        opcode = _TYPES.get(first & 0x0F)
        if opcode is None:
            raise _Violation(Reasons.PROTOCOL_ERROR, f"unknown opcode {first & 0x0F}")
        bits = first & _RESERVED_BITS
        if bits and (opcode is not _TEXT and opcode is not _BINARY or bits & ~self.negotiated.bits):
            raise _Violation(Reasons.PROTOCOL_ERROR, "reserved bits are set")
        second = data[position + 1]
        if (second & MASKED != 0) is not self._masked:
            raise _Violation(
                Reasons.PROTOCOL_ERROR,
                "a client must mask its frames"
                if self._masked
                else "a server must not mask its frames",
            )
        size = second & 0x7F
        position += 2
        if opcode >= DataType.CLOSE and (size > MAX_CONTROL or not first & FIN):
            raise _Violation(
                Reasons.PROTOCOL_ERROR,
                "a control frame is longer than 125 bytes or fragmented",
            )
        if size > MAX_CONTROL:
            width, least = (2, 126) if size == 126 else (8, 65536)
            if end - position < width:
                return -1
            size = int.from_bytes(data[position : position + width])
            position += width
            if size < least:
                raise _Violation(
                    Reasons.PROTOCOL_ERROR, "a payload length is not in its shortest form"
                )
            if size >> 63:
                raise _Violation(
                    Reasons.PROTOCOL_ERROR, "a payload length has its most significant bit set"
                )
        if opcode < DataType.CLOSE:
            self._judge(opcode, size, bits)
        key = b""
        if self._masked:
            key = bytes(data[position : position + 4])
            position += 4
        if opcode >= DataType.CLOSE:
            if end - position < size:
                return -1
            stop = position + size
            payload = apply_mask(data, key, position, stop) if key else bytes(data[position:stop])
            self._control(opcode, payload, events)
            return stop
        if position > end:
            return -1
        self._begin(opcode, first & FIN != 0, size, bits)
        self._key = key
        if not size:
            self._payload(data, position, end, events)
        return position

    def _judge(self, opcode: DataType, size: int, bits: int) -> None:
        """Reject a data frame that is out of order or too long before any of it is stored."""
        if opcode is DataType.CONTINUATION:
            if self._type is _NONE:
                raise _Violation(
                    Reasons.PROTOCOL_ERROR, "a continuation frame without a message to continue"
                )
        elif self._type is not _NONE:
            raise _Violation(
                Reasons.PROTOCOL_ERROR, "a new message before the end of a fragmented one"
            )
        # _decode limits the decoded size. This limits encoded data that decodes to nothing:
        # encoding lengthens a message by an eighth at most.
        limit = self._limit
        if bits or self._encoded:
            limit += (limit >> 3) + _FREE_COST
        if self._size + size > limit or self._decoded > self._limit:
            raise _too_big(self._limit)
        if self._charged + max(size, _FRAGMENT_COST) > limit + _FREE_COST:
            raise _Violation(Reasons.MESSAGE_TOO_BIG, "a message has too many small fragments")

    def _begin(self, opcode: DataType, final: bool, size: int, bits: int) -> None:
        """Begin with a data frame's payload."""
        if opcode is not _CONTINUATION:
            self._type = opcode
            self._first = True
            if bits:
                self._encoded = True
                if bits != self._chosen[0]:
                    self._choose(bits)
        self._bound = self._limit
        self._size += size
        self._charged += max(size, _FRAGMENT_COST)
        self._final = final
        self._left = size

    def _choose(self, bits: int) -> None:
        """Choose the decoders of a message by its reserved bits."""
        if not self._all_decoders:
            self._all_decoders = self.negotiated.decoders()
        self._chosen = bits, tuple([one for own, one in self._all_decoders if own & bits])

    def take(self, first: int, payload: bytes, events: list[Event]) -> bool:
        """Decode an unfragmented message: see `messages.Decoding`.

        `first` is its frame's first byte. Returns whether this call may decode more.
        """
        self._begin(_TYPES[first & 0x0F], True, 0, first & _RESERVED_BITS)
        self._decode(payload, events)
        return self._work_left > 0

    def _payload(
        self, data: bytes | memoryview, position: int, end: int, events: list[Event]
    ) -> int:
        """Handle what has arrived of a data frame's payload."""
        stop = min(end, position + self._left)
        if self._encoded:
            stop = min(stop, position + _PIECE)
        size = stop - position
        self._left -= size
        key = self._key
        if not key:
            payload = bytes(data[position:stop])
        else:
            payload = apply_mask(data, key, position, stop)
            shift = size & 3
            if shift:
                self._key = key[shift:] + key[:shift]
        if self._encoded:
            self._decode(payload, events)
        else:
            self._piece(payload, self._final and not self._left, events)
        return stop

    def _decode(self, payload: bytes, events: list[Event]) -> None:
        """Decode some payload of an encoded message, or b"" to go on with pending output."""
        ended = self._final and not self._left
        _, decoders = self._chosen
        pending = self._pending
        while True:
            # The last decoder with pending output goes first, before any decoder gets input.
            start = pending[-1] if pending else 0
            waits = len(pending) > 1
            last = ended and not waits
            # One byte more than allowed shows an excess. Never 0, which means no limit to zlib.
            most = min(_PIECE, self._bound - self._decoded + 1)
            cost = max(_COST_OF_BYTE * len(payload), _COST_OF_ROUND)
            try:
                for decoder in decoders[start:] if start else decoders:
                    payload = decoder.decode(payload, last, most)
                    if decoder.pending:
                        waits = True
                        last = False
            except CorruptMessage as error:
                raise _corrupt(error) from None
            size = len(payload)
            self._work_left -= max(cost, size)
            self._decoded += size
            if self._decoded > self._bound:
                raise _too_big(self._bound)
            self._piece(payload, last, events)
            if not waits:
                pending = ()
                break
            pending = [index for index, decoder in enumerate(decoders) if decoder.pending]
            if self._work_left <= 0:
                break
            payload = b""
        self._pending = pending

    def _piece(self, payload: bytes, last: bool, events: list[Event]) -> None:
        """Report some payload, unless it is empty and not the end of its message."""
        text = None
        if self._type is _TEXT:
            if self._carry:
                payload = self._carry + payload
            try:
                text, used = decode(payload, last)
            except UnicodeDecodeError as error:
                raise self._bad_text(error, events) from None
            self._carry = payload[used:]
            if self._carry:
                payload = payload[:used]
        if payload or last:
            events.append(MessagePiece(self._type, payload, text, self._first, last))
            self._first = False
        if last:
            self._type = _NONE
            self._size = self._charged = self._decoded = 0
            self._encoded = False

    def _bad_text(self, error: UnicodeDecodeError, events: list[Event]) -> _Violation:
        """Report the valid text before an error, as if the input had been cut there."""
        valid: bytes = error.object[: error.start]
        if valid:
            events.append(MessagePiece(_TEXT, valid, valid.decode(), self._first, False))
        return _Violation(Reasons.INCONSISTENT_DATA, "a text message is not valid UTF-8")

    def _control(self, opcode: DataType, payload: bytes, events: list[Event]) -> None:
        """Handle a control frame."""
        if opcode is DataType.PING:
            events.append(Ping(payload))
        elif opcode is DataType.PONG:
            events.append(Pong(payload))
        else:
            events.append(_read_close(payload))
            self.over = True


def _corrupt(error: CorruptMessage) -> _Violation:
    return _Violation(Reasons.INCONSISTENT_DATA, truncated_reason(str(error)))


def _too_big(limit: int) -> _Violation:
    return _Violation(Reasons.MESSAGE_TOO_BIG, f"a message is longer than {limit} bytes")


def _read_close(payload: bytes) -> CloseReceived:
    """Parse a Close frame's payload (RFC 6455 sections 5.5.1 and 7.4)."""
    if not payload:
        return CloseReceived(Reasons.NO_STATUS, "")
    if len(payload) == 1:
        raise _Violation(Reasons.PROTOCOL_ERROR, "a Close with a payload of one byte")
    code = int.from_bytes(payload[:2])
    if not may_receive(code):
        raise _Violation(Reasons.PROTOCOL_ERROR, f"a Close with the invalid code {code}")
    try:
        reason = payload[2:].decode()
    except UnicodeDecodeError:
        raise _Violation(Reasons.INCONSISTENT_DATA, "a close reason is not valid UTF-8") from None
    return CloseReceived(reason_for(code), reason)
