"""Who is connected: `server.clients`."""

from collections.abc import Iterator, Mapping

from .client import Client

Key = tuple[str, int]


class Clients(Mapping[Key, Client]):
    """The connected clients by `(client.addr, client.port)`.

    Iterating steps over a snapshot and skips whoever has left by then, so that awaiting inside
    the loop is safe.
    """

    def __init__(self) -> None:
        self._clients: dict[Key, Client] = {}

    def __getitem__(self, key: Key) -> Client:
        return self._clients[key]

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Key]:
        # values() and items() of Mapping go through here too.
        for key, client in tuple(self._clients.items()):
            if self._clients.get(key) is client:
                yield key

    def __repr__(self) -> str:
        return f"Clients({list(self._clients.values())!r})"

    def _snapshot(self) -> list[Client]:
        """Those that are here."""
        return list(self._clients.values())

    def _add(self, client: Client) -> None:
        """A client's set-up is over."""
        self._clients[client.addr, client.port] = client

    def _remove(self, client: Client) -> None:
        """A client's state has left OPEN."""
        if self._clients.get((client.addr, client.port)) is client:
            del self._clients[client.addr, client.port]
