"""What the program prints: messages to stdout, and what happens to stderr.

On a terminal, a message is one line, and what does not print is escaped, so that a peer cannot act
on the terminal. Elsewhere a message is written as it is.
"""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import TextIO

from wscore.reasons import printable

# The most characters of a message on a terminal, and bytes of a binary one.
MOST_SHOWN = 2000
MOST_BYTES = 64

Spans = list[tuple[str, str]]  # texts, each with a style of rich's


class Screen:
    """The two streams of a terminal program."""

    def __init__(self) -> None:
        self.is_terminal: bool = sys.stdout.isatty()
        """Whether stdout is a terminal."""
        self._out = _printer(sys.stdout)
        self._err = _printer(sys.stderr)

    def status(self, text: str) -> None:
        """Print what happened."""
        self._err([(f"* {printable(text, MOST_SHOWN)}", "dim")])

    def error(self, text: str) -> None:
        """Print what went wrong."""
        self._err([(f"wstransports: {printable(text, MOST_SHOWN)}", "bold red")])

    def line(self, text: str, style: str = "") -> None:
        """Print a line of output."""
        self._out([(printable(text, sys.maxsize), style)])

    def sent(self, message: str | bytes) -> None:
        """Show a message that was sent, on a terminal."""
        if self.is_terminal:
            self._show(">", "green", message)

    def received(self, message: str | bytes) -> None:
        """Show a message, or write it: text with a line break, binary as it is."""
        if self.is_terminal:
            self._show("<", "cyan", message)
            return
        data = message if isinstance(message, bytes) else message.encode() + b"\n"
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def _show(self, direction: str, style: str, message: str | bytes) -> None:
        kind = "text" if isinstance(message, str) else "binary"
        size = len(message.encode() if isinstance(message, str) else message)
        now = datetime.now().strftime("%H:%M:%S.%f")[:-3]
        self._out(
            [
                (f"{now} ", "dim"),
                (f"{direction} ", f"bold {style}"),
                (f"{kind} {size} B  ", "dim"),
                (shown(message), style),
            ]
        )


def shown(message: str | bytes) -> str:
    """A message on one line, shortened: text escaped, bytes in hex."""
    if isinstance(message, str):
        more = "..." if len(message) > MOST_SHOWN else ""
        return printable(message[:MOST_SHOWN], sys.maxsize) + more
    more = "..." if len(message) > MOST_BYTES else ""
    return message[:MOST_BYTES].hex(" ") + more


def _printer(stream: TextIO) -> Callable[[Spans], None]:
    """What prints a line to stdout or stderr: in colour if that is a terminal and rich is here."""
    is_out = stream is sys.stdout
    is_terminal = stream.isatty()

    def current() -> TextIO:
        # The prompt replaces both, so that lines appear above it.
        return (sys.stdout if is_out else sys.stderr) if is_terminal else stream

    def plain(spans: Spans) -> None:
        print(_encodable("".join([text for text, _ in spans]), stream), file=current(), flush=True)

    if not is_terminal:
        return plain
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:
        return plain

    def coloured(spans: Spans) -> None:
        line = Text.assemble(*[(_encodable(text, stream), style) for text, style in spans])
        Console(file=current()).print(line, soft_wrap=True)

    return coloured


def _encodable(text: str, stream: TextIO) -> str:
    """The text, with escapes for what the stream's encoding lacks."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
