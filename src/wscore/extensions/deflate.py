"""permessage-deflate: compressed messages (RFC 7692)."""

import zlib
from dataclasses import dataclass, field, fields
from importlib import import_module
from types import ModuleType
from typing import Any

from .base import CorruptMessage, NegotiationError, Parameters
from .engine import Compressor, Decompressor, Engine

RSV1 = 0x40

# The end of a sync flush's empty block, which is not sent (RFC 7692 section 7.2.1).
_TAIL = b"\x00\x00\xff\xff"
_BEFORE_TAIL = -len(_TAIL)
# What may follow a final block: a sync flush's empty block, or what some peers leave of it.
_ENDS = (b"\x00" + _TAIL, _TAIL)
_FINAL_BLOCK = b"\x03\x00"  # an empty one

_CUT_SHORT = "a compressed message is cut short"

_WINDOW_BITS = {str(bits): bits for bits in range(8, 16)}

# zlib decompresses with 8 window bits but cannot compress with them. If a peer asks us for 8, we
# agree and send our messages uncompressed, which RFC 7692 section 6 allows.
_TOO_SMALL_TO_DEFLATE = 8


@dataclass(frozen=True, slots=True)
class Deflate:
    """The settings of permessage-deflate, an `Extension` (RFC 7692 section 7).

    `level` (0 to 9) and `memory_level` (1 to 9) are zlib's. `window_bits` (8 to 15) limits the
    window of what we send; with 8, which zlib does not support, nothing is sent compressed.
    `peer_window_bits` is requested from the peer, which may ignore it. Compressing takes
    4 * 2**window_bits + 512 * 2**memory_level bytes and 6 KiB, decompressing 2**peer_window_bits
    and 7 KiB. Messages of less than `threshold` bytes are sent uncompressed. `takeover` and
    `peer_takeover` say whether our and the peer's messages use context takeover; without it they
    compress less, but take no memory between messages. `engine` is the module that compresses:
    zlib, or one with the same functions, whose use of memory may differ. Raises ValueError for a
    setting out of range, TypeError for an engine that lacks something.
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
                raise ValueError(f"{name} of the compression must be {span}, not {number!r}")
        if self.engine is not zlib:
            self._try_engine()

    def __reduce__(self) -> tuple[Any, ...]:
        settings = {one.name: getattr(self, one.name) for one in fields(self) if one.init}
        if isinstance(self.engine, ModuleType):  # which pickle does not take
            settings["engine"] = self.engine.__name__
        return _restored, (type(self), settings)

    def _try_engine(self) -> None:
        """Find out now what the engine lacks, and not during a connection."""
        engine = self.engine
        try:
            engine.compressobj(self.level, zlib.DEFLATED, -15, self.memory_level)
            engine.decompressobj(-15).copy()
            hash(engine)
            if not issubclass(engine.error, Exception):
                raise TypeError("its error is not an Exception")
        except (AttributeError, TypeError) as error:
            raise TypeError(f"engine must be zlib or a module like it, not {engine!r}") from error

    def offer(self) -> list[Parameters]:
        """The client's offers: see `Extension`."""
        # Without a value, client_max_window_bits only tells the server that it may use it.
        bits = None if self.window_bits == 15 else str(self.window_bits)
        offer: list[tuple[str, str | None]] = [("client_max_window_bits", bits)]
        if not self.takeover:
            offer.append(("client_no_context_takeover", None))
        if not self.peer_takeover:
            offer.append(("server_no_context_takeover", None))
        if self.peer_window_bits == 15:
            return [offer]
        # The second offer is for servers that cannot limit their window (RFC 7692 section 7.1.3).
        return [[*offer, ("server_max_window_bits", str(self.peer_window_bits))], offer]

    def answer(self, offer: Parameters) -> tuple[Parameters, "NegotiatedDeflate"] | None:
        """The server's response to an offer: see `Extension` (RFC 7692 section 7.1)."""
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
        """The client's extension for the server's response: see `Extension` (RFC 7692 section 7.1).

        Raises NegotiationError for an invalid response.
        """
        given = _checked(answer, may_lack_value=False)
        if given is None:
            raise NegotiationError("the server chose permessage-deflate with invalid parameters")
        # It may be larger than requested: our second offer allows that.
        peer_bits = given.get("server_max_window_bits") or 15
        # The server may ignore our hint (RFC 7692 section 7.1.2.2); we still respect it.
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
            negotiated = self._shared.setdefault(key, NegotiatedDeflate(self, *key))
        return negotiated


