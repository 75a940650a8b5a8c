"""What a peer's frames say (RFC 6455 section 5, RFC 7692), read slowly and all at once.

The fuzzer holds the core against this file, so it must be as simple as the RFCs. It does not use
the library.
"""

import codecs
import zlib
from typing import Any, NamedTuple

from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, TEXT, xor

# What a deflated message ends with, and its sender leaves out (RFC 7692 section 7.2.1).
TAIL = b"\x00\x00\xff\xff"

# The library's own rule: a fragment counts as at least so many bytes, and so many of these come on
# top of the limit.
FRAGMENT_COST = 64
FREE = 256 * FRAGMENT_COST

PROTOCOL_ERROR, INCONSISTENT_DATA, TOO_BIG = 1002, 1007, 1009

# The codes that a Close may carry (section 7.4, and IANA's registry).
CLOSE_CODES = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}


class Rules(NamedTuple):
    """What the frames are read by."""

    masked: bool
    """Whether the peer must mask them: a client must."""
    limit: int | None
    """The longest message, in bytes."""
    deflate: bool
    """Whether permessage-deflate is in use."""
    takeover: bool
    """Whether its context is kept between messages."""


class Message(NamedTuple):
    """A message, or what has come of it."""

    opcode: int
    data: bytes
    complete: bool


class Control(NamedTuple):
    """A control frame, and how many messages were complete before it."""

    opcode: int
    payload: bytes
    messages_before: int


class Reading:
    """What was read. `failed` has the codes, one of which the violation must be reported with."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.controls: list[Control] = []
        self.failed: set[int] = set()
        self.inexact = False
        """Whether the last message is an unfinished compressed one: some of it may not be read."""

    def control(self, opcode: int, payload: bytes, messages_before: int) -> None:
        """Note a control frame."""
        self.controls.append(Control(opcode, payload, messages_before))

    @property
    def closed(self) -> bool:
        """Whether a Close came."""
        return bool(self.controls) and self.controls[-1].opcode == CLOSE


class Corrupt(Exception):
    """A compressed message is not what RFC 7692 describes."""


def inflate(stream: Any, payload: bytes, final: bool) -> tuple[bytes, Any]:
    """Decompress a message from its beginning; returns what it says, and the stream after it."""
    stream = stream.copy()
    data = payload + TAIL if final else payload
    out = b""
    try:
        while True:
            out += stream.decompress(data)
            if not stream.eof:
                break
            data = stream.unused_data  # after a final block a new stream begins (7.2.3.4)
            stream = zlib.decompressobj(-15)
            if final and data in (TAIL, b"\0" + TAIL):
                return out, stream
            if final and not data.endswith(TAIL):
                raise Corrupt
            if not data:
                break
        if final:
            end = stream.copy()
            if end.decompress(b"\x03\x00") or not end.eof:
                raise Corrupt
    except zlib.error:
        raise Corrupt from None
    return out, stream


def valid_text(data: bytes) -> tuple[bytes, bool]:
    """The valid text that `data` begins with, and whether it can go on so."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    text = ""
    for index in range(len(data)):
        try:
            text += decoder.decode(data[index : index + 1])
        except UnicodeDecodeError:
            return text.encode(), False
    held, _ = decoder.getstate()
    surrogate = b"\xed\xa0" <= held[:2] < b"\xee"  # CPython waits for its third byte
    return text.encode(), not surrogate


