"""A connection that instruments watch; any other pays nothing for that."""

from collections.abc import Callable
from contextvars import Context
from functools import partial

from wscore import ClientConnection, PreparedMessage, Reasons, ServerConnection, State
from wscore.metering import MeteredClientConnection, MeteredServerConnection

from ..callbacks import Callbacks
from ..errors import Peer
from ..identity import Identity
from ..instruments import Instruments
from ..options import ConnectionOptions
from ..runtime import Runtime
from ..sending.outbox import Link, Outbox
from .control import Control
from .limited_session import LimitedSession
from .session import Owner, Session


class Watch:
    """Reports one connection to its instruments; it is the Meter of the core too."""

    __slots__ = ("_client", "_early", "_now", "_opened_at", "_report")

    def __init__(
        self, instruments: Instruments, identity: Identity, now: Callable[[], float]
    ) -> None:
        self._report = partial(instruments.call, identity)
        self._now = now
        self._client: Peer | None = None  # while the connection is open
        self._opened_at = 0.0
        self._early: list[tuple[int, int]] = []  # messages that came with the 101

    def opened(self, client: Peer) -> None:
        """The connection is open."""
        self._client = client
        self._opened_at = self._now()
        self._report("opened", client)
        early, self._early = self._early, []
        for sizes in early:
            self.message_received(*sizes)

    def rejected(self, status: int, reason: str) -> None:
        """The opening handshake led to no connection."""
        self._report("rejected", status, reason)

    def closed(self, code: Reasons | int) -> None:
        """The connection is closed."""
        client, self._client = self._client, None  # the client refers to us
        self._report("closed", client, int(code), self._now() - self._opened_at)

    def message_received(self, size: int, wire_size: int) -> None:
        """As a Meter."""
        if self._client is None:
            self._early.append((size, wire_size))
        else:
            self._report("message_received", self._client, size, wire_size)

    def message_sent(self, size: int, wire_size: int) -> None:
        """As a Meter."""
        self._report("message_sent", self._client, size, wire_size)

    def waiting(self, size: int) -> None:
        """So many bytes wait for the peer."""
        if self._client is not None:
            self._report("waiting", self._client, size)

    def dropped(self, size: int) -> None:
        """A broadcast's message was not sent."""
        self._report("dropped", self._client, size)


class WatchedControl(Control):
    """A Control that reports the end of the connection."""

    __slots__ = ("watch",)

    watch: Watch

    def closed(self, code: Reasons | int, reason: str) -> None:
        """As a Control."""
        self.watch.closed(code)
        super().closed(code, reason)


class WatchedOutbox(Outbox):
    """An Outbox that reports the bytes that wait for the peer, and the messages left out."""

    __slots__ = ("_congested", "callbacks", "watch")

    callbacks: Callbacks
    watch: Watch

    def __init__(
        self,
        link: Link,
        core: ServerConnection | ClientConnection,
        runtime: Runtime,
        timeout: float,
    ) -> None:
        super().__init__(link, core, runtime, timeout)
        self._congested = False  # as it was reported

    def flush(self) -> None:
        """As an Outbox."""
        super().flush()
        self._report_congestion()

    def try_send(self, message: PreparedMessage, at_once: bool, most: int | None) -> bool:
        """As an Outbox."""
        sent = super().try_send(message, at_once, most)
        self._report_congestion()
        return sent

    def leave_out(self, message: PreparedMessage) -> None:
        """As an Outbox."""
        self.watch.dropped(len(message.payload))

    def _report_congestion(self) -> None:
        if self.pipe.full and not self._congested and not self.link.lost:
            self._congested = True
            self.watch.waiting(self.pipe.waiting())
            self.callbacks.start(self._report_space)

    async def _report_space(self) -> None:
        await self.pipe.drain()
        self._congested = False
        self.watch.waiting(self.pipe.waiting())


class WatchedSession(Session):
    """A Session that reports to instruments."""

    __slots__ = ()

    control: WatchedControl
    outbox: WatchedOutbox
    outbox_class = WatchedOutbox
    control_class = WatchedControl

    def __init__(
        self,
        core: ServerConnection | ClientConnection,
        runtime: Runtime,
        options: ConnectionOptions,
        owner: Owner,
        context: Context,
    ) -> None:
        super().__init__(core, runtime, options, owner, context)
        watch = Watch(options.instrumentation, self.identity, runtime.now)
        if isinstance(core, MeteredServerConnection | MeteredClientConnection):
            core.report_to(watch)
        self.outbox.callbacks = self.callbacks
        self.control.watch = self.outbox.watch = watch

    def connection_lost(self, exc: Exception | None) -> None:
        """As a Sink."""
        if not hasattr(self, "pipe"):  # it was never connected
            self.control.watch.rejected(0, "tls")
        super().connection_lost(exc)

    def open(self, client: Peer) -> None:
        """As a Session."""
        self.control.watch.opened(client)
        super().open(client)

    def callback_failed(self) -> None:
        """As a Link."""
        if self.core.state is State.CONNECTING:
            self.control.watch.rejected(500, "error")
        super().callback_failed()


class WatchedLimitedSession(WatchedSession, LimitedSession):
    """A LimitedSession that reports to instruments."""

    __slots__ = ()
