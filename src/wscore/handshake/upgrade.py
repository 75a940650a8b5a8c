"""The rules for a request that opens a WebSocket by an upgrade (RFC 6455 section 4.2.1).

An extended CONNECT (RFC 8441) replaces these, and shares the rest of the handshake.
"""

import re

from ..headers import Headers, token_list
from ..request import Request
from .head import is_host
from .key import is_key
from .refusal import UPGRADE_TO, Refusal

# RFC 9112 section 3.2: origin-form or absolute-form, without a fragment (RFC 6455 section 3).
_TARGET = re.compile(r"/[^#]*|[A-Za-z][A-Za-z0-9+.-]*+://[^/?#]++(?:[/?][^#]*)?")

# The Connection header as browsers write it: parsing it takes 5k instructions.
_UPGRADE = ["Upgrade"]


def check_request(request: Request, headers: Headers, http_version: bytes) -> None:
    """Check what holds for every request, upgrade or not. Raises Refusal."""
    values = headers._values
    if http_version > b"1.1" and "host" not in values:  # h11 asks for it in 1.1 only
        raise Refusal(400, "malformed HTTP request: the Host header is missing")
    if request.is_upgrade and request.method != "GET":
        # RFC 6455 section 4.2.1, item 1.
        raise Refusal(405, "a WebSocket must be opened with GET", [("Allow", "GET")])
    if request.method not in ("GET", "HEAD"):
        raise Refusal(405, "only GET and HEAD are supported", [("Allow", "GET, HEAD")])
    if not _TARGET.fullmatch(request.target):
        raise Refusal(400, "the request target is neither a path nor an absolute URI")
    # h11 has checked that there is one Host header (HTTP/1.0 may have none).
    if "host" in values and not is_host(values["host"][0]):
        raise Refusal(400, "the Host header is malformed")
    body = "content-length" in values and headers["Content-Length"].strip("0")
    if body or "transfer-encoding" in values:
        raise Refusal(400, "request bodies are not supported")
    if not request.is_upgrade and "sec-websocket-key" in values:
        # Usually a proxy has dropped Upgrade: say so, instead of answering with a web page.
        raise Refusal(400, "the Upgrade header does not name websocket")


def checked_key(headers: Headers, http_version: bytes) -> str:
    """The key of a valid opening handshake; the numbers are the items of RFC 6455 section 4.2.1.

    Raises Refusal, and MalformedHeader for a Connection that is not a list of tokens.
    """
    if http_version < b"1.1":  # 1
        raise Refusal(400, "a WebSocket needs HTTP/1.1")
    if headers._values.get("connection") != _UPGRADE:
        if "upgrade" not in [token.lower() for token in token_list(headers, "Connection")]:  # 4
            raise Refusal(400, "the Connection header does not name upgrade")
    key = _only(headers, "Sec-WebSocket-Key")
    if not is_key(key):  # 5
        raise Refusal(400, "the Sec-WebSocket-Key header is not base64 of 16 bytes")
    if _only(headers, "Sec-WebSocket-Version") != "13":  # 6
        raise Refusal(426, "only WebSocket version 13 is supported", UPGRADE_TO)
    return key


def _only(headers: Headers, name: str) -> str:
    values = headers._values.get(name.lower(), ())
    if len(values) != 1:
        raise Refusal(400, f"the {name} header is {'repeated' if values else 'missing'}")
    return values[0]
