"""Explaining bytes that one side sent: `explain`."""

from ..frames import payload_bytes
from .explained import Explained, shown_bytes
from .frame import FrameExplainer, Sender
from .head import NO_HEAD_BITS, ExplainedHead, begins_head

# How records of TLS begin: the handshake, and data. As a frame, that has a reserved opcode.
_TLS = (b"\x16\x03", b"\x17\x03")
_ENCRYPTED = "these bytes are encrypted: capture what is inside TLS (RFC 8446, 5.1)"


def explain(data: bytes | bytearray | memoryview, sender: Sender | None = None) -> list[Explained]:
    """Explain the bytes of one direction, frame by frame (RFC 6455 section 5.2).

    `data` are frames, with or without the HTTP head before them, whole or cut short, valid or
    not. `sender` is "client" or "server"; None to take it from the head. Without either, all frames
    must be masked, or none. Print the result a part a line: `print(*explain(data), sep="\\n")`.
    Compressed messages are shown inflated, up to 16 MiB in all. Raises TypeError unless `data` is
    bytes-like, ValueError for another `sender`. The content of `data` never raises.
    """
    if sender not in ("client", "server", None):
        raise ValueError(f'sender must be "client", "server" or None, not {sender!r}')
    data = payload_bytes(data, "what to explain must be bytes-like")
    parts: list[Explained] = []
    offset = 0
    bits = NO_HEAD_BITS
    frames_follow = True
    while begins_head(data, offset):
        head = ExplainedHead(data, offset)
        parts += head.parts
        offset, bits, frames_follow = head.stop, head.bits, head.opens
        sender = sender or head.sender
    if not frames_follow:
        if offset < len(data):
            body = {"data": shown_bytes(data[offset:])}
            parts.append(Explained(offset, len(data) - offset, "body", body))
        return parts
    if data.startswith(_TLS):
        return [Explained(0, len(data), "TLS", {"data": shown_bytes(data)}, (_ENCRYPTED,))]
    frames = FrameExplainer(sender, bits)
    while offset < len(data):
        parts.append(frames.explain(data, offset))
        offset += parts[-1].size
    return parts
