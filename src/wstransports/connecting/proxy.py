"""Which proxy an outgoing connection takes."""

from contextlib import suppress
from ipaddress import IPv6Address
from socket import inet_aton
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .uri import URI, shown

# Each scheme as it is written, and as the adapters are told it. The proxy resolves names in any
# case, which is what the h and the a ask for.
_SCHEMES = {
    "http": "http",
    "socks4": "socks4",
    "socks4a": "socks4",
    "socks5": "socks5",
    "socks5h": "socks5",
}
_HTTP_PORT = 80
_SOCKS_PORT = 1080


def checked_proxy(url: str) -> str:
    """A proxy's URL as `Address.proxy` wants it. Raises ValueError for what is none."""
    try:
        parts = urlsplit(url)
        scheme = _SCHEMES.get(parts.scheme)
        port = parts.port
        if port is None:
            port = _HTTP_PORT if scheme == "http" else _SOCKS_PORT
        host = parts.hostname
    except ValueError:
        scheme = host = port = None
    if not (scheme and host and port):
        raise ValueError(
            f"{shown(url)!r} is no proxy: write http://host:port, socks4://... or socks5://..."
        )
    credentials = ""
    if parts.username is not None:
        credentials = f"{parts.username}:{parts.password or ''}@"
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{credentials}{host}:{port}"


def environment_proxy(uri: URI) -> str | None:
    """The proxy's URL for an address, None for none: never one for loopback.

    Of the variables WSS_PROXY, SOCKS_PROXY, HTTPS_PROXY (for ws: WS_PROXY, SOCKS_PROXY,
    HTTPS_PROXY, HTTP_PROXY) and ALL_PROXY, in either case, the first that is set; NO_PROXY lists
    hosts that are reached directly (RFC 6455 section 4.1). Raises ValueError for what is no proxy.
    """
    # An IPv6 address is listed with brackets or without.
    forms = (uri.host, f"[{uri.host}]")
    if is_loopback(uri.host) or any(proxy_bypass(f"{form}:{uri.port}") for form in forms):
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
                f"{kind}_proxy in the environment: {error}, or give connect() proxy=None"
            ) from None
    return None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    host = host.removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(OSError):  # "127.1" is an address too, for who looks hosts up
        return inet_aton(host)[0] == 127
    try:
        address = IPv6Address(host)
    except ValueError:
        return False
    return (address.ipv4_mapped or address).is_loopback
