"""The messages of one client on their way to the callback, in order."""

from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Protocol

from wscore import ClientConnection, MessagePiece, Reasons, ServerConnection
from wscore.states import MAY_RECEIVE, Phase

from ..callbacks import Callbacks
from ..errors import ConnectionClosed
from ..options import ConnectionOptions
from ..runtime import Runtime, Signal
from .intake import BACKLOG, Intake
from .reader import GET_LIMIT, WebSocketReader

OnMessage = Callable[[WebSocketReader], Awaitable[object]]

# What a waiting message counts besides its bytes: the reader and its place in the queue.
MESSAGE_COST = 256

# What waits before the first message, for all: an empty deque takes 760 bytes.
_NOTHING: deque[WebSocketReader] = deque(maxlen=0)


class Link(Protocol):
    """What the inbox needs of its connection."""

    def log(self, what: str) -> None:
        """Log one line about the connection."""

    def ready(self) -> None:
        """The application is set up and takes messages."""

    def advance_close(self) -> None:
        """Go on with the closing handshake, as far as it goes."""

    def fail(self, code: Reasons, reason: str) -> None:
        """Close the connection for a fault on our side."""

    def closed_error(self) -> ConnectionClosed:
        """What reads raise once the connection is over."""


class Consumer(Enum):
    """Takes the messages."""

    UNDECIDED = auto()
    """Nothing yet: they wait."""
    CALLBACK = auto()
    """The on_message callback."""
    RECEIVE = auto()
    """The task that is in receive()."""
    APPLICATION = auto()
    """The caller of receive(), which handles the message it got."""
    RECEIVE_AGAIN = auto()
    """receive() when it is called again: the last call was given up."""
    DISCARD = auto()
    """Nothing: on_connection has ended without a choice."""
    STOPPED = auto()
    """Nothing any more: the connection fails."""


_RECEIVING = (Consumer.RECEIVE, Consumer.APPLICATION, Consumer.RECEIVE_AGAIN)
_STOPPED = Consumer.STOPPED


