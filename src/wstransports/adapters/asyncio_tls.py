"""TLS on asyncio, whichever loop implements it: what waits for a handshake."""

import ssl
from typing import Any

from ..runtime import Runtime, Sink, wait_for
from ..tls_pipe import TlsPipe


class TlsHandshake:
    """The handshake of `pipe`, the TLS between a stream, whose sink it becomes, and `sink`."""

    def __init__(
        self,
        runtime: Any,
        sink: Sink,
        context: ssl.SSLContext,
        host: str | None = None,
        server_side: bool = False,
    ) -> None:
        self._runtime: Runtime = runtime
        self._over = runtime.signal()
        self._error: OSError | None = TimeoutError("it was not completed in time")
        self.pipe: TlsPipe = TlsPipe(sink, context, host, self._end, server_side)

    async def wait(self, seconds: float) -> None:
        """Wait until it is complete, at most `seconds` (0: no limit).

        Raises OSError if it fails.
        """
        await wait_for(self._runtime, self._over, seconds)
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:  # its traceback refers to this frame
                del error

    def _end(self, error: OSError | None) -> None:
        self._error = error
        self._over.set()
