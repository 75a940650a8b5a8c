"""A request as the API shows it: the core's, and who sent it."""

from collections.abc import Iterator, Mapping
from http.cookies import SimpleCookie
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import wscore
from wscore.headers import HeaderFields

from .runtime import Pipe
from .stream_info import stream_info


class ClientAddress(NamedTuple):
    """Where a client is: its host's address, and its port."""

    addr: str
    port: int


class QueryParams(Mapping[str, str]):
    """The parameters of a query, decoded.

    The last value of a repeated name counts, as in starlette. `get_all(name)` returns all of them
    in order.
    """

    __slots__ = ("_values",)

    def __init__(self, query: str) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            self._values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> str:
        return self._values[name][-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def get_all(self, name: str) -> list[str]:
        """The values of all parameters called `name`, in order; [] if there are none."""
        return list(self._values.get(name, ()))

    def __repr__(self) -> str:
        return f"QueryParams({list(self._values)!r})"  # the values may be tokens


class Request(wscore.Request):
    """The head of an HTTP request, and who sent it: `wscore.Request` has the head.

    `id` is the `Client.id` of its connection; None for a request that you create. `username` is the
    user that `basic_auth` accepted; None without it.
    """

    __slots__ = ("_client_name", "_pipe", "id", "username")

    def __init__(self, method: str, target: str, headers: HeaderFields = ()) -> None:
        super().__init__(method, target, headers)
        self.id: int | None = None
        self._pipe: Pipe | None = None
        self._client_name = "peername"
        self.username: str | None = None

    @classmethod
    def _over(cls, request: wscore.Request, pipe: Pipe, id: int, ours: bool = False) -> "Request":
        """A request that came over `pipe`, or was sent over it if it is `ours`.

        `id` is that of the connection.
        """
        self = cls.__new__(cls)  # saves parsing the head again
        self.method = request.method
        self.target = request.target
        self.is_upgrade = request.is_upgrade
        self.subprotocols = request.subprotocols
        self._fields = request._fields
        self._state = request._state
        self.id = id
        self._pipe = pipe
        self._client_name = "sockname" if ours else "peername"
        self.username = None
        return self

    @property
    def client(self) -> ClientAddress | None:
        """The client's `addr` and `port`; None if it has none (Unix sockets, memory)."""
        name = self.info(self._client_name)
        return ClientAddress(name[0], name[1]) if isinstance(name, tuple) else None

    @property
    def scheme(self) -> str:
        """The URI's scheme: "ws" or "wss"; for an ordinary request "http" or "https"."""
        tls = self.info("ssl_object") is not None
        if self.is_upgrade:
            return "wss" if tls else "ws"
        return "https" if tls else "http"

    def info(self, name: str, default: Any = None) -> Any:
        """Return a property of the byte stream, as `Client.info` does."""
        return default if self._pipe is None else stream_info(self._pipe, name, default)

    @property
    def query_params(self) -> QueryParams:
        """The query's parameters, decoded, parsed at each access."""
        return QueryParams(self.query)

    @property
    def cookies(self) -> dict[str, str]:
        """The Cookie header's cookies, parsed at each access.

        The last value of a repeated name counts. Values without a name are left out.
        """
        # Not SimpleCookie.load, which drops all cookies if one is malformed.
        decode = SimpleCookie().value_decode
        cookies: dict[str, str] = {}
        for header in self.headers.get_all("Cookie"):
            for part in header.split(";"):
                name, equals, value = part.partition("=")
                if equals and name.strip():
                    cookies[name.strip()] = decode(value.strip())[0]
        return cookies
