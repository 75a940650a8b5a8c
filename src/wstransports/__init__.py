"""WebSocket servers on an event loop, over the sans-IO core `wscore`."""

from wscore import DataType, Reasons, Request, Response, State

from . import adapters as adapters
from .client import Client
from .errors import ConnectionClosed, IncompleteReadError
from .server import WebSocketServer
from .stream.buffer import Buffer
from .stream.reader import WebSocketReader
from .stream.writer import WebSocketWriter

__all__ = [
    "Buffer",
    "Client",
    "ConnectionClosed",
    "DataType",
    "IncompleteReadError",
    "Reasons",
    "Request",
    "Response",
    "State",
    "WebSocketReader",
    "WebSocketServer",
    "WebSocketWriter",
]
