"""The WebSocket protocol (RFC 6455) without I/O: bytes in, events out. No clock, no event loop.

Create a `ServerConnection` or a `ClientConnection`, pass it the received bytes, handle the events.
"""

from .client import ClientConnection
from .connection import CloseFrame, Connection
from .enums import DataType, State
from .errors import LocalProtocolError
from .events import (
    Accepted,
    CloseReceived,
    ConnectionFailed,
    Event,
    HandshakeFailed,
    MessagePiece,
    Ping,
    Pong,
    Refused,
    RequestReceived,
)
from .explaining.capture import explain
from .explaining.explained import Explained
from .extensions import Deflate
from .frame_builder import build_frame
from .handshake import ServerHandshake, upgrade_required
from .headers import Headers
from .prepared import PreparedMessage
from .reasons import Reasons
from .request import Request
from .response import Response
from .server import ServerConnection
from .states import Phase

__all__ = [
    "Accepted",
    "ClientConnection",
    "CloseFrame",
    "CloseReceived",
    "Connection",
    "ConnectionFailed",
    "DataType",
    "Deflate",
    "Event",
    "Explained",
    "HandshakeFailed",
    "Headers",
    "LocalProtocolError",
    "MessagePiece",
    "Phase",
    "Ping",
    "Pong",
    "PreparedMessage",
    "Reasons",
    "Refused",
    "Request",
    "RequestReceived",
    "Response",
    "ServerConnection",
    "ServerHandshake",
    "State",
    "build_frame",
    "explain",
    "upgrade_required",
]
