"""What a client's byte stream knows: its addresses, its socket, its TLS."""

from typing import Any

from .runtime import Pipe

NAMES = ("peername", "sockname", "socket", "ssl_object", "peercert", "cipher")


class StreamSocket:
    """A connection's socket for users. It can neither block nor be closed: after a close, the
    connection would write on to the descriptor, which may be another socket's by then."""

    __slots__ = ("_sock",)

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        if name in ("close", "detach"):
            raise AttributeError(f"a connection's socket has no {name}(): close the client")
        if name in ("setblocking", "settimeout"):
            raise AttributeError(f"a connection's socket has no {name}(): it never blocks")
        return getattr(self._sock, name)


def stream_info(pipe: Pipe, name: str, default: Any = None) -> Any:
    """Look up one of NAMES, as asyncio's `get_extra_info` does; `default` if there is none.

    Raises ValueError for any other name.
    """
    if name not in NAMES:
        raise ValueError(f"info() knows no {name!r}: ask for one of {', '.join(NAMES)}")
    if name in ("peercert", "cipher"):
        tls = pipe.info("ssl_object")
        if tls is None:
            return default
        found = tls.getpeercert() or None if name == "peercert" else tls.cipher()
    else:
        found = pipe.info(name)
        if name == "socket" and found is not None:
            return StreamSocket(found)
    return default if found is None else found
