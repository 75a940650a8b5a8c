"""The bytes that a stream has not taken: `Unsent`."""

from collections import deque

# Parts from so many bytes on are not copied, so that a large message to many peers that read slowly
# is held once. Shorter ones are gathered: many of them would take more than their bytes.
LONG = 16 * 1024


class Unsent:
    """Bytes in order."""

    __slots__ = ("_parts", "size")

    def __init__(self) -> None:
        self.size: int = 0
        self._parts: deque[memoryview | bytearray] = deque()

    def append(self, data: memoryview) -> None:
        """Add bytes, whose memory must not change."""
        self.size += len(data)
        last = self._parts[-1] if self._parts else b""
        if len(data) >= LONG:
            self._parts.append(data)
        elif isinstance(last, bytearray) and len(last) < LONG:
            last += data
        elif data:
            self._parts.append(bytearray(data))

    def first(self) -> memoryview | bytearray:
        """Bytes to send next."""
        return self._parts[0]

    def taken(self, size: int) -> None:
        """The stream took so many bytes of the first."""
        self.size -= size
        part = self._parts[0]
        if size == len(part):
            self._parts.popleft()
        elif isinstance(part, bytearray):
            del part[:size]
        else:
            self._parts[0] = part[size:]
