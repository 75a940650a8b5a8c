"""Sending to a peer: `client.writer`, a `WebSocketWriter`."""

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from json import dumps as json_dumps
from typing import Any

from wscore import DataType, LocalProtocolError, PreparedMessage, Reasons
from wscore.sending import Data

from ..receiving.buffer import Buffer
from .fragment import Fragment
from .json_text import json_text
from .outbox import Outbox
from .source import open_source

CHUNK = 65536


class WebSocketWriter:
    """Sends to one peer: `client.writer`.

    Every method except `close` raises ConnectionClosed once our Close is sent or the connection is
    lost; `pong` works until the peer's Close has arrived too. `force` is accepted for older
    programs and has no effect.
    """

    __slots__ = ("_outbox",)

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    @property
    def closed(self) -> bool:
        """Whether our Close is sent, or the connection is lost."""
        return not self._outbox.core.may_send

    async def send(
        self,
        data: Data | PreparedMessage,
        force: bool = False,
        *,
        compress: bool | None = None,
    ) -> None:
        """Send a message: str as text, bytes-like as binary (RFC 6455 section 5.6).

        This queues the message and waits for buffer space. Cancelling that wait does not take the
        message back. `compress` says whether to compress it, if compression was negotiated; None
        leaves that to `Deflate`'s threshold. A PreparedMessage has its own `compress`, and is
        framed and compressed once for many clients. Raises TypeError for any other data.
        """
        outbox = self._outbox
        if outbox.lock.holder is not None:
            await outbox.send_after_fragments(data, compress)
            return
        try:
            is_full = outbox.send(data, compress)
        except LocalProtocolError:
            raise outbox.closed_error() from None
        if is_full:
            await outbox.drain()

    async def send_json(
        self,
        data: Any,
        *,
        compress: bool | None = None,
        dumps: Callable[[Any], str | bytes] = json_dumps,
    ) -> None:
        """Send `data` as JSON, in a text message (RFC 8259, RFC 6455 section 5.6).

        `dumps` returns str, or bytes in UTF-8; `compress` is as for `send`. Raises TypeError if
        `dumps` returns anything else, and the exceptions of `dumps`; nothing is sent then.
        """
        await self.send(json_text(data, dumps), compress=compress)

    async def ping(self, payload: bytes | None = None) -> Awaitable[float]:
        """Send a ping (RFC 6455 section 5.5.2); returns its pong, to await.

        `latency = await (await writer.ping())` is the number of seconds until the pong came; it
        raises ConnectionClosed if the connection ends first. You need not await the pong: on_pong
        gets it too. A pong answers the first ping with its payload, and all pings before that one.
        `payload` has at most 125 bytes; by default it is random, which tells this ping from others.
        Raises ValueError for a longer one.
        """
        pong = self._outbox.send_ping(payload)
        await self._outbox.checkpoint()
        return pong

    async def pong(self, length: int, payload: bytes) -> None:
        """Answer a ping of `length` bytes with its `payload` (RFC 6455 5.5.3).

        Raises ValueError if `length` is not the payload's length, or more than 125; TypeError if
        `payload` is not bytes-like.
        """
        if not isinstance(payload, bytes | bytearray | memoryview):
            raise TypeError(
                "payload must be bytes-like and comes second: write pong(len(payload), payload)"
            )
        if length != len(payload):
            raise ValueError(
                f"payload has {len(payload)} bytes, not {length}: write pong(len(payload), payload)"
            )
        self._outbox.send_pong(payload)
        await self._outbox.checkpoint()

    async def close(self, code: int = Reasons.NORMAL, reason: str = "") -> None:
        """Close the connection and wait for that, as `Client.close` does."""
        await self._outbox.close(code, reason)
        await self._outbox.checkpoint()

    def fragment(self, *, compress: bool | None = None) -> Fragment:
        """Send a message in parts: `async with writer.fragment() as stream` (RFC 6455 5.4).

        Call `await stream.send(part)` in the block. Entering it waits until other fragmented
        messages have ended, and raises RuntimeError if this task is sending one already.
        `compress` is as for `send`, but None always compresses a message of two or more parts,
        because its size is not known yet.
        """
        return Fragment(self._outbox, compress)

    async def feed(
        self,
        source: Buffer | Iterable[Data] | AsyncIterable[Data],
        op_code: DataType | None = None,
        chunksize: int = CHUNK,
        drain_every: int = CHUNK,
        force: bool = False,
        *,
        compress: bool | None = None,
    ) -> None:
        """Send the contents of `source` as one message, in fragments (RFC 6455 section 5.4).

        Arguments:
            `source`: a Buffer (such as a reader), or an iterable of str or bytes, async or not.
            `op_code`: the message's type, DataType.TEXT or BINARY; None for the type of the
                reader or of the first piece.
            `chunksize`: the most bytes in a fragment of a Buffer.
            `drain_every`: wait for buffer space after this many bytes.
            `compress`: as for `fragment`.

        A source that supplies nothing for `timeout` seconds closes the connection with 1008, and
        one that raises in the middle of the message closes it with 1011. Raises TypeError for
        other sources or pieces, ValueError for sizes below 1 byte or for a text message with
        bytes that are not UTF-8, and the source's own exception.
        """
        if chunksize < 1 or drain_every < 1:
            raise ValueError("chunksize and drain_every must be at least 1 byte")
        await self._outbox.feed(open_source(source, op_code, chunksize), drain_every, compress)
