"""The origins that a server serves (RFC 6454 section 6.2, RFC 6455 section 10.2)."""

import re
from collections.abc import Sequence

# As browsers send it: in lower case, without a path. The host is empty for "file://" only.
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._~-]+|\[[0-9a-f:.]+\])?(?::([0-9]+))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def checked_origins(origins: Sequence[str | None]) -> frozenset[str | None]:
    """The caller's list of origins, checked.

    Raises TypeError if it is not a list of str or None, ValueError for an origin that no browser
    sends, because it would match nobody.
    """
    if isinstance(origins, (str, bytes)):
        raise TypeError(f"origins must be a list, not {origins!r}: write [{origins!r}]")
    for origin in origins:
        if origin is None or origin == "null":
            continue
        if not isinstance(origin, str):
            raise TypeError(f"origins must be a list of str or None, but {origin!r} is neither")
        fault = _fault(origin)
        if fault:
            raise ValueError(f"the origin {origin!r} matches no client: {fault}")
    return frozenset(origins)


def _fault(origin: str) -> str:
    """Why no client sends `origin`, and what to write instead; "" for a valid origin."""
    if "*" in origin:
        return "wildcards are not supported; list each origin, or pass origins=None to serve all"
    if "://" not in origin:
        return "begin with the scheme, as in https://example.com"
    if not origin.isascii():
        return "write its host in ASCII (xn--...), as browsers send it"
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        # What a caller most likely meant: the address of a page, or capital letters.
        scheme, _, rest = origin.lower().partition("://")
        meant = f"{scheme}://{re.split('[/?#]', rest)[0]}"
        mend = f"; write {meant!r}" if _ORIGIN.fullmatch(meant) else ""
        return f"an origin is scheme://host or scheme://host:port in lower case, no more{mend}"
    scheme, host, port = found.groups()
    if host is None and (scheme != "file" or port is not None):
        return "it has no host"
    if port is None:
        return ""
    if port == _DEFAULT_PORTS.get(scheme):
        return f"browsers leave out the default port; write {origin.removesuffix(':' + port)!r}"
    if str(int(port[:9])) != port or not 0 < int(port) < 2**16:
        return "the port is not a number from 1 to 65535"
    return ""
