"""WebSocket servers and clients (RFC 6455) for asyncio and trio, built on the core `wscore`."""

from wscore import DataType, Headers, PreparedMessage, Reasons, Response, State
from wscore.extensions import Deflate

from . import adapters as adapters
from .accept import Accept
from .broadcast import BroadcastReport, broadcast, broadcast_nowait
from .client import Client
from .connect import connect
from .connecting.backoff import backoff
from .connecting.reconnection import worth_retrying
from .errors import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeError,
    IncompleteReadError,
)
from .instrument import Instrument
from .listening_server import ListeningServer
from .options import ConnectionKeywords, ServerKeywords
from .receiving.buffer import Buffer
from .receiving.reader import WebSocketReader
from .request import Request
from .sending.writer import WebSocketWriter
from .server import WebSocketServer
from .statistics import Statistics

__all__ = [
    "Accept",
    "BroadcastReport",
    "Buffer",
    "Client",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "ConnectionKeywords",
    "DataType",
    "Deflate",
    "HandshakeError",
    "Headers",
    "IncompleteReadError",
    "Instrument",
    "PreparedMessage",
    "ListeningServer",
    "Reasons",
    "Request",
    "Response",
    "ServerKeywords",
    "State",
    "Statistics",
    "WebSocketReader",
    "WebSocketServer",
    "WebSocketWriter",
    "backoff",
    "broadcast",
    "broadcast_nowait",
    "connect",
    "worth_retrying",
]
