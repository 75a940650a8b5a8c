"""The states of a connection and the types of frames and messages."""

from enum import IntEnum


class State(IntEnum):
    """The state of a connection as in the browsers' WebSocket API; `Phase` is finer."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


class DataType(IntEnum):
    """The type of a frame or message: the opcodes of RFC 6455 section 5.2, and NONE."""

    NONE = -1
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10
