"""The route of a connection: which address to dial from where, through which proxy, with which
TLS."""

import ipaddress
import os
import socket
import ssl as tls
from dataclasses import dataclass, field

from ..address import Address
from ..runtime import Runtime
from ..tls import default_context, kept_default_context
from .host import Host
from .proxy import checked_proxy, environment_proxy
from .uri import URI


@dataclass(frozen=True, slots=True)
class Route:
    """The route to `uri`, as the caller wants it; another origin has only `ssl` and `proxy` of it.

    Raises TypeError or ValueError for what does not fit.
    """

    uri: URI
    host: str | None = None
    port: int | None = None
    local_addr: tuple[str, int] | None = None
    sock: socket.socket | None = None
    unix_path: str | os.PathLike[str] | None = None
    proxy: str | bool | None = field(default=True, repr=False)
    ssl: tls.SSLContext | None = None
    server_hostname: str | None = None
    proxy_ssl: tls.SSLContext | None = None

    def __post_init__(self) -> None:
        for name, context in (("ssl", self.ssl), ("proxy_ssl", self.proxy_ssl)):
            if context is None:
                continue
            if not isinstance(context, tls.SSLContext):
                raise TypeError(f"{name} must be an ssl.SSLContext, not {context!r}")
            if context.protocol is tls.PROTOCOL_TLS_SERVER:
                raise ValueError(f"{name} is an SSLContext for servers: use PROTOCOL_TLS_CLIENT")
        if (self.ssl or self.server_hostname) and not self.uri.secure:
            raise ValueError("ssl and server_hostname need a wss:// address; this one is ws://")
        if self.server_hostname is not None:
            _check_name(self.server_hostname)
        if not isinstance(self.proxy, bool | None):
            object.__setattr__(self, "proxy", checked_proxy(self.proxy))
        if self.host is not None and not isinstance(self.host, str):
            raise TypeError(f"host must be a host name or address as str, not {self.host!r}")
        self._address(self.uri, None, None)  # which checks its arguments itself
        self._check_ways()

    def _check_ways(self) -> None:
        if self.sock is not None:
            try:
                self.sock.getpeername()
            except OSError as error:
                raise ValueError(f"sock is not connected ({error.strerror})") from None
        if self.port == 0:
            raise ValueError("port 0 cannot be connected to")
        if self.local_addr is not None:
            _check_local(self.local_addr)
        dialled = self.host if self.port is None else self.port
        given = self.proxy if isinstance(self.proxy, str) else None
        ways = (self.sock, self.unix_path, dialled if given is None else given)
        if sum(way is not None for way in ways) > 1:
            raise ValueError(
                "sock, unix_path, and host and port or proxy exclude each other: pass one of them"
            )
        if self.local_addr is not None and (self.sock, self.unix_path) != (None, None):
            raise ValueError("local_addr is for connections over IP: leave out sock and unix_path")

    def check_redirect(self, target: URI) -> None:
        """Raises ValueError if the caller's address does not lead to `target`."""
        dialled = (self.unix_path, self.host, self.port) != (None, None, None)
        if self.sock is not None or (dialled and target.origin != self.uri.origin):
            raise ValueError(
                f"a redirect to {target}, and the given socket or host does not lead there"
            )

    async def address(self, uri: URI, runtime: Runtime, seconds: float) -> Address:
        """What to dial for `uri`, with so many seconds for TLS.

        Raises ValueError for an invalid proxy of the environment.
        """
        proxy = self.proxy
        if proxy is True:
            direct = self.sock is not None or self.unix_path is not None
            proxy = None if direct else environment_proxy(uri)
        context = await _context(self.ssl, runtime) if uri.secure else None
        return self._address(uri, context, proxy or None, seconds)

    async def proxy_context(self, address: Address, runtime: Runtime) -> tls.SSLContext | None:
        """The SSLContext for the proxy of an address, if that is an https proxy."""
        if address.proxy is None or not address.proxy.startswith("https:"):
            return None
        return await _context(self.proxy_ssl, runtime)

    def _address(
        self, uri: URI, context: tls.SSLContext | None, proxy: str | None, seconds: float = 0
    ) -> Address:
        host, port = uri.host.dialled, uri.port
        name = uri.host.certified
        if uri.origin == self.uri.origin:
            host = host if self.host is None else Host.parse(self.host).dialled
            port = port if self.port is None else self.port
            name = self.server_hostname or name
        return Address(
            host=host,
            port=port,
            local_addr=self.local_addr,
            tls=context,
            sock=self.sock,
            unix_path=self.unix_path,
            handshake_timeout=seconds,
            server_hostname=name if uri.secure else None,
            proxy=proxy,
        )


async def _context(given: tls.SSLContext | None, runtime: Runtime) -> tls.SSLContext:
    context = given or kept_default_context()
    return await runtime.in_thread(default_context) if context is None else context


def _check_name(name: object) -> None:
    mistake = f"server_hostname must be a host name or IP address, not {name!r}"
    if not isinstance(name, str):
        raise TypeError(mistake)
    try:  # as OpenSSL is given it: what raises there leaves a connected stream
        if b"\0" in name.encode("idna"):
            raise ValueError(mistake)
    except UnicodeError:
        raise ValueError(mistake) from None


def _check_local(local_addr: object) -> None:
    address, port = local_addr if isinstance(local_addr, tuple | list) else (None, None)
    try:
        ipaddress.ip_address(str(address))
    except ValueError:
        port = None
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise ValueError(
            f"local_addr must be (IP address, port), with port 0 for any, not {local_addr!r}"
        )
