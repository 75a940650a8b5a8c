"""Reconnecting: `async for client in connect(...)`."""

import logging
import ssl as tls
from collections.abc import Awaitable, Callable
from typing import Self

from ..client import Client
from ..errors import HandshakeError
from ..log import log
from ..runtime import CredentialsRefused, Runtime, running, wait_for
from .attempt import Attempt
from .backoff import delays

_WORTH_RETRYING = (429, 500, 502, 503, 504)

# Causes of an OSError that will not go away by itself.
_FINAL = (tls.SSLError, CredentialsRefused)


def worth_retrying(error: Exception) -> bool:
    """Whether connecting may succeed later, after it failed with `error`.

    This is the default of `connect`'s `retry`. It returns True for errors from which the network
    or the server may recover: OSError with its subclass TimeoutError, and a refusal with status
    429, 500, 502, 503 or 504. It returns False for any other refusal, for a server that does not
    speak WebSocket, for a failure of TLS such as a rejected certificate, and for a proxy that
    rejects the credentials.
    """
    if isinstance(error, HandshakeError):
        return error.status in _WORTH_RETRYING
    return isinstance(error, OSError) and not isinstance(error.__cause__, _FINAL)


class Reconnection:
    """The iterator: it closes the last connection when the `async for` loop drops it.

    It only passes calls on, because a traceback that kept a frame of its own would keep it alive.
    An async generator would need hooks that not every loop has.
    """

    def __init__(self, connections: "Connections") -> None:
        self._connections = connections

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[Client]:
        return self._connections.next()

    def __del__(self) -> None:
        self._connections.leave()


class Connections:
    """Opens one connection after another, for the iterator."""

    def __init__(
        self,
        open: Callable[[], Awaitable[tuple[Attempt, Client]]],
        retry: Callable[[Exception], bool],
        runtime: Runtime,
    ) -> None:
        self._open = open
        self._retry = retry
        self._runtime = runtime
        self._attempt: Attempt | None = None  # of the current connection
        self._delays = delays()

    async def next(self) -> Client:
        """Close the last connection, wait, and open the next one.

        Raises the first error that `retry` rejects.
        """
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            await attempt.close()
            self._delays = delays()
            await self._pause(next(self._delays))
        while True:
            try:
                self._attempt, client = await self._open()
            except Exception as error:
                if not self._retry(error):
                    raise
                seconds = next(self._delays)
                log(logging.WARNING, "%s; trying again in %.1f s", str(error), seconds)
                await self._pause(seconds)
            else:
                return client

    def leave(self) -> None:
        """Close the last connection in the background."""
        if self._attempt is None:
            return
        try:
            here = running()
        except RuntimeError:  # the loop has ended, and with it the connection
            return
        if here is self._runtime:
            self._attempt.close_in_background()

    async def _pause(self, seconds: float) -> None:
        await wait_for(self._runtime, self._runtime.signal(), seconds)
