"""`connect`: talk to a server, line by line or from a pipe."""

import asyncio
import json
import ssl
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any

from ..client import Client
from ..connect import connect
from ..errors import ConnectionClosed, ConnectionClosedError, HandshakeError
from .screen import Screen
from .status import CLOSED, FAILED, INTERRUPTED, OK, UsageError
from .typed import Interrupted, can_prompt, chunks, lines, prompted_lines

# More than one read brings.
_READ = 2**20


Message = str | bytes
Messages = AsyncGenerator[Message, None]


def add_to(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser: ArgumentParser = commands.add_parser(
        "connect",
        help="talk to a server",
        description="Send what you type, a message a line, and show what comes. Ctrl-D ends it."
        " From a pipe, each line is a message, and the answers go to stdout.",
    )
    add = parser.add_argument
    add("url", metavar="URL", help="a ws: or wss: address")
    add("--header", metavar="NAME:VALUE", type=_header, action="append", default=[],
        help="one more header of the request; may be repeated")  # fmt: skip
    add("--subprotocol", metavar="NAME", action="append", default=[],
        help="a subprotocol to offer; may be repeated")  # fmt: skip
    add("--origin", metavar="ORIGIN", help="the Origin header")
    add("--insecure", action="store_true", help="do not verify the server's certificate")
    add("--proxy", metavar="URL", default=True,
        help="a proxy: https, http, socks4 or socks5; without it, the environment's")  # fmt: skip
    add("--ping", metavar="SECONDS", type=_seconds, help="ping so often, and show the latency")
    add("--wait", metavar="SECONDS", type=_seconds, default=0,
        help="stay connected so long after the end of stdin")  # fmt: skip
    add("--max-size", metavar="BYTES", type=int, default=2**20,
        help="the longest message accepted (1048576)")  # fmt: skip
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--binary", action="store_true", help="send stdin as one binary message")
    kinds.add_argument("--json", action="store_true", help="send stdin as one JSON message")
    parser.set_defaults(run=run)


def run(chosen: Namespace, screen: Screen) -> int:
    """Talk to the server until either side closes."""
    keywords: dict[str, Any] = {}
    if chosen.insecure and chosen.url.lower().startswith("wss:"):
        context = keywords["ssl"] = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        connection = connect(
            chosen.url,
            headers=chosen.header,
            origin=chosen.origin,
            proxy=chosen.proxy,
            subprotocols=chosen.subprotocol,
            max_message_size=chosen.max_size,
            # After our Close, what is beyond this limit is dropped: the answers must fit.
            read_limit=chosen.max_size + _READ,
            **keywords,
        )
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None
    return asyncio.run(_run(connection, chosen, screen))


async def _run(connection: connect, chosen: Namespace, screen: Screen) -> int:
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(connection)
        except HandshakeError as error:
            screen.error(str(error))
            if error.body:
                screen.status(error.body.decode(errors="replace").strip())
            return FAILED
        except OSError as error:
            screen.error(error.strerror or str(error))
            return FAILED
        except (ImportError, ValueError) as error:  # a proxy's
            screen.error(str(error))
            return FAILED
        chosen_one = f", subprotocol {client.subprotocol}" if client.subprotocol else ""
        request = client.request
        screen.status(f"connected to {request.headers['Host']}{request.target}{chosen_one}")
        return await Talk(client, chosen, screen).run()


class Talk:
    """A conversation with a server: what is sent, what is received, how it ends."""

    def __init__(self, client: Client, chosen: Namespace, screen: Screen) -> None:
        self._client = client
        self._chosen = chosen
        self._screen = screen
        self._end: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            self._end.set_result((code, reason))

    async def run(self) -> int:
        """Send and receive until the end; returns the exit status."""
        sending = asyncio.create_task(self._send())
        receiving = asyncio.create_task(self._receive())
        pinging = asyncio.create_task(self._ping())
        tasks = (sending, receiving, pinging)
        try:
            await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                if self._chosen.wait and not sending.exception():
                    await asyncio.wait((receiving,), timeout=self._chosen.wait)
                # Messages that were under way are shown until the server's Close is here.
                await self._client.close()
            clean = await receiving
        finally:
            for task in tasks:
                task.cancel()
            failed, *_ = await asyncio.gather(*tasks, return_exceptions=True)
        code, reason = await self._end
        self._screen.status(f"closed: {ConnectionClosed(code, reason)}")
        if isinstance(failed, Interrupted):
            return INTERRUPTED
        if isinstance(failed, Exception):
            raise failed
        return OK if clean else CLOSED

    async def _receive(self) -> bool:
        """Show what is received; returns whether the connection closed cleanly."""
        try:
            async for message in self._client:
                self._screen.received(message)
        except ConnectionClosedError:
            return False
        return True

    async def _send(self) -> None:
        async with aclosing(messages(self._chosen, self._screen)) as source:
            async for message in source:
                try:
                    await self._client.writer.send(message)
                except ConnectionClosed:  # pragma: no cover - the peer closed at this very moment
                    return
                self._screen.sent(message)

    async def _ping(self) -> None:
        """Ping, if that was asked for, and show how long the answers take."""
        seconds = self._chosen.ping
        if seconds is None:
            return
        while True:
            pong = await self._client.writer.ping()  # its ConnectionClosed ends this task alone
            self._screen.status(f"pong after {await pong * 1000:.1f} ms")
            await asyncio.sleep(seconds)


async def messages(chosen: Namespace, screen: Screen) -> Messages:
    """The messages to send: typed at a prompt, or from stdin."""
    if not sys.stdin.isatty():
        descriptor = sys.stdin.fileno()
        if chosen.binary:
            yield b"".join([chunk async for chunk in chunks(descriptor)])
        elif chosen.json:
            yield _json(_text(b"".join([chunk async for chunk in chunks(descriptor)])).strip())
        else:
            async with aclosing(lines(descriptor)) as piped:
                async for line in piped:
                    yield _text(line)
        return
    async with aclosing(_typed(screen)) as typed:
        async for text in typed:
            try:
                yield text.encode() if chosen.binary else _json(text) if chosen.json else text
            except UsageError as error:
                screen.error(str(error))


async def _typed(screen: Screen) -> AsyncGenerator[str, None]:
    """The lines that are typed: at a prompt, where there can be one."""
    if screen.is_terminal and can_prompt():
        async with aclosing(prompted_lines()) as prompted:
            async for line in prompted:
                yield line
    else:
        async with aclosing(lines(sys.stdin.fileno())) as typed:
            async for text in typed:
                yield text.decode(errors="replace")


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise UsageError("stdin is not UTF-8: send it with --binary") from None


def _json(text: str) -> str:
    try:
        json.loads(text)
    except ValueError as error:
        raise UsageError(f"this is not JSON: {error}") from None
    return text


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise ArgumentTypeError("write it like Name:value")
    return name, value


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