def _restored(kind: type[Deflate], settings: dict[str, Any]) -> Deflate:
    """A Deflate from a pickle; its engine may be a module's name."""
    if isinstance(settings["engine"], str):
        settings = {**settings, "engine": import_module(settings["engine"])}
    return kind(**settings)


def _checked(parameters: Parameters, may_lack_value: bool) -> dict[str, int | None] | None:
    """The parameters by name, window bits as numbers; None if one is unknown, repeated or invalid.

    See RFC 7692 section 7.1.
    """
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
    """permessage-deflate as negotiated with a peer: see `NegotiatedExtension`.

    `settings` are our own; `window_bits` and `takeover` apply to what we send, `peer_window_bits`
    and `peer_takeover` to what the peer sends.
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
        self.engine: Engine = settings.engine
        self.threshold: int = settings.threshold
        self.takeover: bool = takeover
        self.peer_window_bits: int = peer_window_bits
        self.peer_takeover: bool = peer_takeover
        self._settings = settings
        self._window_bits = window_bits
        self.compresses: bool = window_bits > _TOO_SMALL_TO_DEFLATE
        how = settings.engine, settings.level, settings.memory_level
        self.cache_key: tuple[Engine, int, int, int, int] = *how, window_bits, settings.threshold

    def encoder(self) -> "Deflater":
        """See `NegotiatedExtension`."""
        return Deflater(self)

    def decoder(self) -> "Inflater":
        """See `NegotiatedExtension`."""
        return Inflater(self)

    def encode_stateless(self, data: bytes, compress: bool | None) -> tuple[int, bytes]:
        """Compress a message for many connections: see `NegotiatedExtension`."""
        return Deflater(self).encode(data, True, True, compress)

    def compressor(self) -> Compressor:
        """A new compressor with the negotiated window."""
        settings = self._settings
        return self.engine.compressobj(
            settings.level, zlib.DEFLATED, -self._window_bits, settings.memory_level
        )


class Deflater:
    """Compresses what one connection sends: see `Encoder`.

    It creates its compressor for the first message that is compressed.
    """

    __slots__ = ("_negotiated", "_compressor", "_encoding")

    def __init__(self, negotiated: NegotiatedDeflate) -> None:
        self._negotiated = negotiated
        self._compressor: Compressor | None = None
        self._encoding = False  # whether the current message is compressed

    def encode(
        self, data: bytes, first: bool, last: bool, compress: bool | None
    ) -> tuple[int, bytes]:
        """Compress a fragment: see `Encoder`."""
        negotiated = self._negotiated
        if first:
            if compress is None:
                # The length of a fragmented message is unknown: it is compressed.
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
        """Start with an empty window: see `Encoder`."""
        self._compressor = None


class Inflater:
    """Decompresses what one connection receives: see `Decoder`.

    It creates its decompressor for the first compressed message.
    """

    __slots__ = ("_ended", "_negotiated", "_decompressor", "_kept", "pending")

    def __init__(self, negotiated: NegotiatedDeflate) -> None:
        self.pending: bool = False
        self._negotiated = negotiated
        self._decompressor: Decompressor | None = None
        self._kept = b""  # input that was not consumed
        self._ended = False  # the input of the current message ends with a final block so far

    def decode(self, data: bytes, last: bool, most: int) -> bytes:
        """Decompress a part of a message: see `Decoder`."""
        if self.pending:
            data, self._kept = self._kept, b""
            self.pending = False
        else:
            if last:
                data += _TAIL
            if self._ended:
                # What follows a final block may be nothing, in fragments as within one.
                self._ended = not (last or data)
                if not data or (last and data in _ENDS):
                    return b""
        negotiated = self._negotiated
        decompressor = self._decompressor
        if decompressor is None:
            decompressor = negotiated.engine.decompressobj(-negotiated.peer_window_bits)
            self._decompressor = decompressor
        try:
            out = decompressor.decompress(data, most)
            if decompressor.eof:
                # The peer set BFINAL: a new stream may follow (RFC 7692 section 7.2.3.4).
                self._decompressor = None
                self._kept = decompressor.unused_data
                if last and not self._kept.endswith(_TAIL):
                    raise CorruptMessage(_CUT_SHORT)
                self.pending = bool(self._kept) and not (last and self._kept in _ENDS)
                self._ended = not last and not self._kept
            elif len(out) == most:
                # There may be more output even if all input was consumed. Input can be left over
                # only here, because only here the limit was reached.
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
    """Whether the message that `probe` has decompressed is complete.

    zlib does not report that a message is cut short. With the copy, finding out takes 1 us;
    decompressing 1 KiB takes 4.
    """
    try:
        return not probe.decompress(_FINAL_BLOCK, 1) and probe.eof
    except engine.error:
        return False
