"""What a client's byte stream knows: its addresses, its socket, its TLS."""

from typing import Any

from .runtime import Pipe

NAMES = ("peername", "sockname", "socket", "ssl_object", "peercert", "cipher")


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
    return default if found is None else found
