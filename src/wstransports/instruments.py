"""Calls of the users' instruments, with their errors contained."""

import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from .identity import Identity

Method = TypeVar("Method", bound=Callable[..., None])


class InstrumentMethods(Protocol):
    """The methods of an instrument; `Instrument` describes them."""

    def opened(self, client: Any) -> None:
        """A connection is open."""

    def rejected(self, status: int, reason: str) -> None:
        """An opening handshake led to no connection."""

    def closed(self, client: Any, code: int, seconds: float) -> None:
        """A connection is closed."""

    def message_received(self, client: Any, size: int, wire_size: int) -> None:
        """A message arrived."""

    def message_sent(self, client: Any, size: int, wire_size: int) -> None:
        """A message was sent."""

    def waiting(self, client: Any, size: int) -> None:
        """Bytes wait for the peer, or no longer."""

    def dropped(self, client: Any, size: int) -> None:
        """A broadcast's message was not sent."""


_NAMES = [name for name in vars(InstrumentMethods) if not name.startswith("_")]

_do_nothing: set[Callable[..., object]] = set()


def does_nothing(method: Method) -> Method:
    """Mark a method that need not be called."""
    _do_nothing.add(method)
    return method


class Instruments:
    """The instruments of a server, or of one `connect`.

    What a method raises is logged, once for each method: an instrument that fails for each
    message must not flood the log, and must not harm the connection.
    """

    def __init__(self, given: Sequence[InstrumentMethods]) -> None:
        """Raises TypeError for what is not a list of instruments."""
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise TypeError(f"instruments must be a list of instruments, not {given!r}")
        self._calls: dict[str, tuple[Callable[..., object], ...]] = {
            name: tuple([method for one in given for method in _method(one, name)])
            for name in _NAMES
        }
        self._failed: set[Callable[..., object]] = set()
        self.any: bool = any(self._calls.values())
        """Whether any method is to be called."""
        self.count_messages: bool = bool(
            self._calls["message_received"] or self._calls["message_sent"]
        )
        """Whether messages are to be counted."""

    def call(self, identity: Identity, name: str, *args: object) -> None:
        """Call a method of all instruments, about the connection with this `identity`."""
        for method in self._calls[name]:
            try:
                method(*args)
            except Exception as error:  # noqa: BLE001  # the user's method may raise anything
                if method not in self._failed:
                    self._failed.add(method)
                    what = f"{name} of an instrument raised"
                    identity.log(logging.ERROR, what, error=error)


def _method(instrument: InstrumentMethods, name: str) -> list[Callable[..., object]]:
    """The instrument's method, if it does anything. Raises TypeError if it is not a method."""
    method = getattr(instrument, name, None)
    if isinstance(instrument, type) or not callable(method):
        raise TypeError(
            f"instruments must be instances of wstransports.Instrument, and {instrument!r} is not"
        )
    if inspect.iscoroutinefunction(method):
        raise TypeError(f"{name} of {instrument!r} must be a plain function, not `async def`")
    return [] if getattr(method, "__func__", None) in _do_nothing else [method]
