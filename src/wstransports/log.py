"""The log lines of this package. Nothing that logging does may harm a connection, or the server."""

import logging
import sys
import traceback
from contextlib import suppress

_logger = logging.getLogger("wstransports")


def log(level: int, message: str, *args: object, error: BaseException | None = None) -> None:
    """Log `message % args`, with the traceback of `error`; what a handler raises goes no further.

    It is printed instead, as logging itself does with most errors of handlers.
    """
    try:
        _logger.log(level, message, *args, exc_info=error, stacklevel=2)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  # a handler or a filter may raise anything
        if logging.raiseExceptions:
            with suppress(Exception):  # stderr may be missing, or closed
                traceback.print_exc(file=sys.stderr)
