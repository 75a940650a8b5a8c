"""The scope of a connection: what an ASGI application gets to know of the request."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from wscore import Request

from ..runtime import Pipe

Scope = dict[str, Any]

# The version of the specification of HTTP and WebSocket messages that `Exchange` follows.
SPEC_VERSION = "2.4"


def websocket_scope(
    request: Request, pipe: Pipe, root_path: str, asgi_version: str, state: Mapping[str, Any]
) -> Scope:
    """The scope of a WebSocket connection.

    `root_path` is what a proxy has taken off the path; `state` is copied: it is the application's
    of its lifespan.
    """
    path = request.path
    # By slices: the value may have a ": " too.
    lines = request.headers.encode().split(b"\r\n")[:-1]
    fields = [line.partition(b": ") for line in lines]
    return {
        "type": "websocket",
        "asgi": {"version": asgi_version, "spec_version": SPEC_VERSION},
        "http_version": "1.1",
        "scheme": "ws" if pipe.info("ssl_object") is None else "wss",
        "server": _address(pipe.info("sockname"), with_path=True),
        "client": _address(pipe.info("peername"), with_path=False),
        "root_path": root_path,
        "path": root_path + unquote(path),
        "raw_path": root_path.encode() + path.encode(),
        "query_string": request.query.encode(),
        "headers": [(name.lower(), value) for name, _, value in fields],
        "subprotocols": list(request.subprotocols),
        "state": dict(state),
        "extensions": {"websocket.http.response": {}},
    }


def _address(name: Any, with_path: bool) -> tuple[str, int | None] | None:
    """Host and port; of a Unix socket its path and None, or None where the path says nothing."""
    if isinstance(name, tuple):
        return str(name[0]), int(name[1])
    return (name, None) if with_path and isinstance(name, str) and name else None
