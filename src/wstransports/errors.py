"""What the API raises beside TypeError, ValueError, RuntimeError and OSError."""

from typing import TYPE_CHECKING

from wscore import Reasons

if TYPE_CHECKING:
    from .client import Client


class ConnectionClosed(Exception):
    """The connection is over, or its sending half is.

    `code` and `reason` are those of the Close, 1006 for a lost connection; `client` is whose
    connection it was.
    """

    def __init__(self, code: Reasons | int, reason: str, client: "Client | None" = None) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.client = client

    def __str__(self) -> str:
        name = self.code.description if isinstance(self.code, Reasons) else "private code"
        return f"{int(self.code)} ({name})" + (f": {self.reason}" if self.reason else "")


class IncompleteReadError(EOFError):
    """The data ended before as much was there as was asked for.

    `partial` is how many bytes came, `expected` how many were wanted.
    """

    def __init__(self, partial: int, expected: int) -> None:
        super().__init__(partial, expected)
        self.partial = partial
        self.expected = expected

    def __str__(self) -> str:
        return f"the data ended after {self.partial} of {self.expected} bytes"


def closed_connections(error: BaseException) -> list[ConnectionClosed]:
    """The ConnectionClosed that an exception is, or a group is made of; [] for any other."""
    if isinstance(error, ConnectionClosed):
        return [error]
    if not isinstance(error, BaseExceptionGroup):
        return []
    found = [closed_connections(one) for one in error.exceptions]
    return [one for ones in found for one in ones] if all(found) else []
