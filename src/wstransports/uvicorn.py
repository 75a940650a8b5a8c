"""Under uvicorn: `--ws wstransports.uvicorn:WebSocketProtocol` (extra `uvicorn`)."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.protocols.utils import (
    ClientDisconnected,
    get_client_addr,
    get_path_with_query_string,
)
from uvicorn.server import ServerState

from wscore import ServerHandshake
from wscore.handshake.head import MAX_HEAD_SIZE

from .adapters.transport_take_over import take_over
from .asgi.application import Settings
from .asgi.exchange import Exchange
from .asgi.headers import decoded
from .connection.session import Session
from .connection.traced import traced
from .log import log
from .options import ConnectionOptions
from .runtime import running

_LOGGER = logging.getLogger("uvicorn.error")

# Attributes of uvicorn's ServerState: the settings of its connections, and what drops them.
_SETTINGS = "_wstransports"
_AT_END = "_wstransports_at_end"


class WebSocketProtocol(Exchange, asyncio.Protocol):
    """What uvicorn creates for each WebSocket connection: its option `--ws` takes this class.

    `config`, `server_state` and `app_state` are uvicorn's.
    """

    __slots__ = ("_connections", "_protocol", "_sink", "_task", "_tasks")

    disconnected = ClientDisconnected

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        attributes = vars(server_state)
        if _SETTINGS not in attributes:
            attributes[_SETTINGS] = _settings(config, server_state)
            attributes[_AT_END] = at_end = _drop_at_end(server_state.connections)
            with suppress(StopIteration):
                at_end.__anext__().send(None)
        super().__init__(attributes[_SETTINGS], app_state, running())
        self._connections: set[Any] = server_state.connections  # of uvicorn's own classes
        self._tasks = server_state.tasks
        self._sink = traced(self._session)

    # As the protocol of the transport, until `_hand_over`.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connections.add(self)
        transport = cast(asyncio.Transport, transport)
        # Until it is answered, uvicorn's httptools class writes to the transport, too.
        request = getattr(transport.get_protocol(), "cycle", None)
        is_alone = request is None or request.response_complete
        self._protocol = take_over(transport, self._sink, is_alone)
        self._hand_over(transport)
        # uvicorn sets this object as the protocol once `data_received` has returned.
        asyncio.get_running_loop().call_soon(self._hand_over, transport)
        self._trace("made")

    def data_received(self, data: bytes) -> None:
        self._sink.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def _hand_over(self, transport: asyncio.Transport) -> None:
        """Have the transport call its protocol, without the way through this object."""
        if not transport.is_closing():
            transport.set_protocol(self._protocol)

    # As an Exchange.

    def answered(self, answer: str) -> None:
        """Log the answer as uvicorn's own classes do."""
        scope: Any = self.scope
        client, path = get_client_addr(scope), get_path_with_query_string(scope)
        log(_LOGGER, logging.INFO, '%s - "WebSocket %s" %s', client, path, answer)

    def started(self) -> None:
        """Have uvicorn wait for the application's task when it stops."""
        self._task = asyncio.current_task()
        assert self._task is not None
        self._tasks.add(self._task)

    def ended(self) -> None:
        """As an Exchange. A callback of the task for this would take 270 bytes."""
        assert self._task is not None
        self._tasks.discard(self._task)
        self._task = None

    def finished(self, session: Session) -> None:
        """The connection and its application have ended."""
        super().finished(session)
        self._connections.discard(self)
        self._trace("lost")

    def _trace(self, what: str) -> None:
        if _LOGGER.isEnabledFor(TRACE_LOG_LEVEL):
            peer = f"{self.addr}:{self.port} - " if self.addr else ""
            log(_LOGGER, TRACE_LOG_LEVEL, "%sWebSocket connection %s", peer, what)


async def _drop_at_end(connections: set[Any]) -> AsyncGenerator[None]:
    """Drop what is connected when the loop closes its async generators: uvicorn was stopped by
    force, or waits no longer, and the loop closes no sockets of ours."""
    try:
        yield
    finally:
        for connection in tuple(connections):
            if isinstance(connection, WebSocketProtocol):
                connection._session.pipe.abort()


def _settings(config: Config, server_state: ServerState) -> Settings:
    interval, answer_within = config.ws_ping_interval or 0, config.ws_ping_timeout or 0
    options = ConnectionOptions(
        timeout=interval + answer_within if interval and answer_within else 0,
        compression="deflate" if config.ws_per_message_deflate else None,
        max_message_size=config.ws_max_size,
        open_timeout=0,
        logger=_LOGGER,
        max_head_size=config.h11_max_incomplete_event_size or MAX_HEAD_SIZE,
    )
    return Settings(
        app=config.loaded_app,
        options=options,
        handshake=ServerHandshake(
            extensions=options.extensions(),
            max_head_size=options.max_head_size,
            max_head_fields=options.max_head_fields,
            refusal_headers=lambda: decoded(server_state.default_headers),
        ),
        ping_interval=interval or None,
        root_path=config.root_path,
        asgi_version=config.asgi_version,
        headers=lambda: server_state.default_headers,
    )
