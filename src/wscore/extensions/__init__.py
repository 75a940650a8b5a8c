"""Extensions (RFC 6455 section 9): their contract, and the one built in."""

from .base import Codec, CorruptMessage, Extension, NegotiationError, Parameters
from .deflate import Deflate

__all__ = ["Codec", "CorruptMessage", "Deflate", "Extension", "NegotiationError", "Parameters"]
