"""`explain`: what bytes say, a frame a line."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from wscore import explain

from .octets import FORMS, octets
from .screen import Screen
from .status import FAILED, OK, UsageError


def add_to(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser: ArgumentParser = commands.add_parser(
        "explain",
        help="show what bytes say, frame by frame",
        description="Show the frames in what one side sent, each field by its name, and the clause"
        " of the RFC where something is wrong. Without HEX and --file, the bytes are read from"
        " stdin.",
    )
    add = parser.add_argument
    add("hex", metavar="HEX", nargs="*", help="the bytes in hex")
    add("--file", metavar="FILE", help="a file with the bytes, such as a capture of one direction")
    add("--format", choices=FORMS, default="auto",
        help="how the bytes are written; auto finds out, also dumps of xxd")  # fmt: skip
    add("--sender", choices=("client", "server"),
        help="the end that sent them, if no HTTP head shows it")  # fmt: skip
    parser.set_defaults(run=run)


def run(chosen: Namespace, screen: Screen) -> int:
    """Print the parts; returns FAILED if one of them has a fault."""
    status = OK
    for part in explain(_read(chosen), chosen.sender):
        screen.line(str(part), "red" if part.faults else "")
        if part.faults:
            status = FAILED
    return status


def _read(chosen: Namespace) -> bytes:
    if chosen.hex and chosen.file:
        raise UsageError("HEX and --file exclude each other: leave one of them out")
    try:
        if chosen.hex:
            return octets(" ".join(chosen.hex).encode(), "hex")
        data = Path(chosen.file).read_bytes() if chosen.file else sys.stdin.buffer.read()
        return octets(data, chosen.format)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from None