class Inbox:
    """Who takes the messages, which wait, and how much that is.

    The `on_message` callback takes them, run by at most `concurrent_messages` tasks, or
    `receive()`. What waits while a callback is suspended is counted in `unread`, and above the
    limit reading stops. What a callback takes at once is never counted: that would cost 0.6 us a
    message where the whole takes 2.3.
    """

    __slots__ = (
        "_arriving",
        "_batch",
        "_callbacks",
        "_consumer",
        "_core",
        "_intake",
        "_limit",
        "_link",
        "_max_workers",
        "_receiver",
        "_runtime",
        "_setup_done",
        "_waiting",
        "_workers",
        "callback",
        "checkpoints",
        "unread",
    )

    def __init__(
        self,
        link: Link,
        core: ServerConnection | ClientConnection,
        runtime: Runtime,
        callbacks: Callbacks,
        intake: Intake,
        options: ConnectionOptions,
    ) -> None:
        self.callback: OnMessage | None = None
        self.unread = 0
        self.checkpoints = runtime.checkpoints
        self._link = link
        self._core = core
        self._runtime = runtime
        self._batch = runtime.batch
        self._callbacks = callbacks
        self._intake = intake
        self._limit = options.read_limit
        self._max_workers = options.concurrent_messages
        self._workers = 0
        self._waiting = _NOTHING
        self._arriving: WebSocketReader | None = None  # the message whose rest is not here
        self._consumer = Consumer.UNDECIDED
        self._receiver: Signal | None = None  # the task that waits in receive()
        self._setup_done = False  # on_connection has ended

    # What the session does.

    def put(self, piece: MessagePiece) -> None:
        """A piece of a message arrived; `run` must follow."""
        # Once our Close is sent we read on for the peer's, whatever waits: too much is dropped.
        overflow = self.unread > self._limit and self._core.phase is Phase.CLOSE_SENT
        if not piece.first:
            if self._arriving is not None:
                if overflow:
                    self._arriving.set_exception(self._link.closed_error())
                    self._arriving._drop()
                self._arriving._feed(piece)
                if piece.last:
                    self._arriving = None
            return
        if self._consumer is _STOPPED or overflow:
            return
        reader = WebSocketReader(self, piece)
        if self._waiting is _NOTHING:
            self._waiting = deque()
        self._waiting.append(reader)
        if not piece.last:
            self._arriving = reader
        if self._workers or self.callback is None:
            self.count(reader, MESSAGE_COST + len(piece.data))
        elif not piece.last:
            # Most callbacks wait for the rest at once, which counts no more: to stop reading until
            # then took 1.3 system calls for a message of 1 MiB.
            reader._counted = MESSAGE_COST + len(piece.data)
            self.unread += reader._counted
            self._count_later()

    def run(self) -> None:
        """Let the taker have the messages that wait."""
        waiting = self._waiting
        if self.callback is not None:
            if len(waiting) > 1 and not self._workers:
                self._count_later()
            while waiting and self._workers < self._max_workers:
                self._workers += 1
                self._callbacks.begin(self._work())
        elif self._receiver is not None:
            self._receiver.set()
        elif waiting and self._setup_done and self._consumer not in _RECEIVING:
            if self._consumer is Consumer.UNDECIDED:
                self._consumer = Consumer.DISCARD
                self._link.log("its messages are discarded: no on_message is registered")
            self._discard()

    def setup_done(self) -> None:
        """on_connection has ended."""
        self._setup_done = True
        self._link.ready()
        self.run()

    def is_idle(self) -> bool:
        """Whether all that came was handled, so that a Close may be answered."""
        handling = self._consumer is Consumer.APPLICATION and not self._setup_done
        return not self._workers and not handling and not self._waiting

    def end_of_input(self) -> None:
        """Nothing more comes; a message of which the rest is missing never ends. `run` must follow."""
        if self._arriving is not None:
            self._arriving.set_exception(self._link.closed_error())
            self._arriving = None

    def stop(self) -> None:
        """Deliver nothing more, and drop what waits."""
        self._consumer = Consumer.STOPPED
        self._discard()

    # What the client does.

    def register(self, callback: OnMessage) -> None:
        """Have a callback take the messages; RuntimeError where `receive` does."""
        if self._consumer in _RECEIVING:
            raise RuntimeError(
                "receive() takes the messages of this client: use that or a callback"
            )
        self.callback = callback
        self._set_consumer(Consumer.CALLBACK)
        if self._waiting:  # delivered when the caller has returned and on_connection has suspended
            self._intake.call_soon(self.run)

    async def receive(self) -> str | bytes:
        """The next message, whole; see `Client.receive`."""
        if self.callback is not None:
            raise RuntimeError("@client.message takes the messages: use that or receive()")
        if self._consumer is Consumer.RECEIVE or self._receiver is not None:
            raise RuntimeError("another task waits in receive() of this client: let one do it")
        if self._consumer not in _RECEIVING:
            self._link.ready()
        self._set_consumer(Consumer.RECEIVE)
        waiting = self._waiting
        try:
            while not waiting:
                if self._core.phase not in MAY_RECEIVE:
                    raise self._link.closed_error()
                self._receiver = self._runtime.signal()
                try:
                    await self._receiver.wait()
                finally:
                    self._receiver = None
                waiting = self._waiting
            # A cancelled get() puts back what it took, and the message stays in its place.
            reader = waiting[0]
            message = await reader.get()
        except ConnectionClosed:
            if waiting:
                waiting.popleft()
            self._set_consumer(Consumer.RECEIVE_AGAIN)
            self._link.advance_close()
            raise
        except BaseException:
            self._set_consumer(Consumer.RECEIVE_AGAIN)
            raise
        if waiting:  # else everything was dropped meanwhile
            waiting.popleft()
        if reader._counted:
            reader._drop()
        self._set_consumer(Consumer.APPLICATION)
        return message

    # What the readers do.

    def count(self, reader: WebSocketReader, size: int) -> None:
        """So many bytes more (fewer, where negative) wait unread in `reader`."""
        reader._counted += size
        self.add_unread(size)

    def add_unread(self, size: int) -> None:
        """So many bytes more (fewer, where negative) wait to be handled."""
        self.unread += size
        if self.unread > self._limit:
            if not self._intake.pause_reasons & BACKLOG and self._core.phase is Phase.OPEN:
                self._intake.pause(BACKLOG)
        elif self._intake.pause_reasons & BACKLOG:
            self._intake.resume(BACKLOG)

    def release(self, reader: WebSocketReader) -> None:
        """Nothing waits in `reader` any more."""
        self.count(reader, -reader._counted)

    def get_limit(self) -> int | None:
        """How much `reader.get()` may gather, where its caller does not say."""
        return GET_LIMIT if self._core.max_message_size is None else None

    def checkpoint(self) -> Awaitable[None]:
        """Let others run once."""
        return self._runtime.checkpoint()

    def signal(self) -> Signal:
        """A new Signal of the connection's own loop, whichever runs here."""
        return self._runtime.signal()

    def too_big(self, limit: int) -> ConnectionClosed:
        """A message is longer than `get()` may gather: fail the connection."""
        self._link.fail(Reasons.MESSAGE_TOO_BIG, f"a message is longer than {limit} bytes")
        return self._link.closed_error()

    # Inside.

    def _set_consumer(self, consumer: Consumer) -> None:
        """Have it take the messages, unless nothing does any more."""
        if self._consumer is not _STOPPED:
            self._consumer = consumer

    async def _work(self) -> None:
        """Run the callback for one message after the other: one task for a whole read, because
        a task for each message takes 4.9 us where this takes 2.3 (64 in a read)."""
        waiting = self._waiting
        callbacks = self._callbacks
        try:
            while waiting:
                reader = waiting.popleft()
                # Not by way of Callbacks.call: a coroutine more for each message.
                try:
                    # Looked up each time: a callback may register another one.
                    await self.callback(reader)  # type: ignore[misc]
                except Exception as error:  # noqa: BLE001  # a callback may raise anything
                    callbacks.failed("on_message", error)
                finally:
                    # Where pieces may follow, or a get() put some back, nobody reads them now.
                    if reader._counted or reader._whole is None:
                        reader._drop()
        finally:
            self._workers -= 1
            if waiting:
                self._intake.call_soon(self.run)  # this task was cancelled: another takes the rest
            callbacks.end()

    def _discard(self) -> None:
        for reader in self._waiting:
            reader._drop()
        self._waiting.clear()

    def _count_later(self) -> None:
        """Count what still waits when the callback is suspended, by more than our checkpoints:
        to count at once what these leave for a moment took 4 % of the instructions of an echo."""
        if self._batch.active:
            self._batch.at_end(self)
        else:
            self.flush()

    def flush(self) -> None:
        """As `Gathering`: count what waits."""
        size = 0
        for reader in self._waiting:
            if not reader._counted:
                reader._counted = MESSAGE_COST + reader._size()
                size += reader._counted
        self.add_unread(size)
