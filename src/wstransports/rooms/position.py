"""A place in the order of a room's messages: `Position`."""

import re
from typing import NamedTuple, Self

# The largest offset: that of a signed 64-bit integer, in which brokers count.
MOST = 2**63 - 1

# How a position reads.
TOKEN = r"([A-Za-z0-9_-]{1,64})\.(0|[1-9][0-9]{0,18})"

_TOKEN = re.compile(TOKEN)


class Position(NamedTuple):
    """A place in the order of a room's messages.

    `str(position)` is the token that clients keep and send back as `since`.

    Attributes:
        `epoch`: names one unbroken history of the room, in at most 64 characters of
            `A-Z a-z 0-9 _ -`.
        `offset`: the number of the message in it. The first message has 1, each other has one more
            than the message before it, and a history without messages has 0.
    """

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.offset}"

    @classmethod
    def parse(cls, token: str) -> Self:
        """Read a token that `str` of a position made, and that may come from anybody.

        Raises ValueError if it is not one.
        """
        match = _TOKEN.fullmatch(token)
        if match is None or int(match[2]) > MOST:
            raise ValueError(f"a position reads EPOCH.OFFSET, such as 'k3.17', not {token[:90]!r}")
        return cls(match[1], int(match[2]))
