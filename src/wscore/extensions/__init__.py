"""Extensions (RFC 6455 section 9): the interfaces to implement, and permessage-deflate."""

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
    "CorruptMessage",
    "Decoder",
    "Deflate",
    "Encoder",
    "Extension",
    "NegotiatedExtension",
    "NegotiationError",
    "Parameters",
]
