"""Extensions (RFC 6455 section 9): their contract, and the one built in."""

from .base import (
    CorruptMessage,
    Decoder,
    Encoder,
    Extension,
    NegotiatedExtension,
    NegotiationError,
    Parameters,
)
from .deflate import Deflate

__all__ = [
    "NegotiatedExtension",
    "CorruptMessage",
    "Decoder",
    "Deflate",
    "Encoder",
    "Extension",
    "NegotiationError",
    "Parameters",
]
