"""What two ends of a connection owe each other: the simplest model of a conversation.

The fuzzer holds the core against this file. It does not use the library.
"""


def joined(part: str | bytes, more: str | bytes) -> str | bytes:
    """Two parts of a message, which are of one type."""
    if isinstance(part, str):
        assert isinstance(more, str)
        return part + more
    assert isinstance(more, bytes)
    return part + more


class Voice:
    """One end, as the other one must hear it."""

    def __init__(self) -> None:
        self.said: list[str | bytes] = []
        """The messages, in order."""
        self.part: str | bytes | None = None
        """The message that is not complete."""
        self.signals: list[tuple[str, bytes]] = []
        """The pings and pongs, in order."""
        self.close: tuple[int, str] | None = None
        """The Close, after which nothing is said."""

    def say(self, text: str | bytes, last: bool = True) -> None:
        """Say a message or a part of one."""
        if self.part is not None:
            text = joined(self.part, text)
        self.part = None
        if last:
            self.said.append(text)
        else:
            self.part = text

    def may_say(self, text: str | bytes, fragment: bool) -> bool:
        """Whether a message, or a part of one, may be said now."""
        if self.close is not None:
            return False
        return self.part is None or (fragment and type(self.part) is type(text))
