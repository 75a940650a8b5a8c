"""The Date header of responses (RFC 9110 section 6.6.1)."""

import time
from email.utils import formatdate

_last = (0, "")  # the last second and its date


def http_date() -> str:
    """The time of day as a Date header's value; formatted once a second."""
    global _last
    now = int(time.time())
    second, date = _last
    if now != second:
        date = formatdate(now, usegmt=True)
        _last = now, date
    return date
