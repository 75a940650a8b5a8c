"""Bytes to events: everything RFC 6455 section 5 says about what may arrive. The one hot loop."""

import sys
from collections.abc import Sequence

from .enums import DataType
from .events import CloseReceived, ConnectionFailed, Event, MessagePiece, Ping, Pong
from .extensions import CorruptMessage, Decoder
from .extensions.negotiated import NO_EXTENSIONS
from .frames import FIN, MASKED, MAX_CONTROL, truncated_reason
from .masking import apply_mask
from .messages import whole_messages
from .reasons import Reasons, may_receive, reason_for
from .utf8 import decode

# How many frames one call handles, so that a caller can let others run in between.
SLICE = 256

# A fragment counts for at least this many bytes, because whoever keeps it pays for its
# bookkeeping too; 256 of them are free, however low the limit.
_FRAGMENT_COST = 64
_FREE = 256 * _FRAGMENT_COST

_UNLIMITED = sys.maxsize

_RESERVED_BITS = 0x70

# An extension is given and asked for so many bytes at a time, and may make so many of them in one
# call, for a peer's 1 KiB may inflate to 1 MiB. Its work counts even where nothing comes of it:
# a round for some bytes, and a byte taken for four, as blocks can be made that cost zlib 80 ns for
# each of theirs; a call of those takes 5 ms.
_PIECE = 65536
_ROOM = 4 * _PIECE
_ROUND = 256
_TAKEN = 4

# Looked up by opcode: calling the enumeration for each frame takes 340 ns, this 70.
_TYPES = {int(member): member for member in DataType if member is not DataType.NONE}
_CONTINUATION = DataType.CONTINUATION
_TEXT = DataType.TEXT
_BINARY = DataType.BINARY
_NONE = DataType.NONE


class _Violation(Exception):
    """The peer broke a rule; never leaves this file."""

    def __init__(self, code: Reasons, reason: str) -> None:
        self.code = code
        self.reason = reason


