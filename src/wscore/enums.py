"""The two enumerations everybody shares: where a connection stands, and what a frame carries."""

from enum import IntEnum


class State(IntEnum):
    """Where a connection stands, as its user sees it; `states.Phase` is the finer inner view."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


class DataType(IntEnum):
    """What a frame or a message carries: the opcodes of RFC 6455 section 5.2, and NONE."""

    NONE = -1
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10
