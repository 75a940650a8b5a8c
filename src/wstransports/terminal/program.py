"""The program as a whole: its commands, and what its exit status says.

The arguments are read by argparse, because the program must run where nothing else is installed.
"""

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence

from . import connect, explain, serve
from .screen import Screen
from .status import INTERRUPTED, NO_READER, STATUSES, USAGE, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Raises SystemExit if argparse ends the program."""
    parser = ArgumentParser(
        "wstransports",
        description="WebSockets in the terminal: talk to a server, serve, explain bytes.",
        epilog="exit status:\n"
        + "".join(f"  {code:<4}{what}\n" for code, what in STATUSES.items()),
        formatter_class=RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (connect, serve, explain):
        command.add_to(commands)
    chosen = parser.parse_args(arguments)
    screen = Screen()
    try:
        return int(chosen.run(chosen, screen))
    except UsageError as error:
        screen.error(str(error))
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout at its end, and must not fail then too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
