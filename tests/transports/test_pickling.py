"""Exceptions, pickled and copied: for process pools, pytest-xdist, crash reporters."""

import copy
import pickle
from collections.abc import Iterator
from typing import TypeVar

import pytest

import wscore
from wstransports import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeError,
    IncompleteReadError,
    Reasons,
)

T = TypeVar("T")


class Shutdown(ConnectionClosed):
    """A user's exception, with arguments of its own."""

    def __init__(self, *, seconds: int) -> None:
        super().__init__(Reasons.SERVICE_RESTART, "restart")
        self.seconds = seconds


def copies(value: T) -> Iterator[T]:
    """`value` from pickles of each protocol that takes slots, and deep-copied."""
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.loads(pickle.dumps(value, protocol))
    yield copy.deepcopy(value)


class NoPickle:
    """As a client, which is at the end of a socket."""

    addr, port = "127.0.0.1", 1

    def __reduce__(self) -> str:
        raise TypeError("cannot pickle a client")


@pytest.mark.parametrize(
    "error",
    [
        ConnectionClosed(Reasons.GOING_AWAY, "bye", NoPickle()),
        ConnectionClosed(4000, "", NoPickle()),
        ConnectionClosedOK(
            Reasons.NORMAL, "", NoPickle(), (wscore.CloseFrame(True, Reasons.NORMAL, "bye"),)
        ),
        ConnectionClosedError(1006, "lost"),
        Shutdown(seconds=3),
        HandshakeError("refused", wscore.Response(503, {"Retry-After": "1"}, b"full")),
        IncompleteReadError(2, 4),
    ],
)
def test_exceptions_can_be_pickled_and_copied(error: Exception) -> None:
    error.add_note("a note")
    for other in copies(error):
        assert type(other) is type(error)
        assert (str(other), other.args) == (str(error), error.args)
        for name, value in vars(error).items():
            assert getattr(other, name) == (None if name == "client" else value)
    if isinstance(error, ConnectionClosed):
        assert error.client is None or isinstance(error.client, NoPickle)
