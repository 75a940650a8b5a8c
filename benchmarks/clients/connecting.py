"""What the clients share: they open their connections, and echo until the process is ended."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks.servers import program


def echo_with(echo: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    """Run `echo` with the URI of the load generator, once for each connection."""
    uri = f"ws://127.0.0.1:{program.PORT}/"

    async def main() -> None:
        print(program.PORT, flush=True)
        await asyncio.gather(*(echo(uri) for _ in range(program.CONNECTIONS)))

    program.run(main)
