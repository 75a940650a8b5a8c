"""The proxy of an outgoing connection."""

from contextlib import suppress
from ipaddress import IPv6Address
from socket import inet_aton
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .uri import URI, shown

# URL schemes, and what adapters get. The proxy always resolves host names, so that socks4a and
# socks5h, which ask for that, need no scheme of their own.
_SCHEMES = {
    "http": "http",
    "https": "https",
    "socks4": "socks4",
    "socks4a": "socks4",
    "socks5": "socks5",
    "socks5h": "socks5",
}
_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks5": 1080}


def checked_proxy(url: str) -> str:
    """Normalise a proxy's URL for `Address.proxy`.

    Raises ValueError for an invalid one, TypeError unless it is a str.
    """
    if not isinstance(url, str):
        raise TypeError(f"proxy must be a URL as str, True or None, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        scheme = _SCHEMES.get(parts.scheme)
        port = parts.port
        if port is None and scheme is not None:
            port = _PORTS[scheme]
        host = parts.hostname
    except ValueError:
        scheme = host = port = None
    if not (scheme and host and port):
        raise ValueError(
            f"{shown(url)!r} is not a proxy's URL: write http://host:port, https://...,"
            " socks4://... or socks5://..."
        )
    credentials = ""
    if parts.username is not None:
        credentials = f"{parts.username}:{parts.password or ''}@"
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{credentials}{host}:{port}"


def environment_proxy(uri: URI) -> str | None:
    """The URL of the environment's proxy for `uri`; None for a direct connection.

    It is the first that is set of WSS_PROXY, SOCKS_PROXY, HTTPS_PROXY and ALL_PROXY, or for ws of
    WS_PROXY, SOCKS_PROXY, HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, in upper or lower case. Loopback
    and the hosts in NO_PROXY need no proxy (RFC 6455 section 4.1). Raises ValueError for an
    invalid URL.
    """
    # NO_PROXY may list an IPv6 address with or without brackets.
    forms = (uri.host.name, f"[{uri.host.name}]")
    if is_loopback(uri.host.name) or any(proxy_bypass(f"{form}:{uri.port}") for form in forms):
        return None
    kinds = ("wss", "socks", "https") if uri.secure else ("ws", "socks", "https", "http")
    proxies = getproxies()
    for kind in (*kinds, "all"):
        proxy = proxies.get(kind)
        if not proxy:
            continue
        try:
            return checked_proxy(proxy if "://" in proxy else f"http://{proxy}")
        except ValueError as error:
            raise ValueError(
                f"{kind}_proxy in the environment: {error}, or pass proxy=None to connect()"
            ) from None
    return None


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine."""
    host = host.removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(OSError):  # resolvers take "127.1" for an address
        return inet_aton(host)[0] == 127
    try:
        address = IPv6Address(host)
    except ValueError:
        return False
    return (address.ipv4_mapped or address).is_loopback
