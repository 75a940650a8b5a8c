"""What members get of a publication: the bytes of a message, made once for all of them."""

import logging
from collections import OrderedDict
from collections.abc import Callable

from wscore import PreparedMessage

from ..log import LoggerLike
from ..log_limit import LogLimit
from .broker import Publication
from .position import Position

Render = Callable[[Publication], str | bytes]

# How much is kept for members that come back: messages, and their bytes.
MOST = 1024
MOST_BYTES = 4 * 2**20


class Rendering:
    """Makes the message of each publication once."""

    def __init__(self, logger: LoggerLike | None) -> None:
        self.function: Render | None = None
        """The application's."""
        self._logger = logger
        self._limit = LogLimit()
        # The latest ones. A dict would search the places of those that left for the oldest: that
        # takes 5,000 instructions.
        self._made: OrderedDict[tuple[str, Position], PreparedMessage] = OrderedDict()
        self._bytes = 0

    def message(self, publication: Publication) -> PreparedMessage | None:
        """The message; None if the application's function raised: that is logged."""
        key = (publication.room, publication.position)
        message = self._made.get(key)
        if message is not None:
            return message
        try:
            function = self.function
            data = publication.data if function is None else function(publication)
            message = PreparedMessage(data)
        except Exception as error:  # noqa: BLE001  # the function may raise anything
            self._log(publication, error)
            return None
        self._made[key] = message
        self._bytes += len(message.payload)
        while len(self._made) > MOST or self._bytes > MOST_BYTES:
            self._bytes -= len(self._made.popitem(last=False)[1].payload)
        return message

    def _log(self, publication: Publication, error: Exception) -> None:
        what = "rooms.render raised for %s of room '%s': no member here gets that message"
        about = str(publication.position), publication.room
        self._limit.log(self._logger, logging.ERROR, what, *about, error=error)
