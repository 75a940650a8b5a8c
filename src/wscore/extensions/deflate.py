"""permessage-deflate: compressed messages (RFC 7692)."""

import zlib
from dataclasses import dataclass, field

from .base import CorruptMessage, NegotiationError, Parameters
from .engine import Compressor, Decompressor, Engine

RSV1 = 0x40

# How the empty block of a sync flush ends; left off the wire where a message does (RFC 7692
# section 7.2.1).
_TAIL = b"\x00\x00\xff\xff"
_BEFORE_TAIL = -len(_TAIL)
# What may be left behind a final block: that block, or what some peers leave of it.
_ENDS = (b"\x00" + _TAIL, _TAIL)
_FINAL_BLOCK = b"\x03\x00"  # an empty one

_CUT_SHORT = "a compressed message is cut short"

_WINDOW_BITS = {str(bits): bits for bits in range(8, 16)}

# zlib inflates with 8 window bits but does not deflate with them: where a peer asks us for 8 we
# agree, and send uncompressed what zlib cannot compress. RFC 7692 section 6 allows that.
_TOO_SMALL_TO_DEFLATE = 8


@dataclass(frozen=True, slots=True)
class Deflate:
    """How we are ready to compress: the `Extension` permessage-deflate (RFC 7692 section 7).

    `level` (0 to 9) and `memory_level` (1 to 9) are zlib's. `window_bits` (8 to 15) bounds our
    window; with 8, which zlib cannot do, we send nothing compressed. `peer_window_bits` is asked
    of the peer, which need not be able to. Ours takes 4 * 2**window_bits + 512 * 2**memory_level
    bytes and 6 KiB, the peer's 2**bits and 7 KiB. Messages of less than `threshold` bytes go
    uncompressed. With `takeover` False each message of ours is compressed on its own, with
    `peer_takeover` False each of the peer's: worse compression, no memory between messages.
    `engine` is the module that does the work: zlib, or one with its functions, which takes memory
    of its own liking. Raises ValueError for what the engine cannot do, TypeError for what is none.
    """

    level: int = 6
    memory_level: int = 5
    window_bits: int = 12
    peer_window_bits: int = 12
    threshold: int = 1024
    takeover: bool = True
    peer_takeover: bool = True
    engine: Engine = zlib
    _shared: dict[tuple[int, bool, int, bool], "NegotiatedDeflate"] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    name = "permessage-deflate"

    def __post_init__(self) -> None:
        for name, least, most in (
            ("level", 0, 9),
            ("memory_level", 1, 9),
            ("window_bits", 8, 15),
            ("peer_window_bits", 8, 15),
            ("threshold", 0, None),
        ):
            number = getattr(self, name)
            if not isinstance(number, int) or number < least or (most and number > most):
                span = f"{least} to {most}" if most else f"at least {least}"
                raise ValueError(f"{name} of the compression is {span}, not {number!r}")
        if self.engine is not zlib:
            self._try_engine()

    def _try_engine(self) -> None:
        """What it lacks shows now, not amid a connection."""
        engine = self.engine
        try:
            engine.compressobj(self.level, zlib.DEFLATED, -15, self.memory_level)
            engine.decompressobj(-15).copy()
            hash(engine)
            if not issubclass(engine.error, Exception):
                raise TypeError("its error is no Exception")
        except (AttributeError, TypeError) as error:
            raise TypeError(f"engine is zlib or a module like it, not {engine!r}") from error

    def offer(self) -> list[Parameters]:
        """What a client offers: see `Extension`."""
        # client_max_window_bits without a value only says that the server may use it.
        bits = None if self.window_bits == 15 else str(self.window_bits)
        offer: list[tuple[str, str | None]] = [("client_max_window_bits", bits)]
        if not self.takeover:
            offer.append(("client_no_context_takeover", None))
        if not self.peer_takeover:
            offer.append(("server_no_context_takeover", None))
        if self.peer_window_bits == 15:
            return [offer]
        # For servers that cannot choose their window (RFC 7692 section 7.1.3).
        return [[*offer, ("server_max_window_bits", str(self.peer_window_bits))], offer]

    def answer(self, offer: Parameters) -> tuple[Parameters, "NegotiatedDeflate"] | None:
        """A server's answer to one offer: see `Extension` (RFC 7692 section 7.1)."""
        asked = _checked(offer, may_lack_value=True)
        if asked is None:
            return None
        answer: list[tuple[str, str | None]] = []
        takeover = self.takeover and "server_no_context_takeover" not in asked
        if not takeover:
            answer.append(("server_no_context_takeover", None))
        peer_takeover = self.peer_takeover and "client_no_context_takeover" not in asked
        if not peer_takeover:
            answer.append(("client_no_context_takeover", None))
        bits = min(self.window_bits, asked.get("server_max_window_bits") or 15)
        if bits < 15 or "server_max_window_bits" in asked:
            answer.append(("server_max_window_bits", str(bits)))
        peer_bits = 15
        if "client_max_window_bits" in asked:
            peer_bits = min(self.peer_window_bits, asked["client_max_window_bits"] or 15)
            if peer_bits < 15:
                answer.append(("client_max_window_bits", str(peer_bits)))
        return answer, self._negotiate(bits, takeover, peer_bits, peer_takeover)

    def agree(self, answer: Parameters) -> "NegotiatedDeflate":
        """What a client agrees to: see `Extension` (RFC 7692 section 7.1).

        Raises NegotiationError for what cannot be accepted.
        """
        given = _checked(answer, may_lack_value=False)
        if given is None:
            raise NegotiationError("the server chose permessage-deflate with bad parameters")
        # It may be larger than asked for: our second offer leaves that open.
        peer_bits = given.get("server_max_window_bits") or 15
        # A server may ignore our hint (RFC 7692 section 7.1.2.2), we keep to it.
        bits = min(self.window_bits, given.get("client_max_window_bits") or 15)
        peer_takeover = "server_no_context_takeover" not in given
        if peer_takeover and not self.peer_takeover:
            raise NegotiationError("the server did not agree to server_no_context_takeover")
        takeover = self.takeover and "client_no_context_takeover" not in given
        return self._negotiate(bits, takeover, peer_bits, peer_takeover)

    def _negotiate(
        self, bits: int, takeover: bool, peer_bits: int, peer_takeover: bool
    ) -> "NegotiatedDeflate":
        key = bits, takeover, peer_bits, peer_takeover
        negotiated = self._shared.get(key)
        if negotiated is None:
            negotiated = self._shared[key] = NegotiatedDeflate(self, *key)
        return negotiated


