"""What remains of a connection that is over, for users that still hold a part of it."""

from collections.abc import Callable
from weakref import ref

from wscore import ClientConnection, Event, Reasons, ServerConnection

from ..errors import ConnectionClosed, Peer, closed_error
from ..identity import Identity


def code_and_reason(core: ServerConnection | ClientConnection) -> tuple[Reasons | int, str]:
    """The code and the reason with which a connection closed, as on_closed gets them."""
    code, reason = core.close_code, core.close_reason
    if code is None:
        code = Reasons.ABNORMAL_CLOSE
        for frame in core.close_frames:  # ours, unanswered
            code, reason = frame.code, frame.reason
    return code, reason


def how_it_closed(
    core: ServerConnection | ClientConnection, client: Peer | None
) -> ConnectionClosed:
    """The error for reads and sends of a closed connection."""
    return closed_error(*code_and_reason(core), client, core.close_frames)


class Ended:
    """Takes the place of the session in its parts, once the stream is lost and all tasks ended.

    A user may keep the client, its writer or a reader. With the session in them they would be
    a cycle, which only the garbage collector frees. It refers to nothing that refers to it.
    """

    __slots__ = ("_client", "_core", "identity", "lost")

    def __init__(
        self, core: ServerConnection | ClientConnection, client: Peer | None, identity: Identity
    ) -> None:
        self._core = core
        self._client = None if client is None else ref(client)
        self.identity: Identity = identity
        self.lost: bool = True

    @property
    def client(self) -> Peer | None:
        """The client, if it is still held by anyone."""
        return None if self._client is None else self._client()

    def closed_error(self) -> ConnectionClosed:
        """The error for reads and sends of the closed connection."""
        return how_it_closed(self._core, self.client)

    def run_as_batch(self, call: Callable[[], None]) -> None:
        """Run `call`: there is no output to gather."""
        call()

    async def close(self, code: int, reason: str) -> None:
        """It is closed."""

    def fail(self, code: Reasons, reason: str) -> None:
        """It is closed."""

    close_now = fail

    def handle(self, events: list[Event]) -> None:
        """Nothing comes any more."""

    def is_ending(self) -> bool:
        """It has ended."""
        return True

    def is_neighbour(self, peer: Peer | None) -> bool:
        """Only callbacks of outgoing connections still run, and those have no neighbours."""
        return False

    def receiving(self) -> bool:
        """What is gathered goes nowhere."""
        return False

    def advance_close(self) -> None:
        """There is nothing to do any more."""

    arm = gather = ready = release = stop_messages = callback_failed = advance_close
