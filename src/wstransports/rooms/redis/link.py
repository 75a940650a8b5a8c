"""One connection to a Redis or Valkey server: commands out, answers and pushes in."""

import ssl
from collections import deque
from typing import Protocol

from ...connection.alarm import Alarm
from ...identity import Identity
from ...log import LoggerLike
from ...runtime import Pipe, Runtime, log_dropped
from ...tls import tls_cause
from ..broker import BrokerLost
from .resp import Argument, ErrorReply, Push, Reply, ReplyParser, encode

# Answered by a push for each of its channels, and by a reply only if it fails.
_ANSWERED_BY_PUSHES = ("SUBSCRIBE", "UNSUBSCRIBE")
_ANSWERS = (b"subscribe", b"unsubscribe")

Command = tuple[Argument, ...]


class LinkOwner(Protocol):
    """What a link needs of its owner."""

    def pushed(self, push: Push) -> None:
        """The server sent something that answers no command."""

    def link_lost(self, link: "Link", error: BrokerLost) -> None:
        """A link that was connected is lost."""


class Answer:
    """The answer to a command, which may still be on its way."""

    __slots__ = ("_arrived", "_error", "_reply", "pushes", "sent_at")

    def __init__(self, runtime: Runtime, command: Command) -> None:
        self.sent_at: float = runtime.now()
        # So many pushes are still to come as the answer.
        self.pushes: int = len(command) - 1 if command[0] in _ANSWERED_BY_PUSHES else 0
        self._arrived = runtime.signal()
        self._reply: Reply = None
        self._error: BrokerLost | None = None

    def arrive(self, reply: Reply) -> None:
        """The server answered."""
        self._reply = reply
        self._arrived.set()

    def fail(self, error: BrokerLost) -> None:
        """No answer will come."""
        self._error = error
        self._arrived.set()

    async def get(self) -> Reply:
        """Wait for the answer. Raises ErrorReply if it is an error, BrokerLost if none came."""
        await self._arrived.wait()
        if self._error is not None:
            raise BrokerLost(str(self._error)) from self._error
        if isinstance(self._reply, ErrorReply):
            raise self._reply
        return self._reply


class Link:
    """The `Sink` of a connection. It drops the connection if no answer comes in `seconds`.

    Any number of commands may be on their way. When half of that time has passed without a byte
    from the server, it sends a PING.
    """

    pipe: Pipe

    def __init__(
        self,
        runtime: Runtime,
        owner: LinkOwner,
        seconds: float,
        name: str,
        logger: LoggerLike | None,
    ) -> None:
        self.identity: Identity = Identity(logger)
        self.error: BrokerLost | None = None
        """Why nothing can be sent any more."""
        self._runtime = runtime
        self._owner = owner
        self._seconds = seconds
        self._name = name
        self._parser = ReplyParser()
        self._waiting: deque[Answer] = deque()
        self._alarm = Alarm(self)
        self._heard_at = 0.0
        self._answered_at = 0.0
        self._connected = False
        self._ended = runtime.signal()

    def send(self, *commands: Command) -> list[Answer]:
        """Send commands in one write. Raises BrokerLost if the connection is lost."""
        if self.error is not None:
            raise BrokerLost(str(self.error)) from self.error
        data = b"".join(map(encode, commands))  # first: if this raises, no answer comes
        answers = [Answer(self._runtime, command) for command in commands]
        self._waiting += answers
        self.pipe.write(data)
        return answers

    async def ask(self, *command: Argument) -> Reply:
        """Send a command, and wait for its answer; raises what `send` and `Answer.get` raise."""
        [answer] = self.send(command)
        return await answer.get()

    async def drop(self) -> None:
        """Drop the connection, if there is one, and wait for its end."""
        self.abort(BrokerLost(f"the connection to {self._name} was closed"))
        if self._connected:
            with self._runtime.shield():
                await self._ended.wait()

    def abort(self, error: BrokerLost) -> None:
        """Drop the connection because of `error`."""
        if self.error is None:
            self.error = error
            if self._connected:
                self.pipe.abort()

    # As a Sink.

    def connected(self, pipe: Pipe) -> None:
        """The stream is connected."""
        self._connected = True
        self.pipe = pipe
        self._heard_at = self._runtime.now()
        self._alarm.set(self._due())

    def data_received(self, data: bytes | memoryview) -> None:
        """The server sent something."""
        if self.error is not None:
            return
        self._heard_at = self._runtime.now()
        try:
            with self._runtime.batch:
                for reply in self._parser.feed(data):
                    self._take(reply)
        except Exception as error:  # noqa: BLE001  # whatever the owner's owner raises
            log_dropped(self, error)
            kind = type(error).__name__
            self.abort(BrokerLost(f"an error in handling what {self._name} sent: {kind}: {error}"))
        if self._parser.failure:
            self._misunderstood(self._parser.failure)

    def eof_received(self) -> None:
        """The server closed its half."""
        self.abort(BrokerLost(f"{self._name} closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._alarm.stop()
        if self.error is None:
            self.error = BrokerLost(f"the connection to {self._name} is lost: {cause(exc)}")
            self.error.__cause__ = exc
        while self._waiting:
            self._waiting.popleft().fail(self.error)
        self._ended.set()
        self._owner.link_lost(self, self.error)

    # As the handler of the alarm.

    def is_overdue(self) -> bool:
        """Whether an answer has not come in time."""
        return bool(self._waiting) and self._runtime.now() >= self._due()

    def on_alarm(self) -> None:
        """See whether the server is still there."""
        now = self._runtime.now()
        if not self._waiting and now >= self._due():
            self.send(("PING",))
        elif now >= self._due():
            self.abort(BrokerLost(f"{self._name} has not answered for {self._seconds:g} s"))
            return
        # What comes meanwhile may bring the next one forward.
        self._alarm.set(min(self._due(), now + self._seconds / 2))

    # Inside.

    def _due(self) -> float:
        """When the oldest answer must be there; without one, when to ask for one."""
        if self._waiting:
            return max(self._waiting[0].sent_at, self._answered_at) + self._seconds
        return self._heard_at + self._seconds / 2

    def _take(self, reply: Reply) -> None:
        if not isinstance(reply, Push):
            self._answer(reply, pushed=False)
        elif reply[0] in _ANSWERS:
            self._answer(reply, pushed=True)
        else:
            self._owner.pushed(reply)

    def _answer(self, reply: Reply, pushed: bool) -> None:
        """Give an answer to the oldest command."""
        oldest = self._waiting[0] if self._waiting else None
        by_pushes = oldest is not None and oldest.pushes > 0
        if oldest is None or (pushed or not isinstance(reply, ErrorReply)) and pushed != by_pushes:
            self._misunderstood("an answer that no command asked for")
            return
        self._answered_at = self._heard_at
        if pushed:
            oldest.pushes -= 1
            if oldest.pushes:
                return
        self._waiting.popleft().arrive(reply)

    def _misunderstood(self, what: str) -> None:
        self.abort(BrokerLost(f"{self._name} does not answer as Redis does: {what}"))


def cause(error: BaseException | None) -> str:
    """Why a connection failed or ended, for an error message."""
    if error is None:
        return "it was closed"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {tls_cause(error)}"
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(error) or type(error).__name__
