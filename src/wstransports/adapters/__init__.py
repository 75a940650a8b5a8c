"""The event loops: each module here implements `runtime`'s contract on one of them."""

import sys

from ..runtime import register

# Importing an adapter makes it known to `runtime`.
from . import asyncio as asyncio
from . import asyncio_block as asyncio_block


def _refuse_trio() -> None:
    """There is no adapter for trio yet: say so, instead of failing somewhere inside asyncio."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "trio runs here, and wstransports has no adapter for it yet: `with socket:` drives an"
            " asyncio loop of its own, so use it outside of trio.run()"
        )


register(_refuse_trio)
