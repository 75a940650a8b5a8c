"""The queue of a client's messages, and their delivery to a callback or receive()."""

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Protocol

from wscore import ClientConnection, MessagePiece, Reasons, ServerConnection
from wscore.states import MAY_RECEIVE, Phase

from ..callbacks import Callbacks
from ..errors import ConnectionClosed, ConnectionClosedOK
from ..identity import Identity
from ..options import ConnectionOptions
from ..runtime import Runtime, Signal, Waiter, read_arrived
from .intake import BACKLOG, Intake
from .reader import GET_LIMIT, WebSocketReader

OnMessage = Callable[[WebSocketReader], Awaitable[object]]

# Bytes that a waiting message counts in addition to its data: its reader and place in the queue.
MESSAGE_COST = 256

# The queue before the first message, shared because an empty deque takes 760 bytes.
NO_MESSAGES: deque[WebSocketReader] = deque(maxlen=0)


class Link(Protocol):
    """What the inbox needs of its connection."""

    @property
    def identity(self) -> Identity:
        """What logs about the connection."""

    def ready(self) -> None:
        """The application is set up and ready for messages."""

    def advance_close(self) -> None:
        """Continue the closing handshake as far as possible."""

    def fail(self, code: Reasons, reason: str) -> None:
        """Send a Close because of a failure at this end."""

    def closed_error(self) -> ConnectionClosed:
        """The error for reads of a closed connection."""

    def gather(self) -> None:
        """More messages wait for the caller of receive(): gather what it sends."""

    def release(self) -> None:
        """The caller of receive() waits: write what was gathered."""


class Consumer(Enum):
    """What takes the messages."""

    UNDECIDED = auto()
    """Nothing yet: messages wait."""
    CALLBACK = auto()
    """The on_message callback."""
    RECEIVE = auto()
    """A task that is waiting in receive()."""
    APPLICATION = auto()
    """The caller of receive(), which is handling a message."""
    RECEIVE_AGAIN = auto()
    """The next call of receive(): the last one raised, or what it returned is handled."""
    DISCARD = auto()
    """Nothing: on_connection has ended without a choice, so messages are discarded."""
    STOPPED = auto()
    """Nothing: the connection failed."""


_RECEIVE, _APPLICATION = Consumer.RECEIVE, Consumer.APPLICATION
_RECEIVING = (_RECEIVE, _APPLICATION, Consumer.RECEIVE_AGAIN)
_STOPPED = Consumer.STOPPED


