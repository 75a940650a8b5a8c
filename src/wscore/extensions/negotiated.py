"""The negotiated extensions of a connection, taken together."""

import sys
from collections.abc import Hashable, Sequence
from functools import lru_cache

from .base import Decoder, Encoder, NegotiatedExtension


class NegotiatedExtensions:
    """The negotiated extensions of a connection, in their order.

    Get one from `negotiated_extensions`, which shares it between connections.
    """

    __slots__ = ("_all", "bits", "cache_key", "threshold")

    def __init__(self, *extensions: NegotiatedExtension) -> None:
        self._all = extensions
        self.cache_key: tuple[tuple[type[NegotiatedExtension], Hashable], ...] = tuple(
            [(one.__class__, one.cache_key) for one in extensions]
        )
        """Equal if `encode_stateless` returns the same."""
        self.bits: int = 0
        """The reserved bits of all extensions."""
        self.threshold: int = sys.maxsize
        """The least threshold of all extensions, in bytes."""
        for one in extensions:
            self.bits |= one.bits
            self.threshold = min(self.threshold, one.threshold)

    def encode_stateless(self, data: bytes, compress: bool | None) -> tuple[int, bytes]:
        """Encode a message for many connections: returns its reserved bits and its payload."""
        head = 0
        for one in self._all:
            bits, data = one.encode_stateless(data, compress)
            head |= bits
        return head, data

    def encoders(self) -> tuple[Encoder, ...]:
        """New encoders for what a connection sends, in the order of their use."""
        return tuple([one.encoder() for one in self._all])

    def sent_stateless(self, bits: int, encoders: Sequence[Encoder]) -> None:
        """Call after sending a message from `encode_stateless` with these reserved bits."""
        for one, encoder in zip(self._all, encoders, strict=True):
            if one.bits & bits:
                encoder.sent_stateless()

    def decoders(self) -> tuple[tuple[int, Decoder], ...]:
        """New decoders for what a connection receives, in order of use, with their bits."""
        return tuple([(one.bits, one.decoder()) for one in reversed(self._all)])


NO_EXTENSIONS = NegotiatedExtensions()

# Bounded, because clients choose the parameters. Typed, because two extensions' may be equal.
_shared = lru_cache(64, typed=True)(NegotiatedExtensions)


def negotiated_extensions(extensions: Sequence[NegotiatedExtension]) -> NegotiatedExtensions:
    """The NegotiatedExtensions that all connections with these extensions share."""
    return _shared(*extensions) if extensions else NO_EXTENSIONS
