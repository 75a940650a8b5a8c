"""How connections ended, as on_closed got it."""

import trio

from wstransports import Client, Reasons


class Closes:
    """Of all that it follows."""

    def __init__(self) -> None:
        self.reported: list[tuple[Reasons | int, str]] = []
        self.any = trio.Event()

    async def follow(self, client: Client) -> None:
        """As an on_connection, or called by one."""
        client.closed(self._on_closed)

    async def _on_closed(self, code: Reasons | int, reason: str) -> None:
        self.reported.append((code, reason))
        self.any.set()
