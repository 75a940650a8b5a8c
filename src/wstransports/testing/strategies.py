"""hypothesis strategies: frames, valid and broken, and ways to cut input; they need hypothesis."""

from itertools import pairwise

from hypothesis import strategies as st

from wscore import DataType, Reasons, build_frame
from wscore.frames import close_payload

_DATA = (DataType.TEXT, DataType.BINARY)
# Where the length field changes its size (RFC 6455 section 5.2), and 0.
_SIZES = (0, 1, 125, 126, 127, 65535, 65536)

_keys = st.binary(min_size=4, max_size=4)
_pings = st.tuples(st.sampled_from([DataType.PING, DataType.PONG]), st.binary(max_size=125))


def payloads(max_size: int = 65536) -> st.SearchStrategy[bytes]:
    """Payloads of at most `max_size` bytes, often of a size at which the length field changes."""
    sizes = st.sampled_from([size for size in _SIZES if size <= max_size])
    repeated = st.builds(lambda byte, size: byte * size, st.binary(min_size=1, max_size=1), sizes)
    return st.one_of(st.binary(max_size=min(max_size, 64)), repeated)


def texts(max_size: int = 65536) -> st.SearchStrategy[str]:
    """Texts whose UTF-8 has at most `max_size` bytes."""
    characters = st.characters(exclude_categories=["Cs"])  # surrogates cannot be encoded
    return st.text(characters, max_size=min(max_size, 256) // 4)


@st.composite
def conversations(
    draw: st.DrawFn, *, masked: bool, max_messages: int = 5, close: bool | None = None
) -> tuple[list[bytes], list[str | bytes]]:
    """What one side sends after the handshake: its frames, and the messages in them.

    Messages are text or binary, whole or in fragments, with pings and pongs between them (RFC 6455
    section 5.4). `masked` is True for a client. `close` says whether a Close ends it; None for
    either.
    """
    frames: list[bytes] = []
    messages = draw(st.lists(st.one_of(texts(), payloads()), max_size=max_messages))

    def put(opcode: int, payload: bytes, fin: bool = True) -> None:
        frames.append(build_frame(opcode, payload, fin=fin, mask=draw(_keys) if masked else None))

    def interrupt() -> None:
        for opcode, payload in draw(st.lists(_pings, max_size=1)):
            put(opcode, payload)

    for message in messages:
        data = message.encode() if isinstance(message, str) else message
        opcode = DataType.TEXT if isinstance(message, str) else DataType.BINARY
        parts = draw(cuts(data, max_cuts=3))
        for index, part in enumerate(parts):
            put(opcode, part, fin=index == len(parts) - 1)
            opcode = DataType.CONTINUATION
            interrupt()
    if draw(st.booleans()) if close is None else close:
        codes = st.sampled_from([None, *(code for code in Reasons if code.may_send), 3000, 4999])
        put(DataType.CLOSE, close_payload(draw(codes), draw(texts(100))))
    return frames, messages


@st.composite
def broken_frames(draw: st.DrawFn, *, masked: bool) -> bytes:
    """A frame that no peer may send: it breaks one rule (RFC 6455 sections 5.1, 5.2, 5.5, 7.4).

    `masked` is True if it comes from a client. It is wrong whatever came before it, if no extension
    was negotiated.
    """
    key = draw(_keys) if masked else None
    payload = draw(st.binary(max_size=20))
    opcode = draw(st.sampled_from([*_DATA, DataType.PING]))
    long = draw(st.integers(126, 300))
    bad_codes = st.sampled_from([0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
    bit = draw(st.sampled_from([{"rsv1": True}, {"rsv2": True}, {"rsv3": True}]))
    control = draw(st.sampled_from([DataType.CLOSE, DataType.PING, DataType.PONG]))
    wrong = [
        build_frame(draw(st.sampled_from([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])), payload, mask=key),
        build_frame(opcode, payload, mask=key, **bit),
        build_frame(opcode, payload, mask=None if masked else draw(_keys)),
        build_frame(opcode, payload, mask=key, length_bits=draw(st.sampled_from([16, 64]))),
        build_frame(DataType.BINARY, payload, mask=key, length=1 << 63),
        build_frame(control, payload, mask=key, fin=False),
        build_frame(control, bytes(long), mask=key),
        build_frame(DataType.CLOSE, b"\x03", mask=key),
        build_frame(DataType.CLOSE, draw(bad_codes).to_bytes(2), mask=key),
        build_frame(DataType.CLOSE, b"\x03\xe8\xff", mask=key),
    ]
    return draw(st.sampled_from(wrong))


@st.composite
def cuts(draw: st.DrawFn, data: bytes, *, max_cuts: int = 20) -> list[bytes]:
    """Ways to cut `data` into parts, as a network might; some parts may be empty.

    The parts joined are `data`. There are at most `max_cuts` + 1 of them.
    """
    places = draw(st.lists(st.integers(0, len(data)), max_size=max_cuts))
    return [data[start:stop] for start, stop in pairwise([0, *sorted(places), len(data)])]
