"""The scope of a connection: what an ASGI application gets to know of the request."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from wscore import Request

from ..runtime import Pipe, peer_name

Scope = dict[str, Any]

# The version of the specification of HTTP and WebSocket messages that `Exchange` follows.
SPEC_VERSION = "2.4"

# Fields that many clients send with the same value, and that have no secrets.
_COMMON = frozenset(
    b"accept accept-encoding accept-language cache-control connection host origin pragma"
    b" sec-fetch-dest sec-fetch-mode sec-fetch-site sec-websocket-extensions"
    b" sec-websocket-version upgrade user-agent x-forwarded-proto".split()
)

# So many of them are kept for the clients to come, each with a value of at most so many bytes.
_MOST_KEPT = 1024
_LONGEST_KEPT = 256


def websocket_scope(
    request: Request, pipe: Pipe, root_path: str, asgi_version: str, state: Mapping[str, Any]
) -> Scope:
    """The scope of a WebSocket connection.

    `root_path` is what a proxy has taken off the path; `state` is copied: it is the application's
    of its lifespan.
    """
    path = request.path
    return {
        "type": "websocket",
        "asgi": {"version": asgi_version, "spec_version": SPEC_VERSION},
        "http_version": "1.1",
        "scheme": "ws" if pipe.info("ssl_object") is None else "wss",
        "server": _server(pipe.info("sockname")),
        "client": peer_name(pipe),
        "root_path": root_path,
        "path": root_path + unquote(path),
        "raw_path": root_path.encode() + path.encode(),
        "query_string": request.query.encode(),
        "headers": _headers(request),
        "subprotocols": list(request.subprotocols),
        "state": dict(state),
        "extensions": {"websocket.http.response": {}},
    }


def _headers(request: Request) -> list[tuple[bytes, bytes]]:
    """The header fields in their order, the names in lower case."""
    fields = []
    for line in request.headers.encode().split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")  # the first: the value may have one too
        name = name.lower()
        common = name in _COMMON and len(value) <= _LONGEST_KEPT
        fields.append(_kept(name, value) if common else (name, value))
    return fields


@lru_cache(_MOST_KEPT)
def _kept(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """The same field for all clients that send it: an idle connection takes 1.8 KiB less."""
    return name, value


@lru_cache(_MOST_KEPT)
def _server(name: Any) -> tuple[str, int | None] | None:
    """Host and port; of a Unix socket its path and None, or None where the path says nothing. They
    are the same object for all clients."""
    if isinstance(name, tuple):
        return str(name[0]), int(name[1])
    return (name, None) if isinstance(name, str) and name else None
