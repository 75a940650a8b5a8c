"""The transition table: where a connection can stand and what moves it. Nothing else decides."""

from enum import Enum, auto

from .enums import State


class Phase(Enum):
    """Where a connection stands, finer than `State`: who has closed, and who still owes what.

    Those of RFC 6455 section 4 and RFC 6455 section 7.1, and what is between them.
    """

    # Enum's own, which runs in Python, takes 100 ns for each look into a table of phases.
    __hash__ = object.__hash__

    CONNECTING = auto()
    """The opening handshake is not over."""
    OPEN = auto()
    """Messages go both ways."""
    CLOSE_RECEIVED = auto()
    """The peer's Close is here, ours is not sent: answers still go out."""
    CLOSE_SENT = auto()
    """Our Close is sent, the peer's is not here: its messages still come in."""
    FAILED = auto()
    """The peer broke a rule or ended its half; ours is not closed: answers still go out."""
    ENDING = auto()
    """All is said; what remains is the end of the byte stream."""
    CLOSED = auto()
    """The byte stream is gone, or is to be dropped."""


class Step(Enum):
    """What moves a connection from one phase to another."""

    __hash__ = object.__hash__

    ACCEPT = auto()
    """The opening handshake succeeded."""
    REFUSE = auto()
    """The opening handshake ended in anything else."""
    RECEIVE_CLOSE = auto()
    """A Close frame came."""
    SEND_CLOSE = auto()
    """A Close frame went out (or, where the peer is gone, would have)."""
    FAIL = auto()
    """The peer broke a rule."""
    END_OF_INPUT = auto()
    """The peer ended its half of the byte stream."""
    LOSE = auto()
    """The byte stream is gone in both directions, or a deadline says to drop it."""


TRANSITIONS: dict[Phase, dict[Step, Phase]] = {
    Phase.CONNECTING: {
        Step.ACCEPT: Phase.OPEN,
        Step.REFUSE: Phase.ENDING,
        Step.END_OF_INPUT: Phase.CONNECTING,
        Step.LOSE: Phase.CLOSED,
    },
    Phase.OPEN: {
        Step.RECEIVE_CLOSE: Phase.CLOSE_RECEIVED,
        Step.SEND_CLOSE: Phase.CLOSE_SENT,
        Step.FAIL: Phase.FAILED,
        Step.END_OF_INPUT: Phase.FAILED,
        Step.LOSE: Phase.CLOSED,
    },
    Phase.CLOSE_RECEIVED: {
        Step.SEND_CLOSE: Phase.ENDING,
        Step.END_OF_INPUT: Phase.CLOSE_RECEIVED,
        Step.LOSE: Phase.CLOSED,
    },
    Phase.CLOSE_SENT: {
        Step.RECEIVE_CLOSE: Phase.ENDING,
        Step.FAIL: Phase.ENDING,
        Step.END_OF_INPUT: Phase.ENDING,
        Step.LOSE: Phase.CLOSED,
    },
    Phase.FAILED: {
        Step.SEND_CLOSE: Phase.ENDING,
        Step.END_OF_INPUT: Phase.FAILED,
        Step.LOSE: Phase.CLOSED,
    },
    Phase.ENDING: {
        Step.END_OF_INPUT: Phase.ENDING,
        Step.LOSE: Phase.CLOSED,
    },
    Phase.CLOSED: {
        Step.END_OF_INPUT: Phase.CLOSED,
        Step.LOSE: Phase.CLOSED,
    },
}

# What the user sees of each phase.
STATES: dict[Phase, State] = {
    Phase.CONNECTING: State.CONNECTING,
    Phase.OPEN: State.OPEN,
    Phase.CLOSE_RECEIVED: State.CLOSING,
    Phase.CLOSE_SENT: State.CLOSING,
    Phase.FAILED: State.CLOSING,
    Phase.ENDING: State.CLOSING,
    Phase.CLOSED: State.CLOSED,
}

# Where messages and pings may still be sent (RFC 6455 section 5.5.1: not after our own Close).
MAY_SEND = frozenset({Phase.OPEN, Phase.CLOSE_RECEIVED, Phase.FAILED})

# Where what arrives is still read as frames.
MAY_RECEIVE = frozenset({Phase.OPEN, Phase.CLOSE_SENT})

# Where our Close is owed for what the peer did.
OWES_CLOSE = frozenset({Phase.CLOSE_RECEIVED, Phase.FAILED})
