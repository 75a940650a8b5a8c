"""The phases of a connection and the one table of transitions between them."""

from enum import Enum, auto
from typing import TYPE_CHECKING

from .enums import State


class Phase(Enum):
    """The phase of a connection: finer than `State`, it tells which side has closed.

    The states of RFC 6455 section 4 and section 7.1, and those in between.
    """

    # Enum.__hash__ is written in Python: it adds 100 ns to each lookup in a table of phases.
    if not TYPE_CHECKING:  # pragma: no branch - type checkers take the other one
        __hash__ = object.__hash__

    CONNECTING = auto()
    """The opening handshake is not complete."""
    OPEN = auto()
    """Both sides may send messages."""
    CLOSE_RECEIVED = auto()
    """The peer sent a Close, we did not yet: we may still send messages."""
    CLOSE_SENT = auto()
    """We sent a Close, the peer did not yet: it may still send messages."""
    FAILED = auto()
    """The peer violated the protocol or ended its stream: we may still send messages."""
    ENDING = auto()
    """The closing handshake is complete: only the byte stream is still to be closed."""
    CLOSED = auto()
    """The byte stream is closed, or has to be aborted."""


class Step(Enum):
    """What takes a connection from one phase to another."""

    if not TYPE_CHECKING:  # pragma: no branch - type checkers take the other one
        __hash__ = object.__hash__

    ACCEPT = auto()
    """The opening handshake succeeded."""
    REFUSE = auto()
    """The opening handshake failed or was rejected."""
    RECEIVE_CLOSE = auto()
    """A Close frame was received."""
    SEND_CLOSE = auto()
    """A Close frame was sent, or would have been if the peer were still there."""
    FAIL = auto()
    """The peer violated the protocol."""
    END_OF_INPUT = auto()
    """The peer ended its half of the byte stream."""
    LOSE = auto()
    """The byte stream was lost in both directions, or a deadline passed."""


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

# The state that users see in each phase.
STATES: dict[Phase, State] = {
    Phase.CONNECTING: State.CONNECTING,
    Phase.OPEN: State.OPEN,
    Phase.CLOSE_RECEIVED: State.CLOSING,
    Phase.CLOSE_SENT: State.CLOSING,
    Phase.FAILED: State.CLOSING,
    Phase.ENDING: State.CLOSING,
    Phase.CLOSED: State.CLOSED,
}

# Phases in which we may send messages and pings: not after our Close (RFC 6455 section 5.5.1).
MAY_SEND = frozenset({Phase.OPEN, Phase.CLOSE_RECEIVED, Phase.FAILED})

# Phases in which a Ping is answered: until the peer's Close was answered (RFC 6455 section 5.5.2).
MAY_PONG = MAY_SEND | {Phase.CLOSE_SENT}

# Phases in which input is parsed as frames.
MAY_RECEIVE = frozenset({Phase.OPEN, Phase.CLOSE_SENT})

# Phases in which the peer is waiting for our Close.
OWES_CLOSE = frozenset({Phase.CLOSE_RECEIVED, Phase.FAILED})
