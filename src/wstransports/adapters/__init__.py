"""The event loops: each module here implements `runtime`'s contract on one of them."""

import sys

from ..runtime import LoopRuntime, register

# Importing an adapter makes it known to `runtime`.
from . import asyncio as asyncio
from . import asyncio_block as asyncio_block
from . import transport as transport


def _find_trio() -> LoopRuntime | None:
    """The Runtime of a trio run; nothing of trio is loaded before somebody has imported it."""
    # If another thread is importing trio, the function is missing, and no trio task runs here.
    in_trio_task = getattr(sys.modules.get("trio.lowlevel"), "in_trio_task", None)
    if in_trio_task is None or not in_trio_task():
        return None
    from .trio import find  # which is asked first from now on

    return find()


# First, because asyncio's loop runs too where trio is its guest.
register(_find_trio, first=True)