class Parser:
    """Turns what a peer sends after its handshake into events.

    `masked` says whether the peer has to mask: True where it is the client (RFC 6455 section
    5.1). `max_message_size` is in bytes, None for no bound; it may be changed at any time and
    counts from the next frame on. After a Close or a violation the parser is `over`: feed it no
    more.
    """

    __slots__ = (
        "_all_decoders",
        "_bits",
        "_bound",
        "_carry",
        "_charged",
        "_coded",
        "_decoded",
        "_decoders",
        "_final",
        "_first",
        "_key",
        "_left",
        "_limit",
        "_masked",
        "_pending",
        "_rest",
        "_room",
        "_size",
        "_type",
        "negotiated",
        "more",
        "over",
    )

    def __init__(self, masked: bool, max_message_size: int | None) -> None:
        self.more = False  # input was kept back: call feed(b"") again
        self.over = False  # the last event was a CloseReceived or a ConnectionFailed
        self.negotiated = NO_EXTENSIONS  # the extensions agreed on
        # Theirs with their bits, the last first, from the first message that wants one.
        self._all_decoders: tuple[tuple[int, Decoder], ...] = ()
        self._decoders: tuple[Decoder, ...] = ()  # those that the last such one went through
        self._bits = 0  # which it said
        self._coded = False  # the message under way went through those
        self._decoded = 0  # how long it is, decoded
        self._bound = 0  # and may be, up to the end of its current frame
        self._pending: Sequence[int] = ()  # the decoders that have more of it, before any new input
        self._room = _ROOM  # bytes that they may make in this call
        self._masked = masked
        self.max_message_size = max_message_size
        self._rest = b""  # input that is no whole frame header or control frame yet
        self._type = _NONE  # of the message under way
        self._first = False  # no piece of it was reported yet
        self._final = False  # its current frame is its last
        self._left = 0  # bytes of its current frame still to come
        self._key = b""  # for those
        self._carry = b""  # an incomplete code point at the end of what came
        self._size = 0  # its declared length so far
        self._charged = 0  # the same with small fragments rounded up

    @property
    def max_message_size(self) -> int | None:
        """The longest message in bytes that is let in; None for no bound."""
        return None if self._limit == _UNLIMITED else self._limit

    @max_message_size.setter
    def max_message_size(self, size: int | None) -> None:
        if size is not None and not (isinstance(size, int) and size >= 0):
            raise ValueError(f"max_message_size is in bytes, None for no bound, not {size!r}")
        # No message reaches that; more than it the compiled leaves do not take.
        self._limit = _UNLIMITED if size is None else min(size, _UNLIMITED)

    def hold(self, data: bytes) -> None:
        """Begin with `data`: the next call handles it, and `more` says so."""
        self._rest = data
        self.more = bool(data)

    def feed(self, data: bytes | memoryview) -> list[Event]:
        """Take some bytes, return what they mean: at most SLICE frames of them.

        Where `more` is set afterwards, call again with b"" before giving new bytes.
        """
        if self._rest:
            data = self._rest + data
            self._rest = b""
        self.more = False
        events: list[Event] = []
        position = 0
        self._room = _ROOM
        try:
            # Most input is whole messages; 0.20 us instead of 0.35 for one that needs no more.
            if self._type is _NONE:
                position = whole_messages(
                    data, 0, self._masked, self._limit, SLICE, events, self.negotiated.bits, self
                )
                if position == len(data) and not self._pending:
                    return events
            elif self._pending:
                self._decode(b"", events)
            if self._room > 0:
                position = self._run(data, position, SLICE - len(events), events)
        except _Violation as violation:
            self.over = True
            events.append(ConnectionFailed(violation.code, violation.reason))
        else:
            if position < len(data) and not self.over:
                self._rest = bytes(data[position:])
                self.more = self.more or self._room <= 0
            if self._pending:
                self.more = True
        return events

    def _run(
        self, data: bytes | memoryview, position: int, budget: int, events: list[Event]
    ) -> int:
        """Parse from `position` on, at most `budget` frames; return where the next call begins."""
        end = len(data)
        bits = self.negotiated.bits
        while position < end:
            if self._left:
                position = self._payload(data, position, end, events)
                if self._room <= 0:
                    break
                continue
            if budget <= 0:
                self.more = True
                break
            budget -= 1
            if end - position < 2:
                break
            after = self._frame(data, position, end, events)
            if after < 0:
                break
            position = after
            if self.over or self._room <= 0:
                break
            if self._type is _NONE:
                before = len(events)
                position = whole_messages(
                    data, position, self._masked, self._limit, budget, events, bits, self
                )
                if self._room <= 0:
                    break
                budget -= len(events) - before
        return position

    def _frame(self, data: bytes | memoryview, position: int, end: int, events: list[Event]) -> int:
        """Read a data frame's header or a whole control frame; -1 where it is not all here."""
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
                "a client must mask its frames" if self._masked else "a server must not mask",
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
                raise _Violation(Reasons.PROTOCOL_ERROR, "a length is not in its shortest form")
            if size >> 63:
                raise _Violation(Reasons.PROTOCOL_ERROR, "a length has its top bit set")
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
        """Refuse a data frame that is out of turn or too long, before any of it is kept."""
        if opcode is DataType.CONTINUATION:
            if self._type is _NONE:
                raise _Violation(Reasons.PROTOCOL_ERROR, "a continuation of no message")
        elif self._type is not _NONE:
            raise _Violation(Reasons.PROTOCOL_ERROR, "a new message inside a fragmented one")
        # What an extension makes of it counts as it is made (_decode); here only so that nobody
        # sends for ever what comes to nothing: incompressible data grows by less than an eighth.
        limit = self._limit
        if bits or self._coded:
            limit += (limit >> 3) + _FREE
        if self._size + size > limit or self._decoded > self._limit:
            raise _too_big(self._limit)
        if self._charged + max(size, _FRAGMENT_COST) > max(limit, _FREE):
            raise _Violation(Reasons.MESSAGE_TOO_BIG, "a message comes in too many small fragments")

    def _begin(self, opcode: DataType, final: bool, size: int, bits: int) -> None:
        """Enter a data frame's payload."""
        if opcode is not _CONTINUATION:
            self._type = opcode
            self._first = True
            if bits:
                self._coded = True
                if bits != self._bits:
                    self._choose(bits)
        self._bound = self._limit
        self._size += size
        self._charged += max(size, _FRAGMENT_COST)
        self._final = final
        self._left = size

    def _choose(self, bits: int) -> None:
        """Which decoders a message goes through, by the bits it says."""
        if not self._all_decoders:
            self._all_decoders = self.negotiated.decoders()
        self._bits = bits
        # The sender went through the extensions in their order, we go back.
        self._decoders = tuple([decoder for own, decoder in self._all_decoders if own & bits])

    def take(self, first: int, payload: bytes, events: list[Event]) -> bool:
        """A message that extensions made, in one frame; from `whole_messages`.

        `first` is the frame's first byte. Returns whether there is room for the next.
        """
        self._begin(_TYPES[first & 0x0F], True, 0, first & _RESERVED_BITS)
        self._decode(payload, events)
        return self._room > 0

    def _payload(
        self, data: bytes | memoryview, position: int, end: int, events: list[Event]
    ) -> int:
        """Hand on what is here of a data frame's payload."""
        stop = min(end, position + self._left)
        if self._coded:
            stop = min(stop, position + _PIECE)
        size = stop - position
        self._left -= size
        key = self._key
        if not key:
            payload = bytes(data[position:stop])
        else:
            payload = apply_mask(data, key, position, stop)
            turn = size & 3
            if turn:
                self._key = key[turn:] + key[:turn]
        if self._coded:
            self._decode(payload, events)
        else:
            self._piece(payload, self._final and not self._left, events)
        return stop

    def _decode(self, payload: bytes, events: list[Event]) -> None:
        """Some payload that extensions made, or b"" for what is left of the last."""
        ended = self._final and not self._left
        decoders = self._decoders
        pending = self._pending
        while True:
            # Whoever stands nearest to us and has more gives it before anything is put in again.
            start = pending[-1] if pending else 0
            waits = len(pending) > 1
            last = ended and not waits
            # Never 0, which to zlib is no limit; one more than may be, to see what is too much.
            most = min(_PIECE, self._bound - self._decoded + 1)
            cost = max(_TAKEN * len(payload), _ROUND)
            try:
                for decoder in decoders[start:] if start else decoders:
                    payload = decoder.decode(payload, last, most)
                    if decoder.pending:
                        waits = True
                        last = False
            except CorruptMessage as error:
                raise _corrupt(error) from None
            size = len(payload)
            self._room -= max(cost, size)
            self._decoded += size
            if self._decoded > self._bound:
                raise _too_big(self._bound)
            self._piece(payload, last, events)
            if not waits:
                pending = ()
                break
            pending = [index for index, decoder in enumerate(decoders) if decoder.pending]
            if self._room <= 0:
                break
            payload = b""
        self._pending = pending

    def _piece(self, payload: bytes, last: bool, events: list[Event]) -> None:
        """Report some payload, unless there is nothing in it to report."""
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
            self._coded = False

    def _bad_text(self, error: UnicodeDecodeError, events: list[Event]) -> _Violation:
        """Text went wrong: report what was right, as if the input had been cut there."""
        valid: bytes = error.object[: error.start]
        if valid:
            events.append(MessagePiece(_TEXT, valid, valid.decode(), self._first, False))
        return _Violation(Reasons.INCONSISTENT_DATA, "a text message is not valid UTF-8")

    def _control(self, opcode: DataType, payload: bytes, events: list[Event]) -> None:
        """A whole control frame."""
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
    """What a Close frame says (RFC 6455 sections 5.5.1 and 7.4)."""
    if not payload:
        return CloseReceived(Reasons.NO_STATUS, "")
    if len(payload) == 1:
        raise _Violation(Reasons.PROTOCOL_ERROR, "a Close of one byte")
    code = int.from_bytes(payload[:2])
    if not may_receive(code):
        raise _Violation(Reasons.PROTOCOL_ERROR, f"a Close with code {code}")
    try:
        reason = payload[2:].decode()
    except UnicodeDecodeError:
        raise _Violation(Reasons.INCONSISTENT_DATA, "a close reason is not valid UTF-8") from None
    return CloseReceived(reason_for(code), reason)
