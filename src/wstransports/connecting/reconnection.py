"""One connection after another: what `async for client in connect(...)` steps over."""

import logging
import ssl as tls
from collections.abc import Awaitable, Callable
from typing import Self

from ..client import Client
from ..errors import HandshakeError
from ..options import CredentialsRefused
from ..runtime import Runtime, running, wait_for
from .attempt import Attempt
from .backoff import delays

logger = logging.getLogger("wstransports")

_WORTH_RETRYING = (429, 500, 502, 503, 504)

# By what an OSError that will come again was caused.
_FINAL = (tls.SSLError, CredentialsRefused)


def worth_retrying(error: Exception) -> bool:
    """Whether an attempt that failed with `error` may succeed later, as `connect` judges it.

    True where the network or the server may recover: OSError (TimeoutError is one), and a
    refusal with 429, 500, 502, 503 or 504. False for any other refusal, for what is no WebSocket
    server, where TLS failed, by a certificate that is not accepted for instance, and where a
    proxy refuses the credentials.
    """
    if isinstance(error, HandshakeError):
        return error.status in _WORTH_RETRYING
    return isinstance(error, OSError) and not isinstance(error.__cause__, _FINAL)


class Reconnection:
    """The iterator. A loop that is left refers to it no more, and that is how it knows.

    (An async generator would need hooks that not every loop has.) So nobody else may refer to it
    either, such as a frame that an exception's traceback keeps: it only passes calls on.
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
    """What the iterator does: `open` one, and the next."""

    def __init__(
        self,
        open: Callable[[], Awaitable[tuple[Attempt, Client]]],
        retry: Callable[[Exception], bool],
        runtime: Runtime,
    ) -> None:
        self._open = open
        self._retry = retry
        self._runtime = runtime
        self._attempt: Attempt | None = None  # the connection that the loop is at
        self._delays = delays()

    async def next(self) -> Client:
        """Close the last connection, wait, and open the next.

        Raises what `retry` does not call worth another attempt.
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
                logger.warning("%s; trying again in %.1f s", str(error), seconds)
                await self._pause(seconds)
            else:
                return client

    def leave(self) -> None:
        """Close the last connection, without waiting for that."""
        if self._attempt is None:
            return
        try:
            here = running()
        except RuntimeError:  # the loop has ended, and the connection with it
            return
        if here is self._runtime:
            self._attempt.close_in_background()

    async def _pause(self, seconds: float) -> None:
        await wait_for(self._runtime, self._runtime.signal(), seconds)
