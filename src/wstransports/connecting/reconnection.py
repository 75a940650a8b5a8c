"""Reconnecting: `async for client in connect(...)`."""

import logging
import ssl as tls
from collections.abc import Awaitable, Callable, Iterable
from typing import Self

from ..client import Client
from ..errors import HandshakeError
from ..log import LoggerLike, log
from ..runtime import CredentialsRefused, Runtime, checkpoint, running, wait_for
from .attempt import Attempt
from .backoff import checked_seconds, retry_after
from .uri import URI

# The seconds after which a connection has lasted, so that the delays start over: a server that
# accepts connections only to close them is overloaded.
LASTING = 10.0

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
    """The iterator of `async for client in connect(...)`.

    Leaving the loop drops it, and so starts the closing handshake of the last connection, where
    the interpreter counts references. `aclose()` does so for certain, and waits for its end:
    `async with contextlib.aclosing(aiter(connect(...))) as clients`.

    It only passes calls on, because a traceback that kept a frame of its own would keep it alive.
    An async generator would need hooks that not every loop has, and finish in a task of its own.
    """

    def __init__(self, connections: "Connections") -> None:
        self._connections = connections

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[Client]:
        return self._connections.next()

    def aclose(self) -> Awaitable[None]:
        """Close the last connection, and wait until it has ended, for a bounded time; no other
        follows."""
        return self._connections.close()

    def __del__(self) -> None:
        self._connections.leave()


class Connections:
    """Opens one connection after another, for the iterator."""

    def __init__(
        self,
        uri: URI,
        open: Callable[[int], Awaitable[tuple[Attempt, Client]]],
        retry: Callable[[Exception], bool],
        delays: Callable[[], Iterable[float]],
        runtime: Runtime,
        logger: LoggerLike | None,
    ) -> None:
        self._uri = uri
        self._open = open
        self._retry = retry
        self._new_delays = delays
        self._delays = iter(delays())
        self._runtime = runtime
        self._logger = logger
        self._number = 0  # of the attempt
        self._attempt: Attempt | None = None  # of the current connection
        self._closed = False

    async def next(self) -> Client:
        """Close the last connection, wait, and open the next one.

        Raises the first error that `retry` rejects, or the last one when the delays end.
        """
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            await attempt.close()
            ended = attempt.closed_error()
            if attempt.lasted() >= LASTING:
                self._delays = iter(self._new_delays())
            await self._pause(ended, logging.INFO, f"{self._uri} closed with {ended}; connecting")
        while not self._closed:
            self._number += 1
            try:
                self._attempt, client = await self._open(self._number)
            except Exception as error:
                if not self._retry(error):
                    raise
                response = error.response if isinstance(error, HandshakeError) else None
                await self._pause(error, logging.WARNING, f"{error}; trying", retry_after(response))
            else:
                await self._attempt.end_with_loop()
                return client
        await checkpoint(self._runtime)
        raise StopAsyncIteration

    async def close(self) -> None:
        """Close the last connection; see `Reconnection.aclose`."""
        self._closed = True
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            await checkpoint(self._runtime)
        else:
            await attempt.close()

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

    async def _pause(self, error: Exception, level: int, text: str, least: float = 0.0) -> None:
        """Wait for the next delay, at least `least` seconds. Raises `error` if there is none."""
        if self._closed:
            return
        delay = next(self._delays, None)
        if delay is None:
            raise error
        seconds = max(checked_seconds(delay), least)
        log(self._logger, level, "%s again in %.1f s", text, seconds)
        if seconds:
            await wait_for(self._runtime, self._runtime.signal(), seconds)
