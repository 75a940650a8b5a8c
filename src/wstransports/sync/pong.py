"""The pong that answers a ping: what `client.ping()` returns."""

from collections.abc import Awaitable, Callable

from ..client import checked_timeout
from ..sending.pongs import AwaitedPong


class Pong:
    """The answer to one ping. Any thread may wait for it (RFC 6455 section 5.5.3)."""

    def __init__(
        self,
        pong: AwaitedPong,
        call: Callable[[Callable[[float | None], Awaitable[float]], float | None], float],
    ) -> None:
        self._pong = pong
        self._call = call

    def wait(self, timeout: float | None = None) -> float:
        """Wait for the pong; returns the seconds from the ping to it.

        Raises TimeoutError after `timeout` seconds (0 does not wait), and ConnectionClosed if the
        connection ends first. It may be called again.
        """
        if timeout is not None:
            checked_timeout(timeout)
        return self._call(self._wait, timeout)

    async def _wait(self, timeout: float | None) -> float:
        return await (self._pong if timeout is None else self._pong.within(timeout))
