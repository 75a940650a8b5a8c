"""Extensions (RFC 6455 section 9): their contract, and the one built in."""

from .base import (
    Agreement,
    CorruptMessage,
    Decoder,
    Encoder,
    Extension,
    NegotiationError,
    Parameters,
)
from .deflate import Deflate

__all__ = [
    "Agreement",
    "CorruptMessage",
    "Decoder",
    "Deflate",
    "Encoder",
    "Extension",
    "NegotiationError",
    "Parameters",
]
