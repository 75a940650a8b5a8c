"""The requests of `connect`: their header fields, and which servers get them."""

from collections.abc import Awaitable, Callable

from wscore import ClientConnection, Headers
from wscore.headers import HeaderFields
from wscore.metering import MeteredClientConnection

from ..options import ConnectionOptions
from .uri import URI

RequestHeaders = Callable[[int], HeaderFields | Awaitable[HeaderFields]]

# Headers that other origins must not get.
_SECRET = ("authorization", "cookie", "proxy-authorization")


class Requests:
    """Builds the requests for one address, and for those that it redirects to."""

    def __init__(
        self,
        uri: URI,
        headers: HeaderFields | RequestHeaders,
        origin: str | None,
        user_agent: str | None,
        options: ConnectionOptions,
    ) -> None:
        self._uri = uri
        self._given: Headers | RequestHeaders
        self._given = headers if callable(headers) else Headers(headers)
        self._origin = origin
        self._user_agent = user_agent
        self._options = options
        # Raises TypeError or ValueError for what no request can have.
        self.core(uri, self._complete(() if callable(self._given) else self._given))

    async def headers(self, number: int) -> Headers:
        """The header fields of an attempt."""
        if not callable(self._given):
            return self._complete(self._given)
        fields = self._given(number)
        return self._complete(await fields if isinstance(fields, Awaitable) else fields)

    def core(self, uri: URI, given: Headers) -> ClientConnection:
        """The core that sends the request for `uri`."""
        options = self._options
        headers = list(given.pairs)
        authorization = uri.authorization
        host = uri.authority
        if uri.origin != self._uri.origin:
            headers = _without(headers, *_SECRET)
        else:
            host = given.get("Host", host)
            if authorization is None:
                authorization = self._uri.authorization
        if authorization is not None:
            headers = [*_without(headers, "authorization"), ("Authorization", authorization)]
        watched = options.instrumentation.count_messages
        return (MeteredClientConnection if watched else ClientConnection)(
            host,
            uri.target,
            subprotocols=options.subprotocols,
            origin=self._origin,
            headers=_without(headers, "host"),
            extensions=options.extensions(),
            max_head_size=options.max_head_size,
            max_head_fields=options.max_head_fields,
            max_message_size=options.max_message_size,
            close_timeout=options.close_timeout,
            timeout=options.timeout,
        )

    def _complete(self, fields: HeaderFields) -> Headers:
        """The caller's header fields and ours. Raises ValueError if credentials are given twice."""
        headers = Headers(fields)
        if self._uri.user is not None and "Authorization" in headers:
            raise ValueError("the address has a user, headers an Authorization: remove one")
        if self._user_agent is None or "User-Agent" in headers:
            return headers
        return Headers([("User-Agent", self._user_agent), *headers.pairs])


def _without(headers: list[tuple[str, str]], *names: str) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in names]
