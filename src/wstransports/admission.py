"""Which connections a server admits: `max_connections`, counted from the moment of acceptance, and
`max_connections_per_address`, counted from the end of the TLS handshake."""

from collections import Counter
from collections.abc import Iterator

from .connection.session import Session
from .network import network
from .runtime import peer_name

# Why a connection is refused.
FULL = "the server is full or closing"
ADDRESS_FULL = "too many connections from one address"

# The most refused connections whose TLS handshake is awaited, so that they get their 503. Any other
# is closed without an answer.
MOST_OPENING = 16

# The most refused connections that may read their answer and close; any other is dropped after it.
MOST_LINGERING = 8

# Seconds for that.
LINGER = 1.0


class Admission:
    """The connections of a server in any state, admitted and refused.

    However many clients come, it holds few more than `most`. Clients without an address (Unix
    sockets, memory) do not count against `most_per_address`.
    """

    def __init__(self, most: int | None, most_per_address: int | None) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._networks: dict[Session, bytes] = {}  # of those admitted, if that counts
        self._per_network: Counter[bytes] = Counter()
        self._admitted: set[Session] = set()
        self._refused: set[Session] = set()
        self._opening: set[Session] = set()  # those of both that are not connected yet
        self._lingering: list[Session] = []  # those refused that have their answer

    def may_admit(self) -> bool:
        """Whether one more may be admitted."""
        return self._most is None or len(self._admitted) < self._most

    def may_refuse(self) -> bool:
        """Whether one more may be refused with an answer."""
        return len(self._refused & self._opening) < MOST_OPENING

    def add(self, session: Session, admitted: bool) -> None:
        """A connection is accepted; it is not connected yet."""
        (self._admitted if admitted else self._refused).add(session)
        self._opening.add(session)

    def connected(self, session: Session) -> str | None:
        """A connection is connected; returns why it is refused, None if it is admitted."""
        self._opening.discard(session)
        if session in self._refused:
            return FULL
        if self._most_per_address is None or (name := peer_name(session.pipe)) is None:
            return None
        where = network(name[0])
        if self._per_network[where] >= self._most_per_address:
            self._admitted.discard(session)
            self._refused.add(session)
            return ADDRESS_FULL
        self._networks[session] = where
        self._per_network[where] += 1
        return None

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
        where = self._networks.pop(session, None)
        if where is not None:
            self._per_network[where] -= 1
            if not self._per_network[where]:
                del self._per_network[where]

    def in_tls_handshake(self) -> bool:
        """Whether a connection is in its TLS handshake, or about to be connected."""
        return bool(self._opening)

    def __iter__(self) -> Iterator[Session]:
        """Those that are connected, as they are now."""
        return iter((self._admitted | self._refused) - self._opening)

    def __len__(self) -> int:
        """How many there are in any state."""
        return len(self._admitted) + len(self._refused)
