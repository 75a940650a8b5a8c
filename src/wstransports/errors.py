"""The API's own exceptions."""

import copyreg
from typing import Any, Protocol

from wscore import Headers, Reasons, Response
from wscore.reasons import printable


class Peer(Protocol):
    """The client that an error is about; compare it with `is`."""

    addr: str
    port: int


class ConnectionClosed(Exception):
    """The connection is closed, or no longer open for sending.

    `code` and `reason` are those of the Close; `code` is 1006 for a lost connection. `client` is
    the client whose connection it was, None in a pickled or copied error. As a str, it is one line:
    unprintable characters are escaped.
    """

    def __init__(self, code: Reasons | int, reason: str, client: Peer | None = None) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.client = client

    def __str__(self) -> str:
        name = self.code.description if isinstance(self.code, Reasons) else "private code"
        # The peer chose the reason: it must not start a new line in a log.
        reason = printable(self.reason)
        return f"{int(self.code)} ({name})" + (f": {reason}" if reason else "")

    def __reduce__(self) -> tuple[Any, ...]:
        # Without __init__, whose arguments a subclass may change; a client cannot be pickled.
        make = copyreg.__newobj__  # type: ignore[attr-defined]  # typeshed leaves it out
        return make, (type(self), *self.args), {**self.__dict__, "client": None}


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