def _checked(parameters: Parameters, may_lack_value: bool) -> dict[str, int | None] | None:
    """The parameters by name, window bits as numbers; None where any is unknown, repeated or
    has a value it may not have (RFC 7692 section 7.1)."""
    checked: dict[str, int | None] = {}
    for name, value in parameters:
        if name in checked:
            return None
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if value is not None:
                return None
            checked[name] = None
        elif name in ("server_max_window_bits", "client_max_window_bits"):
            if value is None:
                if not (may_lack_value and name == "client_max_window_bits"):
                    return None
                checked[name] = None
            elif value in _WINDOW_BITS:
                checked[name] = _WINDOW_BITS[value]
            else:
                return None
        else:
            return None
    return checked


class NegotiatedDeflate:
    """permessage-deflate as agreed on with a peer: see `NegotiatedExtension`.

    `settings` are ours; `window_bits` and `takeover` hold for what we send, `peer_window_bits` and
    `peer_takeover` for what the peer does.
    """

    __slots__ = (
        "_settings",
        "_window_bits",
        "cache_key",
        "compresses",
        "engine",
        "peer_takeover",
        "peer_window_bits",
        "takeover",
        "threshold",
    )

    bits = RSV1

    def __init__(
        self,
        settings: Deflate,
        window_bits: int,
        takeover: bool,
        peer_window_bits: int,
        peer_takeover: bool,
    ) -> None:
        self.engine = settings.engine
        self.threshold = settings.threshold
        self.takeover = takeover
        self.peer_window_bits = peer_window_bits
        self.peer_takeover = peer_takeover
        self._settings = settings
        self._window_bits = window_bits
        self.compresses = window_bits > _TOO_SMALL_TO_DEFLATE
        how = settings.engine, settings.level, settings.memory_level
        self.cache_key = *how, window_bits, settings.threshold

    def encoder(self) -> "Deflater":
        """See `NegotiatedExtension`."""
        return Deflater(self)

    def decoder(self) -> "Inflater":
        """See `NegotiatedExtension`."""
        return Inflater(self)

    def encode_stateless(self, data: bytes, compress: bool | None) -> tuple[int, bytes]:
        """Compress a message for many: see `NegotiatedExtension`."""
        return Deflater(self).encode(data, True, True, compress)

    def compressor(self) -> Compressor:
        """A new one."""
        settings = self._settings
        return self.engine.compressobj(
            settings.level, zlib.DEFLATED, -self._window_bits, settings.memory_level
        )


