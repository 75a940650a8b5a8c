"""WebSocket addresses (RFC 6455 section 3)."""

import re
from base64 import b64encode
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from .host import MALFORMED, Host

# Characters that a request target may contain; all others are percent-encoded.
_SAFE = "/?:@!$&'()*+,;=-._~%[]"

_ASCII = bytes(range(128)).decode()

_SCHEMES = {"ws": False, "wss": True, "http": False, "https": True}

_BLANK_OR_CONTROL = re.compile(r"[\0-\x20\x7f]")
# What a malformed address may hold before its host, after a scheme that is surely one, and instead
# of its port. The first may match more than credentials.
_CREDENTIALS = re.compile(
    r"^([a-z][a-z0-9+.-]*:(?=//)|(?:wss?|https?|socks[45][ah]?):)?([/\\]*).*(?:@|%40)", re.I | re.S
)
_NO_PORT = re.compile(r"(//[^/:\[]*):(?!\d{0,5}(?:/|$))[^/]*")


@dataclass(frozen=True, slots=True, repr=False)
class URI:
    """A parsed ws: or wss: address."""

    secure: bool
    host: Host
    port: int
    target: str
    """Path and query, percent-encoded."""
    user: str | None = None
    password: str = ""

    @classmethod
    def parse(cls, text: str) -> "URI":
        """Parse an address. Raises ValueError for an invalid one, TypeError unless it is a str."""
        if not isinstance(text, str):
            raise TypeError(f"a WebSocket address must be a str, not {type(text).__name__}")
        try:
            if _BLANK_OR_CONTROL.search(text):
                raise ValueError("percent-encode its spaces and control characters")
            parts, port = _split(text)
            if parts.scheme not in ("ws", "wss"):
                raise ValueError("it must begin with ws:// or wss://")
            if not parts.hostname:
                raise ValueError("it has no host: write ws://host/path")
            if "#" in text:
                raise ValueError("remove its fragment (#...)")
            if port == 0:
                raise ValueError("port 0 cannot be connected to")
            user = None if parts.username is None else unquote(parts.username)
            if user is not None and ":" in user:
                raise ValueError("a user name with a colon cannot be sent (RFC 7617 section 2)")
            host = Host.parse(parts.hostname)
        except ValueError as error:
            raise ValueError(f"{shown(text)!r} is not a WebSocket address: {error}") from None
        secure = _SCHEMES[parts.scheme]
        target = quote(parts.path or "/", _SAFE)
        if parts.query:
            target += "?" + quote(parts.query, _SAFE)
        return cls(
            secure=secure,
            host=host,
            port=port or (443 if secure else 80),
            target=target,
            user=user,
            password=unquote(parts.password or ""),
        )

    def __str__(self) -> str:
        """The address without user, password and query, which may hold secrets."""
        return f"{'wss' if self.secure else 'ws'}://{self.authority}{self.target.split('?')[0]}"

    def __repr__(self) -> str:
        return f"URI({str(self)!r})"

    @property
    def authority(self) -> str:
        """The value of the Host header, without the scheme's default port."""
        host = self.host.shown
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[bool, Host, int]:
        """The origin that credentials are for: scheme, host and port."""
        return self.secure, self.host, self.port

    @property
    def authorization(self) -> str | None:
        """The Authorization header with user and password (RFC 7617); None without a user."""
        if self.user is None:
            return None
        return "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()

    def redirected(self, location: str) -> "URI":
        """Resolve a Location header against this address; http and https mean ws and wss there.

        Raises ValueError for an invalid address, and for a redirect from wss to ws.
        """
        # Headers are decoded as Latin-1, but this one usually holds UTF-8.
        location = quote(location, _ASCII, encoding="latin-1")
        scheme = "https" if self.secure else "http"
        try:
            target = urljoin(f"{scheme}://{self.authority}{self.target}", location)
        except ValueError:  # urllib's message may quote a password
            raise ValueError(f"a redirect to {shown(location)!r}, which is malformed") from None
        before, colon, rest = target.partition(":")
        secure = _SCHEMES.get(before.lower())
        if secure is None:
            raise ValueError(f"a redirect to {shown(location)!r}, not a WebSocket address")
        if self.secure and not secure:
            raise ValueError(f"a redirect to {shown(location)!r}, which gives up encryption")
        found = URI.parse(f"{'wss' if secure else 'ws'}{colon}{rest.partition('#')[0]}")
        if found.host.name == self.host.name:
            return replace(found, host=self.host)  # the zone, which the server does not know
        return found


def _split(text: str) -> tuple[SplitResult, int | None]:
    """Split an address; unlike urllib's, the ValueError does not quote it."""
    try:
        parts = urlsplit(text)
        return parts, parts.port
    except ValueError:
        raise ValueError(MALFORMED) from None


def shown(text: str) -> str:
    """An address for error messages: shortened, without what may hold a secret."""
    text = _CREDENTIALS.sub(r"\1\2", text, count=1)
    text = text.partition("?")[0].partition("#")[0]
    return _NO_PORT.sub(r"\1:...", text, count=1)[:200]
