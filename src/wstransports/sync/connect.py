"""Outgoing connections without async: `with connect("wss://...") as client`."""

import inspect
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec

from ..client import Client as AsyncClient
from ..connect import connect as async_connect
from ..connecting.reconnection import Reconnection
from .client import Client
from .loop_thread import LoopThread

Keywords = ParamSpec("Keywords")


def _keywords_of(
    original: Callable[Keywords, object],
) -> Callable[[Callable[..., None]], Callable[Concatenate["connect", Keywords], None]]:
    """Give an `__init__` the keywords of another connect, for type checkers, editors and help()."""

    def decorate(init: Callable[..., None]) -> Callable[Concatenate["connect", Keywords], None]:
        signature = inspect.signature(original)
        self = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = [self, *signature.parameters.values()]
        init.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=parameters, return_annotation=None
        )
        return init

    return decorate


class connect:  # lower case: it is used like a function
    """Connect to a server (RFC 6455 section 4.1): `with connect("wss://host/path") as client`.

    `with` connects, and returns the `Client`. The end of the block closes the connection with 1000
    and waits for that, for a limited time. `client = connect(...).open()` has no block: call
    `client.close()`.

    `for client in connect(...)` connects again and again, as `async for` does with the async
    `connect`. Leaving the loop closes the last connection, and waits for that.

    The arguments, except `runtime`, and the exceptions are those of `wstransports.connect`. The
    connection runs on an asyncio loop in a thread of its own. Functions among the arguments
    (`headers`, `retry`, `delays`) are called in that thread.

    Raises TypeError or ValueError for invalid arguments.
    """

    @_keywords_of(async_connect)
    def __init__(self, uri: str, **options: Any) -> None:
        if options.get("runtime") is not None:
            raise TypeError("runtime: a connection without async has its own loop; leave it out")
        self._connect = async_connect(uri, **options)
        self._client: Client | None = None

    def open(self) -> Client:
        """Connect, without a block: the caller closes the client."""
        thread = self._new_thread()
        try:
            return Client(thread.call(self._open), thread, owns_thread=True)
        except BaseException:
            thread.end()
            raise

    def __enter__(self) -> Client:
        """Connect. Raises what the class says, and RuntimeError if it is entered already."""
        if self._client is not None:
            raise RuntimeError("this connect() is entered already: create another one")
        self._client = self.open()
        return self._client

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection and wait for that, for a bounded time."""
        client, self._client = self._client, None
        if client is None:
            raise RuntimeError("this connect() is not entered: use `with`")
        try:
            client.close()
        finally:
            client._leave()

    def __iter__(self) -> Generator[Client, None, None]:
        """Connect again and again. Raises ValueError if `sock` was given."""
        thread = self._new_thread()
        try:
            clients = thread.call(self._reconnection)
            try:
                while True:
                    client = thread.call(clients.__anext__)
                    yield Client(client, thread, owns_thread=False)
            finally:
                if not thread.is_over():
                    thread.call(clients.aclose)
        finally:
            thread.end()

    # A type checker would accept any attribute.
    if not TYPE_CHECKING:  # pragma: no branch - type checkers take the other one

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(
                f"connect() has no {name!r}, and has not connected: use `with connect(...) as"
                " client`, or `client = connect(...).open()`"
            )

    def _new_thread(self) -> LoopThread:
        return LoopThread(f"connection to {self._connect._uri}")

    async def _open(self) -> AsyncClient:
        return await self._connect

    async def _reconnection(self) -> Reconnection:
        return aiter(self._connect)
