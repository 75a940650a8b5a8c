"""A server's response."""

from .headers import HeaderFields, Headers, shown_pairs


class Response:
    """A complete HTTP response.

    Arguments: `status`, 100 to 999; `headers`, a mapping or (name, value) pairs of str; `body`,
    bytes, or str, which is encoded as UTF-8 (declare that in a Content-Type header). The handshake
    writes Connection, Content-Length and Transfer-Encoding. Raises TypeError or ValueError for
    values that HTTP does not allow.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        status: int,
        headers: HeaderFields = (),
        body: str | bytes | bytearray | memoryview = b"",
    ) -> None:
        if not isinstance(status, int) or isinstance(status, bool):
            raise TypeError(f"a response's status must be an int such as 404, not {status!r}")
        if not 100 <= status <= 999:
            raise ValueError(f"a response's status must be from 100 to 999, not {status}")
        if not isinstance(body, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"a response's body must be str or bytes, not {type(body).__name__}")
        self.status: int = int(status)
        self.headers: Headers = headers if isinstance(headers, Headers) else Headers(headers)
        self.body: bytes = body.encode() if isinstance(body, str) else bytes(body)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Response):
            return NotImplemented
        return (self.status, self.headers, self.body) == (other.status, other.headers, other.body)

    def __repr__(self) -> str:
        return f"Response({self.status}, {shown_pairs(self.headers)!r}, <{len(self.body)} bytes>)"
