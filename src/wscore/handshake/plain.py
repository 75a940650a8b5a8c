"""The plain head of a request, which one pattern reads; h11 judges every other head."""

import re

from ..headers import Headers

# A GET whose lines are `Name: value`, with values of printable ASCII that neither begin nor end
# with a space. Possessive, so that it takes one pass over any input.
PLAIN = re.compile(
    rb"GET ([!-~]++) HTTP/1\.1\r\n"
    rb"((?:[-!#$%&'*+.^_`|~0-9A-Za-z]++: (?! )[ -~]++(?<! )\r\n)++)"
    rb"\r\n"
)

# What says where the message ends, or what its sender waits for: h11 must see it.
_FRAMING = frozenset({"content-length", "transfer-encoding", "expect"})


def plain_head(head: bytes) -> tuple[str, Headers] | None:
    """The target and the fields of a complete head, as h11 would read them.

    None for a head that is not plain, whether or not it is valid.
    """
    found = PLAIN.fullmatch(head)
    if found is None:
        return None
    headers = Headers.decode(found[2])
    if len(headers._values.get("host", ())) != 1 or not _FRAMING.isdisjoint(headers._values):
        return None
    return found[1].decode(), headers
