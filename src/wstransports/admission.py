"""Which connections a server admits: `max_connections`, counted from the moment of acceptance."""

from collections.abc import Iterator

from .connection.session import Session

# The most refused connections whose TLS handshake is awaited, so that they can be told. Any other
# is closed without an answer.
MOST_OPENING = 16

# The most refused connections that may read their answer and close; any other is dropped after it.
MOST_LINGERING = 8

# Seconds that they have for it.
LINGER = 1.0


class Admission:
    """The connections of a server in any state, admitted and refused.

    However many clients come, it holds few more than `most`.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._admitted: set[Session] = set()
        self._refused: set[Session] = set()
        self._opening: set[Session] = set()  # those of both that are not connected yet
        self._lingering: list[Session] = []  # those refused that have their answer

    def has_room(self) -> bool:
        """Whether one more may be admitted."""
        return self._most is None or len(self._admitted) < self._most

    def may_refuse(self) -> bool:
        """Whether one more may be refused with an answer."""
        return len(self._refused & self._opening) < MOST_OPENING

    def add(self, session: Session, admitted: bool) -> None:
        """A connection is accepted; it is not connected yet."""
        (self._admitted if admitted else self._refused).add(session)
        self._opening.add(session)

    def connected(self, session: Session) -> bool:
        """A connection is connected; returns whether it is admitted."""
        self._opening.discard(session)
        return session in self._admitted

    def refused(self, session: Session) -> None:
        """A connection has its answer: if there are many, drop the one that has had it longest."""
        self._lingering.append(session)
        if len(self._lingering) > MOST_LINGERING:
            self._lingering.pop(0).abort()

    def remove(self, session: Session) -> None:
        """A connection has ended."""
        for sessions in (self._admitted, self._refused, self._opening):
            sessions.discard(session)
        if session in self._lingering:
            self._lingering.remove(session)

    def __iter__(self) -> Iterator[Session]:
        """Those that are connected, as they are now."""
        return iter((self._admitted | self._refused) - self._opening)

    def __len__(self) -> int:
        """How many there are in any state."""
        return len(self._admitted) + len(self._refused)
