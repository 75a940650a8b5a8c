"""Sending a room's messages to its members in this process."""

from collections.abc import Iterable
from typing import Any

from wscore import PreparedMessage

from ..broadcast import Policy, Sending, slice_end
from ..client import Client
from ..runtime import Runtime, Signal, checkpoint

# The most messages that are on their way to members in slices; another is sent in one go.
MOST = 16


class Announcer:
    """Broadcasts from code that is not async, in slices nevertheless."""

    def __init__(self, runtime: Runtime, group: Any, policy: Policy) -> None:
        self._runtime = runtime
        self._group = group
        self._policy = policy
        self._unfinished = 0
        self._last: Signal | None = None  # set when the last message has gone to all
        self._late = False  # a member has no buffer space

    def send(self, members: Iterable[Client], message: PreparedMessage) -> None:
        """Send to all members: to the first of many now, to the others soon, in order."""
        sending = Sending(list(members), message, self._policy, self._runtime)
        if sending.begin(slice_end(self._runtime)):
            if self._unfinished < MOST:
                self._send_later(sending)
            else:
                sending.send_all()
        self._late = self._late or bool(sending.late)

    def catch_up(self, client: Client) -> None:
        """Send to this one now what is on its way to it."""
        for sending in list(self._runtime.batch.unfinished):
            sending.catch_up([client])

    async def settle(self) -> None:
        """Wait until all is sent, and let members that have no buffer space take something: a loop
        of publishing must not make its members slow."""
        if self._last is not None:
            await self._last.wait()
        if self._late:
            self._late = False
            await self._runtime.checkpoint()
        else:
            await checkpoint(self._runtime)

    def _send_later(self, sending: Sending) -> None:
        sending.pause()
        self._unfinished += 1
        self._last = last = self._runtime.signal()
        self._runtime.spawn(self._send_rest(sending, last), self._group)

    async def _send_rest(self, sending: Sending, over: Signal) -> None:
        try:
            await sending.send_rest()
        finally:
            self._unfinished -= 1
            self._late = self._late or bool(sending.late)
            over.set()
            if self._last is over:
                self._last = None
