"""HTTP Basic authentication (RFC 7617): its check, and what it answers."""

import hmac
import re
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from wscore import Response
from wscore.headers import Headers

Check = Callable[[str, str], bool | Awaitable[bool]]
Credentials = tuple[str, str]
BasicAuthArgument = Check | Credentials | Iterable[Credentials]

_BASIC = re.compile(r"basic +([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
# RFC 7617 section 2.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

DEFAULT_REALM = "WebSocket"


class BasicAuth:
    """Who may connect: `check` decides about a name and a password.

    Arguments: a function (username, password), async or not, or the pairs of username and
    password; `realm`, what the client shows to its user. Raises TypeError or ValueError for others.
    """

    def __init__(self, allowed: BasicAuthArgument, realm: str = DEFAULT_REALM) -> None:
        if not isinstance(realm, str) or not (realm.isascii() and realm.isprintable()):
            raise ValueError(f"realm must be a str of printable ASCII, not {realm!r}")
        quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
        self.challenge: Response = Response(
            401,
            {
                "WWW-Authenticate": f'Basic realm="{quoted}", charset="UTF-8"',
                "Content-Type": "text/plain",
            },
            "a user name and a password are needed\n",
        )
        self.check: Check = allowed if callable(allowed) else _comparing(_pairs(allowed))


def credentials(headers: Headers) -> Credentials | None:
    """The username and password that a request has; None if it has none, or malformed ones."""
    values = headers.get_all("Authorization")
    found = _BASIC.fullmatch(values[0]) if len(values) == 1 else None
    if found is None:
        return None
    try:
        text = b64decode(found[1], validate=True).decode()
    except ValueError:  # binascii.Error and UnicodeDecodeError are
        return None
    username, colon, password = text.partition(":")
    return (username, password) if colon and not _CONTROL.search(text) else None


def _pairs(allowed: Any) -> list[Credentials]:
    """The pairs, checked; no message shows them, for they may be passwords."""
    if isinstance(allowed, tuple) and len(allowed) == 2 and isinstance(allowed[0], str):
        allowed = [allowed]
    mend = "basic_auth must be a pair (username, password) of str, a list of such pairs, or a"
    if isinstance(allowed, str | bytes) or not isinstance(allowed, Iterable):
        raise TypeError(f"{mend} function, not {type(allowed).__name__}")
    pairs = list(allowed)
    for pair in pairs:
        if not (
            isinstance(pair, tuple)
            and len(pair) == 2
            and all(isinstance(part, str) for part in pair)
        ):
            raise TypeError(f"{mend} function, but one element is not such a pair")
        if ":" in pair[0]:
            raise ValueError("a username of basic_auth must have no colon (RFC 7617 section 2)")
    if not pairs:
        raise ValueError("basic_auth is empty, so nobody could connect: leave it out, or add pairs")
    return pairs


def _comparing(pairs: list[Credentials]) -> Check:
    """A check that takes the same time whichever pair matches, or none does."""
    encoded = [(username.encode(), password.encode()) for username, password in pairs]

    def check(username: str, password: str) -> bool:
        name, secret = username.encode(), password.encode()
        found = 0
        for known_name, known_secret in encoded:
            same_name = hmac.compare_digest(name, known_name)
            found |= hmac.compare_digest(secret, known_secret) & same_name
        return bool(found)

    return check
