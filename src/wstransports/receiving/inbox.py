"""The messages of one client on their way to its callback, in order."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from wscore import MessagePiece, Reasons

from ..errors import ConnectionClosed
from ..runtime import Signal
from .reader import GET_LIMIT, CheckpointedReader, WebSocketReader

if TYPE_CHECKING:
    from ..connection.session import Session

OnMessage = Callable[[WebSocketReader], Awaitable[object]]

# What a waiting message counts beside its bytes: the reader and its place in the line.
MESSAGE_COST = 256


# What waits before the first message, for all: an empty deque takes 760 bytes.
_NOTHING: deque[WebSocketReader] = deque(maxlen=0)


class Inbox:
    """Who takes the messages, which wait, and how much that is.

    Taken either by the `on_message` callback, run by at most `concurrent_messages` tasks, or by
    `receive()`. What waits while a callback is suspended is counted in `unread`, and above the
    limit the session stops reading. What a callback takes at once is never counted: that would
    cost 0.6 us a message where the whole takes 2.3.
    """

    __slots__ = (
        "_arriving",
        "_consuming",
        "_discarding",
        "_drivers",
        "_limit",
        "_make_reader",
        "_most_drivers",
        "_receiver",
        "_session",
        "_shut",
        "_taken",
        "_told",
        "_waiting",
        "callback",
        "receiving",
        "unread",
    )

    def __init__(self, session: "Session", limit: int, most_drivers: int) -> None:
        self.callback: OnMessage | None = None
        self.unread = 0
        self._make_reader = CheckpointedReader if session.runtime.checkpoints else WebSocketReader
        self.receiving = False  # receive() was called
        self._session = session
        self._limit = limit
        self._most_drivers = most_drivers
        self._drivers = 0
        self._waiting = _NOTHING
        self._arriving: WebSocketReader | None = None  # the message whose rest is not here
        self._receiver: Signal | None = None  # who waits in receive()
        self._taken = False  # somebody is in receive()
        self._consuming = False  # who called receive() is at the message it got
        self._discarding = False  # on_connection ended and nobody takes messages
        self._told = False  # that, in the log
        self._shut = False  # nothing is delivered any more

    # What the session does.

    def put(self, piece: MessagePiece) -> None:
        """A piece of a message arrived; `run` must follow."""
        # Once our Close is sent we read on for the peer's, whatever waits: too much is dropped.
        overflow = self.unread > self._limit and self._session.closing_by_us()
        if not piece.first:
            if self._arriving is not None:
                if overflow:
                    self._arriving.set_exception(self._session.closed_error())
                    self._arriving.drop()
                self._arriving.feed(piece)
                if piece.last:
                    self._arriving = None
            return
        if self._shut or overflow:
            return
        reader = self._make_reader(self, piece)
        if self._waiting is _NOTHING:
            self._waiting = deque()
        self._waiting.append(reader)
        if not piece.last:
            self._arriving = reader
        if self._drivers or self.callback is None:
            self.charge(reader, MESSAGE_COST + len(piece.data))
        elif not piece.last:
            # Most callbacks wait for the rest at once, which counts no more: to stop reading until
            # then took 1.3 system calls for a message of 1 MiB.
            reader.charged = MESSAGE_COST + len(piece.data)
            self.unread += reader.charged
            self._count_later()

    def run(self) -> None:
        """Let who takes messages have those that wait."""
        waiting = self._waiting
        if self.callback is not None:
            if len(waiting) > 1 and not self._drivers:
                self._count_later()
            while waiting and self._drivers < self._most_drivers:
                self._drivers += 1
                self._session.start(self._drive())
        elif self._receiver is not None:
            self._receiver.set()
        elif self._discarding and waiting and not self.receiving:
            if not self._told:
                self._told = True
                self._session.log("its messages are discarded: no on_message is registered")
            self.discard()

    def _count_later(self) -> None:
        """Count what still waits when the callback is suspended, by more than our checkpoints:
        to count at once what these leave for a moment took 4 % of the instructions of an echo."""
        batch = self._session.runtime.batch
        if batch.active:
            batch.at_end(self)
        else:
            self.flush()

    def flush(self) -> None:
        """As `Gathering`: count what waits."""
        size = 0
        for reader in self._waiting:
            if not reader.charged:
                reader.charged = MESSAGE_COST + reader.size()
                size += reader.charged
        self.weigh(size)

    def set_up(self) -> None:
        """on_connection has ended."""
        self._discarding = True
        self.run()

    def waits(self) -> bool:
        """Whether a message waits to be taken."""
        return bool(self._waiting)

    def idle(self) -> bool:
        """Whether all that came was handled, so that a Close may be answered."""
        busy = self._drivers or (self._consuming and self._session.setting_up)
        return not busy and not self._waiting

    def break_off(self) -> None:
        """Nothing more comes; a message amid its arrival never ends. `run` must follow."""
        if self._arriving is not None:
            self._arriving.set_exception(self._session.closed_error())
            self._arriving = None

    def discard(self) -> None:
        """Drop what waits."""
        for reader in self._waiting:
            reader.drop()
        self._waiting.clear()

    def shut(self) -> None:
        """Deliver nothing more, what waits included."""
        self._shut = True
        self.discard()

    # What the readers do.

    def charge(self, reader: WebSocketReader, size: int) -> None:
        """So many bytes more (fewer, where negative) wait unread in `reader`."""
        reader.charged += size
        self.weigh(size)

    def weigh(self, size: int) -> None:
        """Something else of so many bytes waits to be handled (does no more, where negative)."""
        self.unread += size
        self._session.backlog(self.unread > self._limit)

    def release(self, reader: WebSocketReader) -> None:
        """Nothing waits in `reader` any more."""
        self.charge(reader, -reader.charged)

    def get_limit(self) -> int | None:
        """How much `reader.get()` may gather, where its caller does not say."""
        return GET_LIMIT if self._session.core.max_message_size is None else None

    def checkpoint(self) -> Awaitable[None]:
        """Let others run once."""
        return self._session.runtime.checkpoint()

    def signal(self) -> Signal:
        """A new Signal of the connection's own loop, whichever runs here."""
        return self._session.runtime.signal()

    def too_big(self, limit: int) -> ConnectionClosed:
        """A message is longer than `get()` may gather: fail the connection."""
        self._session.fail(Reasons.MESSAGE_TOO_BIG, f"a message is longer than {limit} bytes")
        return self._session.closed_error()

    # Who takes them.

    async def _drive(self) -> None:
        """Run the callback for one message after the other: one task for a whole read, because
        a task for each message takes 4.9 us where this takes 2.3 (64 in a read)."""
        waiting = self._waiting
        session = self._session
        try:
            while waiting:
                reader = waiting.popleft()
                try:
                    # Looked up each time: a callback may register another one.
                    await self.callback(reader)  # type: ignore[misc]
                except Exception as error:  # noqa: BLE001  # whatever a callback raises
                    session.callback_failed("on_message", error)
                finally:
                    # Where pieces may follow, or a get() put some back, nobody reads them now.
                    if reader.charged or reader._whole is None:
                        reader.drop()
        finally:
            self._drivers -= 1
            if waiting:
                session.later(session.hand_out)  # this task was cancelled: another takes the rest
            session.task_done()

    async def receive(self) -> str | bytes:
        """The next message, whole; see `Client.receive`."""
        if self.callback is not None:
            raise RuntimeError("@client.message takes the messages: use that or receive()")
        if self._taken:
            raise RuntimeError("another task waits in receive() of this client: let one do it")
        if not self.receiving:
            self.receiving = True
            self._session.is_set_up()
        self._consuming = False
        self._taken = True
        try:
            while not self._waiting:
                if self._session.no_more_messages():
                    self._session.settle()
                    raise self._session.closed_error()
                self._receiver = self._session.runtime.signal()
                try:
                    await self._receiver.wait()
                finally:
                    self._receiver = None
            # A cancelled get() puts back what it took, and the message stays in its place.
            reader = self._waiting[0]
            try:
                message = await reader.get()
            except ConnectionClosed:
                self._waiting.popleft()
                self._session.settle()
                raise
        finally:
            self._taken = False
        self._waiting.popleft()
        if reader.charged:
            reader.drop()
        self._consuming = True
        return message
