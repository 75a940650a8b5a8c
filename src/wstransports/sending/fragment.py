"""A message sent in parts: `async with writer.fragment() as stream`."""

from types import TracebackType
from typing import Self

from wscore import DataType
from wscore.frames import payload_bytes
from wscore.sending import Data

from .outbox import Outbox


class Fragment:
    """One message, with a frame for each part and FIN on the last (RFC 6455 section 5.4).

    The first part decides the type. A part is sent when the next one is given or the block ends,
    because only then is it known whether it is the last. Other messages wait meanwhile; control
    frames do not. An exception that leaves the block closes the connection with 1011, because the
    message is not complete.
    """

    __slots__ = ("_compress", "_held", "_open", "_outbox", "_type")

    def __init__(self, outbox: Outbox, compress: bool | None) -> None:
        self._outbox = outbox
        self._compress = compress
        self._held: bytes | None = None  # the last part
        self._type = DataType.NONE
        self._open = False

    async def __aenter__(self) -> Self:
        await self._outbox.begin_message()
        self._open = True
        return self

    async def send(self, data: Data) -> None:
        """Send a part, str or bytes-like as the first one was, and wait for buffer space.

        Raises TypeError for another type, UnicodeEncodeError for a str that is not valid Unicode,
        ConnectionClosed if the connection is closed, RuntimeError outside the block.
        """
        if not self._open:
            raise RuntimeError("this message is not open: send its parts inside `async with`")
        if isinstance(data, str):
            type, part = DataType.TEXT, data.encode()
        else:
            type = DataType.BINARY
            part = payload_bytes(data, "a part of a message is str (text) or bytes-like (binary)")
        held = self._held
        if held is None:
            self._outbox.check_sending()
            self._held, self._type = part, type
            await self._outbox.checkpoint()
            return
        if type is not self._type:
            raise TypeError(
                "the parts of a message are all str or all bytes: this one began with"
                f" {'str' if self._type is DataType.TEXT else 'bytes'}"
            )
        self._held = part
        await self._outbox.send_fragment(held, False, type, self._compress)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        held, self._held = self._held, None
        self._open = False
        try:
            if kind is not None:
                if held is not None:
                    self._outbox.abort_message()
            elif held is None:
                await self._outbox.checkpoint()
            else:
                await self._outbox.send_fragment(held, True, self._type, self._compress)
        finally:
            self._outbox.lock.release(self._outbox.runtime)
