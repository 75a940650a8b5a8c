"""How far the answer to a request has come: `Stage`."""

from enum import Enum, auto


class Stage(Enum):
    """What the application has sent."""

    ASKED = auto()
    """Nothing: the request waits for its answer."""
    OPEN = auto()
    """It has accepted."""
    DENYING = auto()
    """The start of a response that denies."""
    CLOSED = auto()
    """A close, or all of the response that denies."""


EXPECTED = {
    Stage.ASKED: "websocket.accept, websocket.close or websocket.http.response.start",
    Stage.OPEN: "websocket.send or websocket.close",
    Stage.DENYING: "websocket.http.response.body",
    Stage.CLOSED: "nothing",
}
"""What it may send then."""
