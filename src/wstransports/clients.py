"""The connected clients: `server.clients`."""

from collections.abc import Iterator, Mapping

from .client import Client

Key = tuple[str, int]


class Clients(Mapping[Key, Client]):
    """The connected clients by `(client.addr, client.port)`.

    Iteration runs over a snapshot and skips the clients that have left meanwhile, so it is safe
    to await inside the loop.
    """

    def __init__(self) -> None:
        self._clients: dict[Key, Client] = {}

    def __getitem__(self, key: Key) -> Client:
        return self._clients[key]

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Key]:
        # Mapping.values() and items() call this too.
        for key, client in tuple(self._clients.items()):
            if self._clients.get(key) is client:
                yield key

    def __repr__(self) -> str:
        return f"Clients({list(self._clients.values())!r})"

    def _snapshot(self) -> list[Client]:
        """All clients."""
        return list(self._clients.values())

    def _add(self, client: Client) -> None:
        """List a client."""
        self._clients[_key(client)] = client

    def _remove(self, client: Client) -> None:
        """Take a client off the list; its key may be another's by now."""
        key = _key(client)
        if self._clients.get(key) is client:
            del self._clients[key]


def _key(client: Client) -> Key:
    """The tuple that its log lines use, if any: another tuple would take 56 bytes a client."""
    return client._session.identity.peer or (client.addr, client.port)
