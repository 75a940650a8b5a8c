"""The opening handshake, both sides (RFC 6455 section 4)."""

from .client import ClientHandshake
from .server import ServerHandshake, upgrade_required

__all__ = ["ClientHandshake", "ServerHandshake", "upgrade_required"]
