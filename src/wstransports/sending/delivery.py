"""A broadcast's message to one client without buffer space."""

from wscore import PreparedMessage

from ..runtime import Signal
from .outbox import Outbox


class Delivery:
    """The message to one client: it is sent, or waits until a fragmented message ends."""

    __slots__ = ("_done", "_full", "_message", "_outbox", "_sent")

    def __init__(self, outbox: Outbox, message: PreparedMessage) -> None:
        self._outbox = outbox
        self._message = message
        self._sent = False
        self._full = outbox.pipe.full  # after it was sent
        self._done: Signal | None = None  # set once it was sent after a wait, or cannot be

    def start(self) -> None:
        """Send it now, or after the fragmented message."""
        outbox = self._outbox
        if outbox.lock.holder is None:
            self._send()
        else:
            self._done = outbox.runtime.signal()
            outbox.held_back += len(self._message.payload)
            outbox.lock.enqueue(self)

    def set(self) -> None:
        """As a Waiter: the lock is free, or closed."""
        self._outbox.held_back -= len(self._message.payload)
        if self._outbox.core.may_send:
            try:
                self._send()
            except Exception as error:  # noqa: BLE001  # an extension may raise anything
                self._outbox.broadcast_failed(error)
        assert self._done is not None
        self._done.set()

    async def wait(self) -> None:
        """Wait until it is sent and there is buffer space. Raises ConnectionClosed."""
        if self._done is not None:
            await self._done.wait()
            if not self._sent:
                raise self._outbox.closed_error()
        if self._full:
            await self._outbox.drain()

    def cancel(self) -> None:
        """Do not send it, unless it is sent."""
        if self._done is not None and self._outbox.lock.remove(self):
            self._outbox.held_back -= len(self._message.payload)

    def _send(self) -> None:
        self._outbox.core.send_prepared(self._message)
        self._sent = True
        self._outbox.put()
        self._full = self._outbox.pipe.full
        self._outbox.update_congestion()
