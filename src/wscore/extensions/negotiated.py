"""All extensions that a connection goes through."""

import sys
from collections.abc import Sequence
from functools import lru_cache

from .base import Decoder, Encoder, NegotiatedExtension


class NegotiatedExtensions:
    """The extensions agreed on with a peer, in their order.

    Get it from `agreed_on`, so that connections that agreed on the same share it.
    """

    __slots__ = ("_all", "cache_key", "bits", "threshold")

    def __init__(self, *negotiated: NegotiatedExtension) -> None:
        self._all = negotiated
        self.cache_key = tuple([(one.__class__, one.cache_key) for one in negotiated])
        """Equal where `encode_stateless` gives the same."""
        self.bits = 0
        """The reserved bits of all."""
        self.threshold = sys.maxsize
        """Messages of fewer bytes none of them wants to see."""
        for one in negotiated:
            self.bits |= one.bits
            self.threshold = min(self.threshold, one.threshold)

    def encode_stateless(self, data: bytes, compress: bool | None) -> tuple[int, bytes]:
        """Transform a whole message for many: the reserved bits of it, and the payload."""
        head = 0
        for one in self._all:
            bits, data = one.encode_stateless(data, compress)
            head |= bits
        return head, data

    def encoders(self) -> tuple[Encoder, ...]:
        """New ones, for what a connection sends, in the order of their use."""
        return tuple([one.encoder() for one in self._all])

    def sent_stateless(self, bits: int, encoders: Sequence[Encoder]) -> None:
        """A message of `encode_stateless` was sent that has these bits, where `encoders` are used."""
        for one, encoder in zip(self._all, encoders, strict=True):
            if one.bits & bits:
                encoder.sent_stateless()

    def decoders(self) -> tuple[tuple[int, Decoder], ...]:
        """New ones, for what a connection receives, in the order of their use; with their bits."""
        return tuple([(one.bits, one.decoder()) for one in reversed(self._all)])


NO_EXTENSIONS = NegotiatedExtensions()

# For so many at a time, because a peer may propose what it likes; typed, because those of two
# extensions may be equal.
_shared = lru_cache(64, typed=True)(NegotiatedExtensions)


def negotiated_extensions(negotiated: Sequence[NegotiatedExtension]) -> NegotiatedExtensions:
    """What all share that agreed on these."""
    return _shared(*negotiated) if negotiated else NO_EXTENSIONS