class Inbox:
    """Queues messages, and delivers them to on_message or `receive()`.

    At most `concurrent_messages` tasks run on_message. What waits while a callback is suspended
    counts in `unread`; above the limit, reading pauses. A message that a callback takes at once
    is never counted, because that would cost a quarter of the time for a message.
    """

    __slots__ = (
        "_arriving",
        "_batch",
        "_callbacks",
        "_consumer",
        "_core",
        "_ending",
        "_gathers",
        "_intake",
        "_limit",
        "_max_workers",
        "_receiver",
        "_runtime",
        "_setup_done",
        "_waiter",
        "_waiting",
        "_workers",
        "callback",
        "checkpoints",
        "link",
        "taker",
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
        self.unread: int = 0
        self.checkpoints: bool = runtime.checkpoints
        self.link: Link = link
        self._core = core
        self._runtime = runtime
        self._batch = runtime.batch
        self._callbacks = callbacks
        self._intake = intake
        self._limit = options.read_limit
        self._max_workers = options.concurrent_messages
        self._workers = 0
        self._waiting = NO_MESSAGES
        self._arriving: WebSocketReader | None = None  # the message that is not complete
        self._consumer = Consumer.UNDECIDED
        self._waiter: Waiter | None = None  # of the task in receive(), kept for the next call
        self._receiver: Waiter | None = None  # the same while a task waits
        self.taker: int = 0  # hash of the task in receive(): the task would be in a cycle
        self._setup_done = False  # on_connection has ended
        self._gathers = False  # what the caller of receive() sends is gathered
        self._ending = False  # no further message is taken, but the consumer may finish

    # For the session.

    def put(self, piece: MessagePiece) -> None:
        """A piece of a message arrived; `run` must follow."""
        if self.unread > self._limit and self._core.phase is Phase.CLOSE_SENT:
            self._overflow()
        if not piece.first:
            if self._arriving is not None:
                self._arriving._feed(piece)
                if piece.last:
                    self._arriving = None
            return
        if self._ending:
            return
        reader = WebSocketReader(self, piece)
        if self._waiting is NO_MESSAGES:
            self._waiting = deque()
        self._waiting.append(reader)
        if not piece.last:
            self._arriving = reader
        if self._workers or self.callback is None:
            reader._counted = MESSAGE_COST + len(piece.data)
            self.add_unread(reader._counted)
        elif not piece.last:
            # Count it without pausing: most callbacks wait for the rest at once, after which it no
            # longer counts. A pause until then took 1.3 system calls for a message of 1 MiB.
            reader._counted = MESSAGE_COST + len(piece.data)
            self.unread += reader._counted
            self._count_later()

    def run(self) -> None:
        """Deliver the waiting messages to their consumer."""
        waiting = self._waiting
        if self.callback is not None:
            if len(waiting) > 1 and not self._workers:
                self._count_later()
            while waiting and self._workers < self._max_workers:
                self._workers += 1
                self._callbacks.begin(self._work())
        elif self._receiver is not None:
            if waiting:
                self._receiver.wake()
            else:
                self._receiver.set()
        elif waiting and self._setup_done and self._consumer not in _RECEIVING:
            if self._consumer is Consumer.UNDECIDED:
                self._consumer = Consumer.DISCARD
                if self._core.may_send:  # else nobody expects them to be read
                    what = "messages are discarded, because no on_message is registered"
                    self.link.identity.log(logging.WARNING, what)
            self._discard()

    def setup_done(self) -> None:
        """on_connection has ended."""
        self._setup_done = True
        self.link.ready()
        self.run()

    def is_idle(self) -> bool:
        """Whether all messages are handled, so that a Close may be answered."""
        handling = self._consumer is Consumer.APPLICATION and not self._setup_done
        return not self._workers and not handling and not self._waiting

    def handled(self) -> None:
        """What receive() returned last is handled, before the next call."""
        if self._consumer is _APPLICATION:
            self._consumer = Consumer.RECEIVE_AGAIN
            self.link.advance_close()

    def end_of_input(self) -> None:
        """No more input: fail the message that is not complete. `run` must follow."""
        if self._arriving is not None:
            self._arriving._drop(self.link.closed_error())
            self._arriving = None

    def take_no_more(self) -> None:
        """Deliver no further messages; the callbacks finish with those that they have taken."""
        self._ending = True
        # receive() has the first message, or is about to have it.
        taken = self._waiting.popleft() if self.receiving() and self._waiting else None
        self._discard()
        if taken is not None:
            self._waiting.append(taken)

    def stop(self) -> None:
        """Deliver no more messages, and discard the waiting ones; receive() raises."""
        self._consumer = Consumer.STOPPED
        self._ending = True
        self._discard(self.link.closed_error())  # receive() may be reading the first
        if self._receiver is not None:
            self._receiver.set()

    # For the client.

    def register(self, callback: OnMessage) -> None:
        """Deliver messages to `callback`. Raises RuntimeError after a call of `receive`."""
        if self._consumer in _RECEIVING:
            raise RuntimeError(
                "receive() takes the messages already: use either that or a callback"
            )
        self.callback = callback
        self._set_consumer(Consumer.CALLBACK)
        if self._waiting:  # deliver after this returns and on_connection suspends
            self._intake.call_soon(self.run)

    async def receive(self, iterating: bool = False) -> str | bytes:
        """See `Client.receive`, and `Client.__aiter__` if `iterating`."""
        if self._consumer is _APPLICATION:  # the usual case, without a call
            self._consumer = _RECEIVE
        else:
            self._begin_receiving()
        waiting = self._waiting
        try:
            while not waiting:
                if self._ending:
                    self.link.advance_close()
                if self._consumer is _STOPPED or self._core.phase not in MAY_RECEIVE:
                    raise self.link.closed_error()
                waiter = None if self._gathers else self._waiter
                self._receiver = waiter = waiter or self._ready_to_wait()
                try:
                    await waiter.wait()
                finally:
                    self._receiver = None
                waiting = self._waiting
            # It stays in the queue until it is read, so that a cancelled receive() loses nothing.
            reader = waiting[0]
            message = reader._whole
            if message is None or self.checkpoints:
                if message is None:
                    self.link.release()
                message = await reader.get()
        except ConnectionClosed as error:
            if waiting:
                waiting.popleft()
            self._set_consumer(Consumer.RECEIVE_AGAIN)
            self.link.advance_close()
            if iterating and isinstance(error, ConnectionClosedOK):
                raise StopAsyncIteration from None
            raise
        except BaseException:
            self._set_consumer(Consumer.RECEIVE_AGAIN)
            raise
        waiting.popleft()
        if reader._counted:  # without get()
            self.unread -= reader._counted
            if self._intake.pause_reasons:
                self.add_unread(0)
        self._consumer = _APPLICATION  # not stopped: that discards what waits
        if waiting and not self._batch.active:
            self._gathers = True
            self.link.gather()
        return message

    def _begin_receiving(self) -> None:
        """A call of `receive` that does not follow another at once."""
        if self._consumer is Consumer.CALLBACK:
            raise RuntimeError("@client.message takes the messages: use either that or receive()")
        if self._consumer is _RECEIVE or self._receiver is not None:
            raise RuntimeError("another task is waiting in this client's receive(): use one only")
        if self._consumer not in _RECEIVING:
            self.link.ready()
        self.taker = hash(self._runtime.current_task())
        self._set_consumer(_RECEIVE)

    def _ready_to_wait(self) -> Waiter:
        """The caller of `receive` is about to wait: write what was gathered for it."""
        if self._gathers:
            self._gathers = False
            self.link.release()
        if self._waiter is None:
            self._waiter = self._runtime.waiter()
        return self._waiter

    def arrival(self) -> Waiter | None:
        """What to wait for before `receive`, or None; `arrived` must follow. A caller that waits
        itself, and not in `receive`, holds 220 bytes less."""
        if self._waiting or self._ending or self._core.phase not in MAY_RECEIVE:
            return None
        if self._consumer not in _RECEIVING:
            self.link.ready()
        self._consumer = Consumer.RECEIVE
        self._receiver = self._ready_to_wait()
        return self._receiver

    def arrived(self) -> None:
        """The caller waits no longer for what `arrival` returned."""
        self._receiver = None
        self._set_consumer(Consumer.RECEIVE_AGAIN)

    async def receive_within(self, seconds: float) -> str | bytes:
        """See `Client.receive`; raises TimeoutError if no message is complete in time."""
        runtime = self._runtime
        with suppress(TimeoutError):
            async with runtime.timeout_at(runtime.now() + seconds):
                return await self.receive()
        self._set_consumer(Consumer.RECEIVE)  # until it is clear what has arrived
        try:
            await read_arrived(runtime)
        finally:
            self._set_consumer(Consumer.RECEIVE_AGAIN)
        if self._core.phase not in MAY_RECEIVE or (self._waiting and self._waiting[0]._is_complete):
            return await self.receive()  # without waiting for anything
        # Not with the loop's own error as its context, which refers to this task.
        raise TimeoutError(f"no message came within {seconds:g} s")

    def receiving(self) -> bool:
        """Whether a task is in `receive`."""
        return self._consumer is Consumer.RECEIVE

    # For the readers: FlowControl.

    def count(self, reader: WebSocketReader, size: int) -> None:
        """Add `size` (it may be negative) to the bytes that wait unread in `reader`."""
        reader._counted += size
        self.add_unread(size)

    def add_unread(self, size: int) -> None:
        """Add `size` (it may be negative) to the unread bytes; pause or resume reading."""
        self.unread += size
        if self.unread > self._limit:
            if not self._intake.pause_reasons & BACKLOG and self._core.phase is Phase.OPEN:
                self._intake.pause(BACKLOG)
        elif self._intake.pause_reasons & BACKLOG:
            self._intake.resume(BACKLOG)

    def release(self, reader: WebSocketReader) -> None:
        """Count nothing for `reader` any more."""
        self.count(reader, -reader._counted)

    def get_limit(self) -> int | None:
        """The default limit of `reader.get()`, in bytes; None for no limit."""
        return GET_LIMIT if self._core.max_message_size is None else None

    def checkpoint(self) -> Awaitable[None]:
        """Let other tasks run once."""
        return self._runtime.checkpoint()

    def signal(self) -> Signal:
        """A new Signal of the connection's loop."""
        return self._runtime.signal()

    def too_big(self, limit: int) -> ConnectionClosed:
        """Fail the connection with 1009, because a message exceeds the limit of `get()`."""
        self.link.fail(Reasons.MESSAGE_TOO_BIG, f"a message is longer than {limit} bytes")
        return self.link.closed_error()

    # Inside.

    def _overflow(self) -> None:
        """Discard what arrives: reading never pauses between our Close and the peer's. After the
        first message that is discarded all are, so that none is missing between others."""
        if not self._ending:
            self._ending = True
            what = "messages after our Close are discarded, more than read_limit is unread"
            self.link.identity.log(logging.INFO, what)
        if self._arriving is not None:
            self._arriving._drop(self.link.closed_error())

    def _set_consumer(self, consumer: Consumer) -> None:
        """Change the consumer, unless delivery is stopped."""
        if self._consumer is not _STOPPED:
            self._consumer = consumer

    async def _work(self) -> None:
        """Run the callback for one message after another. One task serves all messages of a read,
        because a task for each would double the time (64 messages in a read)."""
        waiting = self._waiting
        callbacks = self._callbacks
        try:
            while waiting:
                reader = waiting.popleft()
                # Callbacks.call inlined: it would add a coroutine for each message.
                try:
                    # Read each time: a callback may register another one.
                    await self.callback(reader)  # type: ignore[misc]
                except BaseException as error:  # noqa: BLE001  # a callback may raise anything
                    callbacks.failed("on_message", error)
                finally:
                    # Discard the rest: unread, still to come, or put back by a get().
                    whole = reader._whole
                    if whole or whole is None or reader._counted:
                        reader._drop()
        finally:
            self._workers -= 1
            callbacks.end()

    def _discard(self, error: ConnectionClosed | None = None) -> None:
        for reader in self._waiting:
            reader._drop(error)
        self._waiting.clear()

    def _count_later(self) -> None:
        """Count the waiting messages once the input is handled, when callbacks have suspended for
        more than a checkpoint: counting sooner took 4 % of an echo's instructions."""
        if self._batch.active:
            self._batch.at_end(self)
        else:
            self.flush()

    def flush(self) -> None:
        """As a Gathering: count the waiting messages."""
        size = 0
        for reader in self._waiting:
            if not reader._counted:
                reader._counted = MESSAGE_COST + reader._size()
                size += reader._counted
        self.add_unread(size)
