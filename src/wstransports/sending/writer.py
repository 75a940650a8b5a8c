"""What we send to a peer: `client.writer`."""

from collections.abc import AsyncIterable, Iterable

from wscore import DataType, LocalProtocolError, Reasons
from wscore.sending import Data

from ..receiving.buffer import Buffer
from .fragment import Fragment
from .outbox import Outbox
from .source import open_source

CHUNK = 65536


class WebSocketWriter:
    """Sends to one peer; never built by the user.

    Every method raises ConnectionClosed once the connection is over or our Close is sent.
    `force` is accepted for older programs and changes nothing: sends work until then anyway.
    """

    __slots__ = ("_outbox",)

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return not self._outbox.core.may_send

    async def send(self, data: Data, force: bool = False, *, compress: bool | None = None) -> None:
        """Send a message, str as text, bytes-like as binary (RFC 6455 section 5.6).

        Returns when it is queued in its order and there is room for more; a cancelled wait for
        room takes nothing back. `compress` says whether to compress it, where that was agreed
        on; None leaves it to the threshold. Raises TypeError for any other data.
        """
        outbox = self._outbox
        if outbox.lock.holder is not None:
            await outbox.send_after_fragments(data, compress)
            return
        try:
            outbox.core.send_message(data, compress)
        except LocalProtocolError:
            raise outbox.closed_error() from None
        if outbox.put():
            await outbox.drain()

    async def ping(self, payload: bytes = b"") -> None:
        """Ask for a sign of life, with 125 bytes at most; on_pong gets them back (5.5.2).

        Raises ValueError for more.
        """
        self._outbox.send_ping(payload)
        await self._outbox.checkpoint()

    async def pong(self, length: int, payload: bytes) -> None:
        """Answer a ping whose payload of `length` bytes was `payload` (RFC 6455 5.5.3).

        Raises ValueError where `length` is not the payload's, or over 125; TypeError for a
        payload that is not bytes-like.
        """
        if not isinstance(payload, bytes | bytearray | memoryview):
            raise TypeError(
                "a pong's payload is bytes-like and comes second: pong(len(payload), payload)"
            )
        if length != len(payload):
            raise ValueError(
                f"the payload has {len(payload)} bytes, not {length}: pong(len(payload), payload)"
            )
        self._outbox.send_pong(payload)
        await self._outbox.checkpoint()

    async def close(self, code: int = Reasons.NORMAL, reason: str = "") -> None:
        """Close the connection and wait until it is over: see `Client.close`."""
        await self._outbox.close(code, reason)
        await self._outbox.checkpoint()

    def fragment(self) -> Fragment:
        """A message in parts: `async with writer.fragment() as stream: await stream.send(...)`.

        Entering waits for its turn, and raises RuntimeError where the same task is amid another
        fragmented message (RFC 6455 section 5.4).
        """
        return Fragment(self._outbox)

    async def feed(
        self,
        source: Buffer | Iterable[Data] | AsyncIterable[Data],
        op_code: DataType | None = None,
        chunksize: int = CHUNK,
        drain_every: int = CHUNK,
        force: bool = False,
    ) -> None:
        """Send what `source` holds or brings as one message, in fragments as it arrives.

        `source` is a Buffer (a reader, say), or an iterable of str or bytes, asynchronous or
        not; no fragment of a Buffer is longer than `chunksize` bytes. `op_code` TEXT or BINARY
        is the message's type, by default the reader's, or that of the first piece. After each
        `drain_every` bytes it waits for room. A source that brings nothing for the server's
        `timeout` fails this connection with 1008; one that raises, with 1011 (RFC 6455 5.4).
        Raises TypeError for what it cannot send, ValueError for sizes below 1 or for bytes that
        are to be text and are not.
        """
        if chunksize < 1 or drain_every < 1:
            raise ValueError("chunksize and drain_every are numbers of bytes from 1")
        await self._outbox.feed(open_source(source, op_code, chunksize), drain_every)
