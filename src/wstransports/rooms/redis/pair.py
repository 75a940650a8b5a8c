"""The two connections to a server, one for commands and one for pushes, kept up."""

import logging
import ssl as tls
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from ...connecting.backoff import backoff
from ...log import LoggerLike, log
from ...runtime import Runtime, Signal, Task, wait_for
from ...tls import default_context, kept_default_context
from ..broker import BrokerLost
from .greeting import Run, greet, look_around
from .link import Command, Link, cause
from .resp import ErrorReply, Push
from .url import RedisURL

# Seconds to wait before connecting again: at first, and at most.
FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0

# The seconds after which a connection has lasted, so that the delays start over.
LASTING = 10.0

# The channels of one SUBSCRIBE.
CHANNELS = 500


# The server cannot serve now, and another connection may lead to one that can.
_ELSEWHERE = ("LOADING", "MASTERDOWN", "READONLY")


class PairOwner(Protocol):
    """What a pair needs of its owner."""

    def channels(self) -> list[bytes]:
        """What to subscribe to on a new connection."""

    def pushed(self, push: Push) -> None:
        """The server sent a push."""

    def lost(self, error: BrokerLost) -> None:
        """The connections are lost."""

    def recovered(self) -> None:
        """There are new ones, subscribed to all channels."""


class Pair:
    """Two connections that are lost together and return together, until `close`.

    Pushes have a connection of their own: the server drops one on which too many wait, and a large
    answer must not be what they wait for.
    """

    def __init__(
        self,
        url: RedisURL,
        context: tls.SSLContext | None,
        seconds: float,
        logger: LoggerLike | None,
        owner: PairOwner,
    ) -> None:
        self._url = url
        self._ssl = context
        self._seconds = seconds
        self._logger = logger
        self._owner = owner
        self.pushed = owner.pushed
        self._runtime: Runtime
        self._group: Any = None
        self.run: Run = Run("", keeps=False)
        """The run of the server that is connected."""
        self._links: tuple[Link, Link] | None = None  # commands, pushes
        self._why = BrokerLost(f"{url} is not connected")
        self.is_open: bool = False
        """From `open` to `close`."""
        self._returning: Task | None = None  # connects again
        self._returned: Signal
        self._dialling = False

    async def open(self, runtime: Runtime, group: Any) -> None:
        """Connect. Raises BrokerLost if that fails."""
        self.is_open = True
        self._runtime, self._group = runtime, group
        self._closing = runtime.signal()
        self._delays = backoff(FIRST_DELAY, LONGEST_DELAY)
        try:
            await self._connect()
        except BaseException:
            self.is_open = False
            raise

    async def close(self) -> None:
        """Drop the connections, and connect no more."""
        if not self.is_open:
            return
        self.is_open = False
        self._why = BrokerLost(f"{self._url} is not connected: the broker is closed")
        self._closing.set()
        if self._returning is not None:
            if self._dialling:  # otherwise its task sees that this is closed, or has not begun
                self._returning.cancel()
            with self._runtime.shield():
                await wait_for(self._runtime, self._returned, self._seconds)
        await self._drop()

    @contextmanager
    def asking(self, pushes: bool = False) -> Iterator[Link]:
        """Use the connection for commands, or that for pushes: only to ask, and to read answers.

        Raises BrokerLost if there is none, and for answers that are errors or not as expected.
        """
        link = self._both()[1 if pushes else 0]
        try:
            yield link
        except ErrorReply as error:
            lost = BrokerLost(f"{self._url} answers with an error: {error}")
            if error.code in _ELSEWHERE:
                link.abort(lost)
            raise lost from error
        except (AttributeError, TypeError, ValueError) as error:
            raise BrokerLost(f"{self._url} does not answer as Redis does: {error}") from error

    def _both(self) -> tuple[Link, Link]:
        if self._links is None:
            raise BrokerLost(str(self._why)) from self._why
        return self._links

    # As the owner of the links.

    def link_lost(self, link: Link, error: BrokerLost) -> None:
        """One of the two is lost, so both are."""
        links = self._links
        if links is None or link not in links:
            return
        self._links = None
        self._why = error
        if self._runtime.now() - self._connected_at >= LASTING:
            self._delays = backoff(FIRST_DELAY, LONGEST_DELAY)
        for other in links:
            other.abort(error)
        self._returned = self._runtime.signal()
        self._returning = self._runtime.spawn(self._return(), self._group)
        self._owner.lost(error)

    # Inside.

    async def _drop(self) -> None:
        links, self._links = self._links, None
        for link in links or ():
            await link.drop()

    async def _return(self) -> None:
        """Connect until that works, or until `close`."""
        try:
            last = ""
            while True:
                await wait_for(self._runtime, self._closing, next(self._delays))
                if not self.is_open:
                    return
                try:
                    await self._connect()
                    self._owner.recovered()
                    return
                except BrokerLost as error:
                    level = logging.DEBUG if str(error) == last else logging.WARNING
                    last = str(error)
                    log(self._logger, level, "%s; trying again", last)
                except Exception as error:  # noqa: BLE001  # a mistake must not end the attempts
                    what = "an error in connecting again; trying again"
                    log(self._logger, logging.ERROR, what, error=error)
                    await self._drop()
        finally:
            self._returning = None
            self._returned.set()

    async def _connect(self) -> None:
        """Connect both, and subscribe to the owner's channels. Raises BrokerLost."""
        runtime = self._runtime
        links = self._new_link(), self._new_link()
        self._dialling = True
        try:
            try:
                async with runtime.timeout_at(runtime.now() + self._seconds):
                    await self._dial(*links)
            except TimeoutError as error:
                text = f"{self._url} has not answered for {self._seconds:g} s"
                raise BrokerLost(text) from error
            await self._subscribe(links[1])
            for link in links:
                link.send()  # raises if it is lost meanwhile
        except BaseException:
            for link in links:
                await link.drop()
            raise
        finally:
            self._dialling = False
        self._links = links
        self._connected_at = runtime.now()

    def _new_link(self) -> Link:
        return Link(self._runtime, self, self._seconds, str(self._url), self._logger)

    async def _dial(self, commands: Link, pushes: Link) -> None:
        """Connect both, and log in."""
        context = await self._tls_context() if self._url.secure else None
        address = self._url.address(context, self._seconds)
        for link in (commands, pushes):
            try:
                await self._runtime.connect(address, link, self._group)
            except OSError as error:
                text = f"cannot connect to {self._url}: {cause(error)}"
                raise BrokerLost(text) from error
            await greet(link, self._url)
        self.run = await look_around(commands, self._url)

    async def _tls_context(self) -> tls.SSLContext:
        context = self._ssl or kept_default_context()
        return await self._runtime.in_thread(default_context) if context is None else context

    async def _subscribe(self, pushes: Link) -> None:
        """Subscribe to the owner's channels as they are when this returns."""
        channels = self._owner.channels()
        starts = range(0, len(channels), CHANNELS)
        commands: list[Command] = [("SUBSCRIBE", *channels[i : i + CHANNELS]) for i in starts]
        for answer in pushes.send(*commands):
            try:
                await answer.get()
            except ErrorReply as error:
                raise BrokerLost(f"{self._url} answers SUBSCRIBE with {error}") from error
        left = set(channels).difference(self._owner.channels())
        if left:
            pushes.send(("UNSUBSCRIBE", *left))