class Deflater:
    """Messages on their way out: see `Encoder`.

    Nothing of the engine's is allocated before the first that is compressed.
    """

    __slots__ = ("_negotiated", "_compressor", "_encoding")

    def __init__(self, negotiated: NegotiatedDeflate) -> None:
        self._negotiated = negotiated
        self._compressor: Compressor | None = None
        self._encoding = False  # the message we send is compressed

    def encode(
        self, data: bytes, first: bool, last: bool, compress: bool | None
    ) -> tuple[int, bytes]:
        """Compress a fragment we send: see `Encoder`."""
        negotiated = self._negotiated
        if first:
            if compress is None:
                # How long a message in fragments will be, nobody knows: those are compressed.
                compress = not last or len(data) >= negotiated.threshold
            self._encoding = compress and negotiated.compresses
        if not self._encoding:
            return 0, data
        compressor = self._compressor
        if compressor is None:
            compressor = self._compressor = negotiated.compressor()
        data = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        if last:
            data = data[:_BEFORE_TAIL]
            if not negotiated.takeover:
                self._compressor = None
        return (RSV1 if first else 0), data

    def sent_stateless(self) -> None:
        """The peer's window has moved on without our compressor: see `Encoder`."""
        self._compressor = None


class Inflater:
    """Messages on their way in: see `Decoder`.

    Nothing of the engine's is allocated before the first.
    """

    __slots__ = ("_negotiated", "_decompressor", "_kept", "pending")

    def __init__(self, negotiated: NegotiatedDeflate) -> None:
        self.pending = False
        self._negotiated = negotiated
        self._decompressor: Decompressor | None = None
        self._kept = b""  # input that it has not taken

    def decode(self, data: bytes, last: bool, most: int) -> bytes:
        """Inflate some payload of a message: see `Decoder`."""
        if self.pending:
            data, self._kept = self._kept, b""
            self.pending = False
        elif last:
            data += _TAIL
        negotiated = self._negotiated
        decompressor = self._decompressor
        if decompressor is None:
            decompressor = negotiated.engine.decompressobj(-negotiated.peer_window_bits)
            self._decompressor = decompressor
        try:
            out = decompressor.decompress(data, most)
            if decompressor.eof:
                # The peer set BFINAL: what follows is a new stream (RFC 7692 section 7.2.3.4).
                self._decompressor = None
                self._kept = decompressor.unused_data
                if last and not self._kept.endswith(_TAIL):
                    raise CorruptMessage(_CUT_SHORT)
                self.pending = bool(self._kept) and not (last and self._kept in _ENDS)
            elif len(out) == most:
                # Input all taken says nothing about output: a full piece may have more behind it.
                # Input is left behind such only.
                self._kept = decompressor.unconsumed_tail
                self.pending = True
            elif last:
                probe = decompressor
                if negotiated.peer_takeover:
                    probe = decompressor.copy()
                else:
                    self._decompressor = None
                if not _ends_with_a_block(probe, negotiated.engine):
                    raise CorruptMessage(_CUT_SHORT)
        except negotiated.engine.error as error:
            raise CorruptMessage(f"a compressed message is corrupt ({error})") from None
        return out


def _ends_with_a_block(probe: Decompressor, engine: Engine) -> bool:
    """Whether the message does that `probe` inflated: zlib waits for what is cut off of it.

    With its copy it takes 1 us, where inflating 1 KiB takes 4.
    """
    try:
        return not probe.decompress(_FINAL_BLOCK, 1) and probe.eof
    except engine.error:
        return False
