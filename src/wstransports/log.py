"""The log lines of this package. Nothing that logging does may harm a connection, or the server."""

import logging
import sys
import traceback
from contextlib import suppress
from typing import Any

from wscore.reasons import printable

LoggerLike = logging.Logger | logging.LoggerAdapter[Any]

_LOGGER = logging.getLogger("wstransports")

# The most characters of a text in a line: an address of the user's own may be this long.
_MOST = 4096


def log(
    logger: LoggerLike | None,
    level: int,
    message: str,
    *args: object,
    error: BaseException | None = None,
    stacklevel: int = 2,
) -> None:
    """Log `message % args`, with the traceback of `error`; what a handler raises goes no further.

    It is printed instead, as logging itself does with most errors of handlers. Without a `logger`
    the package's own gets it. `stacklevel` is that of logging: 2 names the caller as the place.
    Unprintable characters in each str of `args` are escaped: a peer's line break would forge a
    line.
    """
    shown = [printable(one, _MOST) if isinstance(one, str) else one for one in args]
    try:
        chosen = _LOGGER if logger is None else logger
        chosen.log(level, message, *shown, exc_info=error, stacklevel=stacklevel)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  # a handler or a filter may raise anything
        _print_error()


def is_enabled_for(logger: LoggerLike | None, level: int) -> bool:
    """Whether lines of this level go anywhere; False if the logger raises."""
    try:
        return (_LOGGER if logger is None else logger).isEnabledFor(level)
    except Exception:  # noqa: BLE001  # an adapter may raise anything
        _print_error()
        return False


def _print_error() -> None:
    if logging.raiseExceptions:
        with suppress(Exception):  # stderr may be missing, or closed
            traceback.print_exc(file=sys.stderr)
