"""What an extension is (RFC 6455 section 9): how it is agreed on, and what it does to messages.

permessage-deflate is the one built in; whoever implements these two classes adds another.
"""

from collections.abc import Hashable, Sequence
from typing import Protocol

from ..headers import checked_tokens

Parameters = Sequence[tuple[str, str | None]]
"""An extension's parameters in their order; the value is None where there is none."""


class NegotiationError(ValueError):
    """The server's answer cannot be accepted; the message says why."""


class CorruptMessage(ValueError):
    """A message's payload is not what the extension makes; the message says why."""


class Encoder(Protocol):
    """One connection's messages on their way out, through an extension."""

    def encode(
        self, data: bytes, first: bool, last: bool, compress: bool | None
    ) -> tuple[int, bytes]:
        """Transform a fragment we send.

        `first` and `last` say where in its message it stands; `compress` is the sender's word on
        compression, None for the extension's own judgement. Returns the reserved bits to set
        (0 behind the first fragment, and for a message left alone) and the payload.
        """

    def sent_stateless(self) -> None:
        """A message of `encode_stateless` was sent: what comes may not refer to what came before it."""


class Decoder(Protocol):
    """One connection's messages on their way in, back through an extension."""

    @property
    def pending(self) -> bool:
        """More output of `decode` waits; False for good where it is never longer than the input."""

    def decode(self, data: bytes, last: bool, most: int) -> bytes:
        """Transform some payload of the message back, into `most` bytes (1 or more) at most.

        `last`: with `data` the message ends. Where more is to come of it, sets `pending`, and is
        called with b"" and the same `last` until it resets that; what never makes more of its
        input than that was need not look at `most`. Raises CorruptMessage.
        """


class NegotiatedExtension(Protocol):
    """An extension as agreed on with a peer, which transforms the payloads of messages.

    Hashable, and equal ones are shared by many connections: it remembers nothing of their
    messages. Encoder and decoder do, which are made when there is a message for them. It marks
    those that it transformed with its reserved bits in their first frame, and sees none of the
    peer's but those so marked. It may make a payload longer, but a whole message by no more than
    an eighth and 16 KiB: that is what the peer's limit leaves room for.
    """

    def __hash__(self) -> int:
        """As for any key of a dict."""

    @property
    def bits(self) -> int:
        """The reserved bits that are its own: a sum of 0x40, 0x20 and 0x10 (RSV1 to RSV3)."""

    @property
    def threshold(self) -> int:
        """Messages of less than so many bytes it leaves alone, unless it is compress; 0 for none."""

    @property
    def cache_key(self) -> Hashable:
        """Equal for negotiated of its class whose `encode_stateless` gives the same."""

    def encode_stateless(self, data: bytes, compress: bool | None) -> tuple[int, bytes]:
        """Transform a whole message without regard to any other, so that all peers can have it.

        Returns what `encode` would; `sent_stateless` follows, for each connection that sends it and
        has an encoder.
        """

    def encoder(self) -> Encoder:
        """A new one, for what a connection sends."""

    def decoder(self) -> Decoder:
        """A new one, for what a connection receives."""


class Extension(Protocol):
    """An extension as one side is ready to use it."""

    @property
    def name(self) -> str:
        """Its registered token."""

    def offer(self) -> Sequence[Parameters]:
        """What a client offers, best first."""

    def answer(self, offer: Parameters) -> tuple[Parameters, NegotiatedExtension] | None:
        """A server's answer to one offer, and what it agrees to by that; None to decline."""

    def agree(self, answer: Parameters) -> NegotiatedExtension:
        """What a client agrees to by a server's answer. Raises NegotiationError."""


def by_name(extensions: Sequence[Extension]) -> dict[str, Extension]:
    """The caller's extensions, checked, by their names and in their order.

    Raises TypeError for what is no extension, ValueError where a name is no token or stands
    there twice.
    """
    for extension in extensions:
        if isinstance(extension, type) or not hasattr(extension, "answer"):
            raise TypeError(f"{extension!r} is no extension: make a list of such as Deflate()")
    names = checked_tokens("extensions", [extension.name for extension in extensions])
    return dict(zip(names, extensions, strict=True))
