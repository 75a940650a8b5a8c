"""The API's own exceptions."""

import copyreg
from collections.abc import Sequence
from typing import Any, Protocol

from wscore import CloseFrame, Headers, Reasons, Response
from wscore.reasons import printable

# Close codes that are not errors (RFC 6455 section 7.4.1); NO_STATUS is a Close without a code.
_CLEAN = (Reasons.NORMAL, Reasons.GOING_AWAY, Reasons.NO_STATUS)


class Peer(Protocol):
    """The client that an error is about; compare it with `is`."""

    addr: str
    port: int


class ConnectionClosed(Exception):
    """The connection is closed, or no longer open for sending.

    What the library raises is a ConnectionClosedOK or a ConnectionClosedError. `code` and `reason`
    are those of the peer's Close, or of ours without one; `code` is 1006 for a lost connection.
    `close_frames` are the Close frames of both ends, in order. `client` is the client whose
    connection it was, None in a pickled or copied error. As a str, it is one line: unprintable
    characters are escaped.
    """

    def __init__(
        self,
        code: Reasons | int,
        reason: str,
        client: Peer | None = None,
        close_frames: Sequence[CloseFrame] = (),
    ) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.client = client
        self.close_frames = close_frames

    def __str__(self) -> str:
        text = _described(self.code, self.reason)
        for frame in self.close_frames:
            if frame.sent and frame.code != self.code:
                text += f"; this end sent {_described(frame.code, frame.reason)}"
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        # Without __init__, whose arguments a subclass may change; a client cannot be pickled.
        make = copyreg.__newobj__  # type: ignore[attr-defined]  # typeshed leaves it out
        return make, (type(self), *self.args), {**self.__dict__, "client": None}


class ConnectionClosedOK(ConnectionClosed):
    """The connection closed cleanly: each Close has code 1000, 1001 or none (RFC 6455 7.4.1)."""


class ConnectionClosedError(ConnectionClosed):
    """The connection was lost, or an end sent a Close with any other code (RFC 6455 7.4.1)."""


def closed_error(
    code: Reasons | int, reason: str, client: Peer | None, close_frames: Sequence[CloseFrame]
) -> ConnectionClosed:
    """The error of a connection that ended so."""
    clean = code in _CLEAN and all(frame.code in _CLEAN for frame in close_frames)
    kind = ConnectionClosedOK if clean else ConnectionClosedError
    return kind(code, reason, client, close_frames)


def _described(code: Reasons | int, reason: str) -> str:
    name = code.description if isinstance(code, Reasons) else "private code"
    # The peer chose the reason: it must not start a new line in a log.
    reason = printable(reason)
    return f"{int(code)} ({name})" + (f": {reason}" if reason else "")


class HandshakeError(Exception):
    """The server did not accept the opening handshake (RFC 6455 section 4.1).

    `response` is its HTTP response, with `status`, `headers` and at most 64 KiB of `body`; None
    if the server's answer was not HTTP, or not a valid handshake.
    """

    def __init__(self, message: str, response: Response | None = None) -> None:
        super().__init__(message)
        self.response = response

    @property
    def status(self) -> int | None:
        """The response's status code, or None."""
        return None if self.response is None else self.response.status

    @property
    def headers(self) -> Headers:
        """The response's header fields; empty without a response."""
        return Headers() if self.response is None else self.response.headers

    @property
    def body(self) -> bytes:
        """The first 64 KiB of the response's body; empty without a response."""
        return b"" if self.response is None else self.response.body


class IncompleteReadError(EOFError):
    """The data ended before the requested number of bytes.

    `expected` bytes were requested, `partial` bytes were read.
    """

    def __init__(self, partial: int, expected: int) -> None:
        super().__init__(partial, expected)
        self.partial = partial
        self.expected = expected

    def __str__(self) -> str:
        return f"the data ended after {self.partial} of {self.expected} bytes"
