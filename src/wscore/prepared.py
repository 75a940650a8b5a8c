"""A message for many: framed once, and compressed once for all who agreed on the same."""

from collections.abc import Hashable, Sequence

from .enums import DataType
from .extensions import Codec
from .frames import FIN, encode_frame, payload_bytes


class PreparedMessage:
    """A message that many server connections send: give it to their `send_prepared`.

    `data` is str (text) or bytes-like (binary), RFC 6455 section 5.6; `payload` are its bytes.
    `compress` says whether to compress, None leaves it to the threshold. Raises TypeError for any
    other data.
    """

    __slots__ = ("_frames", "_opcode", "compress", "data", "payload")

    def __init__(
        self, data: str | bytes | bytearray | memoryview, compress: bool | None = None
    ) -> None:
        if isinstance(data, str):
            self._opcode = DataType.TEXT
            self.payload = data.encode()
        else:
            self._opcode = DataType.BINARY
            self.payload = payload_bytes(data, "a message is str (text) or bytes-like (binary)")
        self.data = data if isinstance(data, str) else self.payload
        self.compress = compress
        self._frames: dict[Hashable, tuple[int, bytes]] = {}

    def frame(self, codecs: Sequence[Codec]) -> bytes:
        """The whole frame for a connection that goes through `codecs`."""
        key = tuple([(codec.__class__, codec.alike) for codec in codecs]) if codecs else ()
        made = self._frames.get(key)
        if made is None:
            head, payload = FIN | self._opcode, self.payload
            for codec in codecs:
                bits, payload = codec.encode_alone(payload, self.compress)
                head |= bits
            made = self._frames[key] = head, b"".join(encode_frame(head, payload, None))
        head, frame = made
        for codec in codecs:
            if codec.bits & head:
                codec.sent_alone()
        return frame
