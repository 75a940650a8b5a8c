"""A message for many connections: framed once, and compressed once for equal settings."""

from collections.abc import Hashable

from .enums import DataType
from .extensions.negotiated import NegotiatedExtensions
from .frames import FIN, encode_frame, payload_bytes
from .utf8 import encode


class PreparedMessage:
    """A message that many server connections send: pass it to their `send_prepared`.

    `data` is str (text) or bytes-like (binary), RFC 6455 section 5.6; `payload` is the same as
    bytes. `compress` says whether to compress it; None leaves that to the extension's threshold.
    Raises TypeError for any other data.
    """

    __slots__ = ("_frames", "_opcode", "compress", "data", "payload")

    def __init__(
        self, data: str | bytes | bytearray | memoryview, compress: bool | None = None
    ) -> None:
        if isinstance(data, str):
            self._opcode = DataType.TEXT
            self.payload = encode(data)
        else:
            self._opcode = DataType.BINARY
            self.payload = payload_bytes(data, "a message is str (text) or bytes-like (binary)")
        self.data = data if isinstance(data, str) else self.payload
        self.compress = compress
        self._frames: dict[Hashable, bytes] = {}

    def frame(self, negotiated: NegotiatedExtensions) -> bytes:
        """The complete frame for a connection with these negotiated extensions."""
        frame = self._frames.get(negotiated.cache_key)
        if frame is None:
            bits, payload = negotiated.encode_stateless(self.payload, self.compress)
            frame = b"".join(encode_frame(FIN | bits | self._opcode, payload, None))
            self._frames[negotiated.cache_key] = frame
        return frame
