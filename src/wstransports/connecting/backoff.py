"""How long to wait between attempts at connecting."""

import random
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from wscore import Response

# In seconds: the most that a server's Retry-After can ask for.
LONGEST_RETRY_AFTER = 24 * 3600.0

_SECONDS = re.compile(r"[0-9]{1,9}")

Delays = Iterable[float] | Callable[[], Iterable[float]]


def backoff(first: float = 0.5, longest: float = 60.0, factor: float = 2.0) -> Iterator[float]:
    """Yield the seconds to wait before each attempt: the default of `connect`'s `delays`.

    They begin with `first` and grow by `factor`, up to `longest`. Each is multiplied by a random
    number between 0.5 and 1, so that clients that lost the same server do not return all at once.
    For other numbers pass `delays=functools.partial(backoff, longest=10)`.
    """
    delay = first
    while True:
        yield delay * random.uniform(0.5, 1)
        delay = min(delay * factor, longest)


def checked_delays(delays: Delays) -> Callable[[], Iterable[float]]:
    """What starts the delays over. Raises TypeError for what can be iterated only once."""
    if callable(delays):
        return delays
    if not isinstance(delays, Iterable) or isinstance(delays, Iterator | str | bytes):
        raise TypeError(
            "delays must be a list of seconds, or a function that returns an iterable of them, not"
            f" {delays!r}"
        )
    kept = [checked_seconds(seconds) for seconds in delays]
    return lambda: kept


def checked_seconds(seconds: float) -> float:
    """A delay in seconds. Raises ValueError for anything else."""
    if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
        raise ValueError(f"delays must be in seconds, 0 or more, not {seconds!r}")
    return seconds


def retry_after(response: Response | None) -> float:
    """The seconds that a Retry-After field asks to wait (RFC 9110 section 10.2.3); 0 without one.

    A date counts from the response's own Date, so that wrong clocks do not matter.
    """
    value = "" if response is None else response.headers.get("Retry-After", "")
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST_RETRY_AFTER)
    date = _date(value)
    if response is None or date is None:
        return 0.0
    now = _date(response.headers.get("Date", "")) or datetime.now(UTC)
    return min(max(0.0, (date - now).total_seconds()), LONGEST_RETRY_AFTER)


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
