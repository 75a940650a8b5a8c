"""The event loops: each module here implements `runtime`'s contract on one of them."""

# Importing an adapter makes it known to `runtime`.
from . import asyncio as asyncio
from . import asyncio_block as asyncio_block