class Reader:
    """Reads one frame after another."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.result = Reading()
        self.stream: Any = zlib.decompressobj(-15)  # before the current message
        self.opcode = 0  # of the current message; 0 between two
        self.compressed = False
        self.payload = b""  # of the current message, as its frames have it
        self.declared = 0
        self.charged = 0  # the same, small fragments counted for more

    def read(self, data: bytes) -> Reading:
        """Read everything."""
        result = self.result
        while len(data) >= 2 and not (result.failed or result.closed):
            size = self.frame(data)
            if not size:
                break
            data = data[size:]
        return result

    def frame(self, data: bytes) -> int:
        """Read a frame; returns its size, 0 if it is incomplete or wrong (section 5.2)."""
        first, size, start = data[0], data[1] & 0x7F, 2
        opcode, reserved = first & 0x0F, first & 0x70
        control = opcode >= CLOSE
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            return self.fail(PROTOCOL_ERROR)
        if reserved and not (reserved == RSV1 and self.rules.deflate and opcode in (TEXT, BINARY)):
            return self.fail(PROTOCOL_ERROR)
        if bool(data[1] & 0x80) != self.rules.masked:
            return self.fail(PROTOCOL_ERROR)
        if control and (size > 125 or not first & FIN):
            return self.fail(PROTOCOL_ERROR)
        if size > 125:
            start = 4 if size == 126 else 10
            if len(data) < start:
                return 0
            least = 126 if size == 126 else 65536
            size = int.from_bytes(data[2:start])
            if size < least or size >= 2**63:
                return self.fail(PROTOCOL_ERROR)
        if not control and not self.begin(opcode, reserved, size):
            return 0
        key = b""
        if self.rules.masked:
            key = data[start : start + 4]
            start += 4
        payload = data[start : start + size]
        complete = len(data) >= start + size
        if payload and key:
            payload = xor(payload, key)
        if not control:
            last = bool(first & FIN) and complete
            return start + size if self.data(payload, last) and complete else 0
        if not complete:
            return 0
        return start + size if self.control(opcode, payload) else 0

    def begin(self, opcode: int, reserved: int, size: int) -> bool:
        """Judge a data frame's header (section 5.4)."""
        if (opcode == CONTINUATION) != bool(self.opcode):
            return bool(self.fail(PROTOCOL_ERROR))
        if opcode != CONTINUATION:
            self.opcode, self.compressed = opcode, bool(reserved)
            self.payload, self.declared, self.charged = b"", 0, 0
        self.declared += size
        self.charged += max(size, FRAGMENT_COST)
        limit = self.rules.limit
        if limit is None:
            return True
        if self.compressed:
            limit += limit // 8 + FREE
        return bool((self.declared <= limit and self.charged <= limit + FREE) or self.fail(TOO_BIG))

    def data(self, payload: bytes, last: bool) -> bool:
        """Read what there is of a data frame's payload; returns whether all is well."""
        self.payload += payload
        limit = self.rules.limit
        data, after = self.payload, self.stream
        self.result.messages = [one for one in self.result.messages if one.complete]
        if self.compressed:
            try:
                data, after = inflate(self.stream, self.payload, last)
            except Corrupt:
                # What came before the error may be too long, or invalid text.
                return bool(self.fail(INCONSISTENT_DATA, TOO_BIG))
            if limit is not None and len(data) > limit:
                return bool(self.fail(INCONSISTENT_DATA, TOO_BIG))
        codes = [] if limit is None or len(data) <= limit else [TOO_BIG]
        if self.opcode == TEXT:
            text, valid = valid_text(data)
            valid = valid and (text == data or not last)
            codes += [] if valid else [INCONSISTENT_DATA]
            data = text
        if codes:
            self.fail(*codes, data=data)
            return False
        if data or last:
            self.result.messages.append(Message(self.opcode, data, last))
        self.result.inexact = self.compressed and not last
        if last:
            self.opcode = 0
            self.stream = after if self.rules.takeover else zlib.decompressobj(-15)
        return True

    def control(self, opcode: int, payload: bytes) -> bool:
        """Read a control frame; returns whether all is well (sections 5.5, 7.4)."""
        if opcode == CLOSE and payload:
            if len(payload) == 1 or int.from_bytes(payload[:2]) not in CLOSE_CODES:
                return bool(self.fail(PROTOCOL_ERROR))
            if valid_text(payload[2:]) != (payload[2:], True):
                return bool(self.fail(INCONSISTENT_DATA))
        before = sum(message.complete for message in self.result.messages)
        self.result.control(opcode, payload, before)
        return True

    def fail(self, *codes: int, data: bytes = b"") -> int:
        """Note a violation, and the `data` of the current message before it; returns 0."""
        self.result.failed = set(codes)
        if data:
            self.result.messages.append(Message(self.opcode, data, False))
            self.result.inexact = self.compressed
        elif self.compressed and self.opcode:
            self.result.inexact = True
        return 0


def read(data: bytes, rules: Rules) -> Reading:
    """Read the frames that a peer sends after the opening handshake."""
    return Reader(rules).read(data)
