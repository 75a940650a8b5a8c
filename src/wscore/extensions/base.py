"""The interfaces of an extension (RFC 6455 section 9): its negotiation, and its encoding.

permessage-deflate is built in. To add another extension, implement `Extension`,
`NegotiatedExtension`, `Encoder` and `Decoder`.
"""

from collections.abc import Hashable, Sequence
from typing import Protocol

from ..headers import checked_tokens

Parameters = Sequence[tuple[str, str | None]]
"""An extension's parameters in their order; the value is None for a parameter without one."""


class NegotiationError(ValueError):
    """The server's response to an offer is invalid; the message is the reason."""


class CorruptMessage(ValueError):
    """A message's payload cannot be decoded; the message is the reason."""


class Encoder(Protocol):
    """Encodes the messages that one connection sends."""

    def encode(
        self, data: bytes, first: bool, last: bool, compress: bool | None
    ) -> tuple[int, bytes]:
        """Encode a fragment.

        `first` and `last` say whether it begins and ends its message; `compress` is what the caller
        asked for, None to let the extension decide. Returns the payload and the reserved bits to
        set, which are 0 after the first fragment and for a message that is not encoded.
        """

    def sent_stateless(self) -> None:
        """A message from `encode_stateless` was sent: the next must not refer to earlier ones."""


class Decoder(Protocol):
    """Decodes the messages that one connection receives."""

    @property
    def pending(self) -> bool:
        """Whether `decode` has more output; always False if output is never longer than input."""

    def decode(self, data: bytes, last: bool, most: int) -> bytes:
        """Decode a part of a message to at most `most` bytes (1 or more).

        `last` is True if the message ends with `data`. If there is more output, set `pending`:
        `decode` is then called with b"" and the same `last` until `pending` is reset. A decoder
        whose output is never longer than its input may ignore `most`. Raises CorruptMessage.
        """


class NegotiatedExtension(Protocol):
    """An extension with the parameters negotiated with a peer.

    It is hashable, and equal ones are shared by many connections: only its encoders and decoders,
    which are created when they are first needed, keep state. An encoded message is marked with the
    extension's reserved bits in its first frame, and only messages so marked are decoded. Encoding
    may lengthen a message by an eighth and 16 KiB at most: the peer's size limit allows no more.
    """

    def __hash__(self) -> int:
        """The hash; equal instances must have equal hashes."""

    @property
    def bits(self) -> int:
        """The reserved bits of the extension: a sum of 0x40, 0x20 and 0x10 (RSV1 to RSV3)."""

    @property
    def threshold(self) -> int:
        """Messages of fewer bytes are encoded only if the caller asks for it; 0 for none."""

    @property
    def cache_key(self) -> Hashable:
        """Equal for instances of this class whose `encode_stateless` returns the same."""

    def encode_stateless(self, data: bytes, compress: bool | None) -> tuple[int, bytes]:
        """Encode a message without reference to others, for many connections.

        Returns what `encode` would. Each connection that sends the result calls `sent_stateless`
        on its encoder, if it has one.
        """

    def encoder(self) -> Encoder:
        """A new encoder for what a connection sends."""

    def decoder(self) -> Decoder:
        """A new decoder for what a connection receives."""


class Extension(Protocol):
    """An extension with the settings of one side."""

    @property
    def name(self) -> str:
        """The registered extension token."""

    def offer(self) -> Sequence[Parameters]:
        """The client's offers, preferred first."""

    def answer(self, offer: Parameters) -> tuple[Parameters, NegotiatedExtension] | None:
        """The server's response to an offer and the extension it results in; None to decline."""

    def agree(self, answer: Parameters) -> NegotiatedExtension:
        """The client's extension for the server's response. Raises NegotiationError."""


def by_name(extensions: Sequence[Extension]) -> dict[str, Extension]:
    """The caller's extensions by name and in order, checked.

    Raises TypeError for an element that is not an extension, ValueError for a name that is not a
    token or that occurs twice.
    """
    for extension in extensions:
        if isinstance(extension, type) or not hasattr(extension, "answer"):
            raise TypeError(
                f"{extension!r} is not an extension: pass a list of instances such as Deflate()"
            )
    names = checked_tokens("extensions", [extension.name for extension in extensions])
    return dict(zip(names, extensions, strict=True))
