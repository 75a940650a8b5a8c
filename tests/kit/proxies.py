"""Proxies of the test's own: HTTP CONNECT, SOCKS 4 and 5, each as small as its protocol allows."""

import asyncio
import ssl
import threading
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from ipaddress import ip_address
from typing import Any

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


class Proxy:
    """What a proxy is asked, and where it really leads: to `port` of this machine."""

    def __init__(self, kind: str, port: int, credentials: str | None, refusal: bytes) -> None:
        self.asked: list[str] = []
        """host:port of each connection, as it was asked for."""
        self.port = 0
        """Where the proxy listens."""
        self._talk: Callable[[Reader, Writer], Awaitable[bool]] = getattr(self, f"_{kind}")
        self._target = port
        self._credentials = credentials
        self._refusal = refusal
        self._serving: set[asyncio.Task[None]] = set()

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        with suppress(asyncio.CancelledError, OSError):  # asyncio would log the test's end
            with closing(writer):
                if await self._talk(reader, writer):
                    far_reader, far_writer = await asyncio.open_connection(
                        "127.0.0.1", self._target
                    )
                    with closing(far_writer):
                        async with asyncio.TaskGroup() as both:
                            both.create_task(_pump(reader, far_writer))
                            both.create_task(_pump(far_reader, writer))
            await writer.wait_closed()
        writer.transport.abort()  # nothing of it may remain when the loop ends

    async def end(self) -> None:
        """Serve no more."""
        for task in self._serving:
            task.cancel()
        while self._serving:
            await asyncio.wait(self._serving)

    async def _http(self, reader: Reader, writer: Writer) -> bool:
        """RFC 9110 section 9.3.6."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        method, target, version = lines[0].split(" ")
        assert (method, version) == ("CONNECT", "HTTP/1.1")
        assert f"Host: {target}" in lines
        given = [line for line in lines if line.startswith("Proxy-Authorization: Basic ")]
        credentials = b64decode(given[0].split(" ")[2]).decode() if given else None
        return self._decide(
            writer,
            target,
            credentials,
            b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n",
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        )

    _https = _http

    async def _socks5(self, reader: Reader, writer: Writer) -> bool:
        """RFC 1928, and RFC 1929 for user and password."""
        version, count = await reader.readexactly(2)
        assert version == 5
        methods = await reader.readexactly(count)
        credentials = None
        if self._credentials is not None and 2 in methods:
            writer.write(b"\5\2")
            assert await reader.readexactly(1) == b"\1"
            user = await _counted(reader)
            credentials = f"{user}:{await _counted(reader)}"
            if credentials != self._credentials:
                writer.write(b"\1\1")
                return False
            writer.write(b"\1\0")
        elif self._credentials is not None:
            writer.write(b"\5\xff")
            return False
        else:
            assert 0 in methods
            writer.write(b"\5\0")
        assert await reader.readexactly(3) == b"\5\1\0"
        kind = (await reader.readexactly(1))[0]
        if kind == 3:
            host = await _counted(reader)
        else:
            host = str(ip_address(await reader.readexactly({1: 4, 4: 16}[kind])))
        port = int.from_bytes(await reader.readexactly(2))
        return self._decide(
            writer,
            f"{host}:{port}",
            credentials,
            b"\5\0\0\1\x7f\0\0\1\0\x50",
            b"\5\2\0\1\0\0\0\0\0\0",
        )

    async def _socks4(self, reader: Reader, writer: Writer) -> bool:
        """SOCKS 4, and 4a: a name follows an address that is not valid."""
        assert await reader.readexactly(2) == b"\4\1"
        port = int.from_bytes(await reader.readexactly(2))
        address = ip_address(await reader.readexactly(4))
        user = (await reader.readuntil(b"\0"))[:-1].decode()
        host = str(address)
        if int(address) < 256:
            host = (await reader.readuntil(b"\0"))[:-1].decode()
        credentials = f"{user}:" if user else None
        return self._decide(
            writer, f"{host}:{port}", credentials, b"\0\x5a" + bytes(6), b"\0\x5b" + bytes(6)
        )

    def _decide(
        self, writer: Writer, target: str, credentials: str | None, yes: bytes, no: bytes
    ) -> bool:
        self.asked.append(target)
        if self._refusal:
            writer.write(self._refusal)
        elif credentials != self._credentials:
            writer.write(no)
        else:
            writer.write(yes)
            return True
        return False


async def _counted(reader: Reader) -> str:
    [size] = await reader.readexactly(1)
    return (await reader.readexactly(size)).decode()


async def _pump(reader: Reader, writer: Writer) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():  # not with TLS
            writer.write_eof()
        else:
            writer.close()
    except OSError:  # ENOTCONN of write_eof, too, before Python 3.12
        writer.transport.abort()


@contextmanager
def proxy(
    kind: str,
    port: int = 0,
    credentials: str | None = None,
    refusal: bytes = b"",
    tls: ssl.SSLContext | None = None,
) -> Iterator[Proxy]:
    """A proxy of a kind ("http", "https" with `tls`, "socks4", "socks5").

    It leads to a port of this machine.

    It wants `credentials` ("user:password") of everybody, or answers with `refusal`.
    """
    made = Proxy(kind, port, credentials, refusal)
    listening: Future[Callable[[], object]] = Future()

    async def serve() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
        made.port = server.sockets[0].getsockname()[1]
        listening.set_result(lambda: loop.call_soon_threadsafe(stopped.set))
        await stopped.wait()
        server.close()
        await made.end()

    # On a loop of its own, whatever the test runs on.
    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    stop = listening.result()
    try:
        yield made
    finally:
        stop()
        thread.join()


@asynccontextmanager
async def proxying(*args: Any, **options: Any) -> AsyncIterator[Proxy]:
    """The same, for `async with`."""
    with proxy(*args, **options) as made:
        yield made
