"""The address of a Redis or Valkey server, as a URL."""

import ssl as tls
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ...address import Address
from ...connecting.host import MALFORMED, Host
from ...connecting.uri import shown

# The port that Redis and Valkey listen on.
PORT = 6379

_SCHEMES = ("redis", "rediss", "unix")
_EXAMPLE = "write redis://user:password@host:6379/0, rediss:// for TLS, or unix:///path"


@dataclass(frozen=True, slots=True, repr=False)
class RedisURL:
    """A parsed redis:, rediss: or unix: address."""

    host: Host | None
    port: int = 0
    path: str = ""
    """That of a Unix socket."""
    secure: bool = False
    user: str = ""
    password: str = ""
    db: int = 0

    @classmethod
    def parse(cls, text: str) -> "RedisURL":
        """Parse an address. Raises ValueError for an invalid one, TypeError unless it is a str."""
        if not isinstance(text, str):
            raise TypeError(f"the address of a Redis server must be a str, not {text!r}")
        try:
            return cls._parsed(text)
        except ValueError as error:
            raise ValueError(f"{shown(text)!r} is not a Redis address: {error}") from None

    @classmethod
    def _parsed(cls, text: str) -> "RedisURL":
        if "#" in text:
            raise ValueError("percent-encode # in a password as %23, and leave out a fragment")
        parts, port = _split(text)
        if parts.scheme not in _SCHEMES or not text.lower().startswith(f"{parts.scheme}://"):
            raise ValueError(_EXAMPLE)
        options = _options(parts.query, ("db", "username", "password"))
        user = unquote(parts.username or "") or options.get("username", "")
        password = unquote(parts.password or "") or options.get("password", "")
        if user and not password:
            raise ValueError("it has a user without a password: write user:password@ or :password@")
        if parts.scheme == "unix":
            if parts.hostname or not parts.path.strip("/"):
                raise ValueError(
                    "write three slashes before the path, as in unix:///run/redis.sock"
                )
            db = _db(options.get("db", ""))
            return cls(None, path=unquote(parts.path), user=user, password=password, db=db)
        if not parts.hostname:
            raise ValueError("it has no host: write redis://host")
        if port == 0:
            raise ValueError("port 0 cannot be connected to")
        path = parts.path.removeprefix("/")
        if path and "db" in options:
            raise ValueError("it has two databases: write one, as in redis://host/0")
        return cls(
            Host.parse(parts.hostname),
            PORT if port is None else port,
            secure=parts.scheme == "rediss",
            user=user,
            password=password,
            db=_db(path or options.get("db", "")),
        )

    def __str__(self) -> str:
        """The address without user and password."""
        if self.host is None:
            return f"unix://{self.path}" + (f"?db={self.db}" if self.db else "")
        scheme = "rediss" if self.secure else "redis"
        return f"{scheme}://{self.host.shown}:{self.port}/{self.db}"

    def __repr__(self) -> str:
        return f"RedisURL({str(self)!r})"

    def address(self, context: tls.SSLContext | None, seconds: float) -> Address:
        """What to dial, with so many seconds for TLS."""
        if self.host is None:
            return Address(None, 0, unix_path=self.path)
        return Address(
            self.host.dialled,
            self.port,
            tls=context if self.secure else None,
            handshake_timeout=seconds,
            server_hostname=self.host.certified if self.secure else None,
        )


def _split(text: str) -> tuple[SplitResult, int | None]:
    """Split an address; unlike urllib's, the ValueError does not quote it."""
    try:
        parts = urlsplit(text)
        return parts, parts.port
    except ValueError:
        raise ValueError(f"{MALFORMED}; percent-encode / and ? in a password") from None


def _options(query: str, known: tuple[str, ...]) -> dict[str, str]:
    """The options after the question mark. Raises ValueError for an unknown one."""
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in known:
            raise ValueError(f"{name[:40]!r} is not an option: there are {', '.join(known)}")
    return options


def _db(text: str) -> int:
    """The number of the database. Raises ValueError for anything else."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise ValueError(f"the database is a number, as in redis://host/0, not {text[:40]!r}")
    return int(text)
