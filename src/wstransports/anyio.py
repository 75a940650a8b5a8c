"""WebSockets over any anyio byte stream: TLS, Unix, memory, an SSH tunnel."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Unpack

from wscore.headers import HeaderFields

from .adapters.anyio import AnyioListener, AnyioRuntime
from .client import Client
from .connect import connect
from .connecting.user_agent import USER_AGENT
from .options import ConnectionKeywords, ServerKeywords
from .server import WebSocketServer

if TYPE_CHECKING:
    from anyio.abc import ByteStream

__all__ = ["AnyioListener", "AnyioRuntime", "connect_stream", "serve_stream"]


class StreamKeywords(ServerKeywords, total=False):
    """The keywords of `serve_stream`: those of a server that says `timeout` by name."""

    timeout: float


async def serve_stream(
    stream: "ByteStream",
    on_connection: Callable[[Client], Awaitable[object]],
    **options: Unpack[StreamKeywords],
) -> None:
    """Serve one client over `stream`, which the connection then owns (RFC 6455 section 4.2).

    `on_connection` and the options are those of a `WebSocketServer`. Returns when the connection
    and its callbacks have ended. If the call is cancelled, it first closes with 1001, and waits for
    the answer and for the callbacks, up to `shutdown_timeout`. Raises ValueError or TypeError for
    invalid arguments. A client's mistakes raise nothing.
    """
    runtime = AnyioRuntime()
    server = WebSocketServer("", 0, runtime=runtime, **options)
    server.connection(on_connection)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(runtime)
        with runtime.shield():  # or a cancelled task would leave the stream open
            streams = await stack.enter_async_context(server)
        assert isinstance(streams, AnyioListener)
        await streams.serve(stream)


def connect_stream(
    stream: "ByteStream",
    uri: str,
    *,
    headers: HeaderFields = (),
    origin: str | None = None,
    user_agent_header: str | None = USER_AGENT,
    **options: Unpack[ConnectionKeywords],
) -> AbstractAsyncContextManager[Client]:
    """Open a connection over `stream`, which the connection then owns (RFC 6455 section 4.1).

    `async with connect_stream(stream, "ws://host/path") as client`. The stream already leads to the
    server, so `uri` only sets the Host header and the target; for wss: the stream must have TLS.
    The keywords and the exceptions are those of `connect`; a redirect raises HandshakeError. The
    end of the block closes with 1000 and waits, for a limited time. Raises ValueError or TypeError
    for invalid arguments.
    """
    runtime = AnyioRuntime(stream)
    connection = connect(
        uri,
        headers=headers,
        origin=origin,
        user_agent_header=user_agent_header,
        proxy=None,
        max_redirects=0,
        runtime=runtime,
        **options,
    )
    return _entered(runtime, connection)


@asynccontextmanager
async def _entered(runtime: AnyioRuntime, connection: connect) -> AsyncIterator[Client]:
    async with runtime, connection as client:
        yield client
