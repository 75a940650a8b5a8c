"""An echo server for connections without async, and the threads that these have."""

import threading
from collections.abc import Iterator
from typing import Any

from wstransports import Client, WebSocketServer
from wstransports.sync.loop_thread import LoopThread

PATIENCE = 10  # seconds that anything may take


class Echo(WebSocketServer):
    """Echoes; after "close 1011" it closes with that, and says how clients left."""

    def __init__(self, **options: Any) -> None:
        super().__init__("127.0.0.1", 0, **options)
        self._left = threading.Condition()
        self._codes: list[int] = []
        self.connection(self._echo)

    def left(self, count: int = 1) -> list[int]:
        """The codes of those that left, once so many have."""
        with self._left:
            assert self._left.wait_for(lambda: len(self._codes) >= count, PATIENCE)
            return [*self._codes]

    async def _echo(self, client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            with self._left:
                self._codes.append(code)
                self._left.notify_all()

        async for message in client:
            if isinstance(message, str) and message.startswith("close "):
                await client.close(int(message[6:]), "as asked")
            await client.writer.send(message)


def uri_of(server: WebSocketServer) -> str:
    """Its address."""
    return f"ws://127.0.0.1:{server.port}/"


def loop_threads() -> list[LoopThread]:
    """The threads of the connections that are open."""
    return [thread for thread in threading.enumerate() if isinstance(thread, LoopThread)]


def no_loop_thread_left() -> Iterator[None]:
    """For a fixture: at its end, no such thread is left."""
    yield
    for thread in loop_threads():
        thread.join(PATIENCE)
    assert loop_threads() == []
