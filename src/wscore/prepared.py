"""A message for many connections: framed once, and compressed once for equal settings."""

from collections.abc import Hashable

from .enums import DataType
from .extensions.negotiated import NegotiatedExtensions
from .frames import FIN, encode_frame, payload_bytes
from .utf8 import encode


class PreparedMessage:
    """A message for many connections; server connections share its frame.

    `data` is str (text) or bytes-like (binary), RFC 6455 section 5.6; `payload` is the same as
    bytes. `compress` says whether to compress it; None leaves that to the extension's threshold.
    Raises TypeError for any other data. Pass it to `send_message` or `send_prepared` of any number
    of connections, with any extensions, also in several threads.
    """

    __slots__ = ("_frames", "_latest", "_opcode", "compress", "data", "payload")

    def __init__(
        self, data: str | bytes | bytearray | memoryview, compress: bool | None = None
    ) -> None:
        if isinstance(data, str):
            self._opcode = DataType.TEXT
            self.payload: bytes = encode(data)
        else:
            self._opcode = DataType.BINARY
            self.payload = payload_bytes(data, "a message is str (text) or bytes-like (binary)")
        self.data: str | bytes = data if isinstance(data, str) else self.payload
        self.compress: bool | None = compress
        self._frames: dict[Hashable, bytes] = {}
        # What `frame` was last called with, and what it returned: most often the next call's too.
        self._latest: tuple[NegotiatedExtensions | None, bytes] = None, b""

    def frame(self, negotiated: NegotiatedExtensions) -> bytes:
        """The complete frame for a connection with these negotiated extensions."""
        frame = self._frames.get(negotiated.cache_key)
        if frame is None:
            bits, payload = negotiated.encode_stateless(self.payload, self.compress)
            frame = b"".join(encode_frame(FIN | bits | self._opcode, payload, None))
            self._frames[negotiated.cache_key] = frame
        self._latest = negotiated, frame
        return frame


def prepared(
    message: PreparedMessage | str | bytes | bytearray | memoryview, compress: bool | None
) -> PreparedMessage:
    """A message as a PreparedMessage, which has its own `compress`. Raises TypeError."""
    if not isinstance(message, PreparedMessage):
        return PreparedMessage(message, compress)
    if compress is not None:
        raise TypeError(
            f"compress={compress!r}: a PreparedMessage has its own; pass it to PreparedMessage()"
        )
    return message
