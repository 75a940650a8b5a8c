"""The opening handshake, both sides (RFC 6455 section 4)."""

from .client import ClientHandshake
from .refusal import upgrade_required
from .server import ServerHandshake

__all__ = ["ClientHandshake", "ServerHandshake", "upgrade_required"]
