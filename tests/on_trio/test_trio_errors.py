"""What goes wrong on one connection ends that connection; a nursery would end all of them."""

import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from typing import Any

import pytest

pytest.importorskip("trio", reason="trio is not installed")

import trio
import trio.testing
from closes import Closes
from test_trio_basics import echo_server

from wstransports import (
    Client,
    Reasons,
    Request,
    WebSocketReader,
    WebSocketServer,
    connect,
)
from wstransports.address import Address
from wstransports.identity import Identity
from wstransports.runtime import Pipe, running

DROPPED = "dropped because of an error in handling the connection"


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """What was logged as an error; nothing may be left that the test has not asked for."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keep(logging.ERROR)
    logging.getLogger("wstransports").addHandler(handler)
    yield records
    logging.getLogger("wstransports").removeHandler(handler)
    assert not records


def one_error(log: list[logging.LogRecord]) -> tuple[str, BaseException]:
    """The line that was logged, without its connection, and the exception."""
    [record] = log
    log.clear()
    assert record.exc_info is not None
    assert record.exc_info[1] is not None
    return record.getMessage().partition(": ")[2], record.exc_info[1]


def all_are(kind: type[Exception], error: BaseException) -> bool:
    """Whether an exception is of that kind, or a group of such."""
    return isinstance(error, kind) or (
        isinstance(error, BaseExceptionGroup) and error.split(kind)[1] is None
    )


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test with a clock that jumps where nothing happens."""

    async def bounded() -> None:
        with trio.fail_after(60):
            await main()

    trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0.05))


async def until(condition: Callable[[], object]) -> None:
    """By that clock, it takes a moment."""
    while not condition():  # noqa: ASYNC110  # on a clock that jumps
        await trio.sleep(1)


async def still_served(server: WebSocketServer) -> None:
    """Another client is, as if nothing had happened."""
    async with connect(f"ws://127.0.0.1:{server.port}") as client:
        await client.writer.send("still here?")
        assert await client.receive() == "still here?"


# Callbacks; those of a server's clients are in tests/transports.


@pytest.mark.parametrize("callback", ["message", "ping", "pong", "closed"])
def test_a_callback_of_an_outgoing_connection(callback: str, log: list[logging.LogRecord]) -> None:
    """Its exception reaches no nursery, and not the block either."""
    closes = Closes()

    async def main() -> None:
        server = WebSocketServer("127.0.0.1", 0)

        @server.connection
        async def on_connection(client: Client) -> None:
            await closes.follow(client)
            await client.receive()
            if callback == "message":
                await client.writer.send("x")
            elif callback == "ping":
                await client.writer.ping()
            elif callback == "pong":
                await client.writer.pong(0, b"")
            else:
                await client.close()

        async def fail(*arguments: object) -> None:
            raise ZeroDivisionError

        async with server, connect(f"ws://127.0.0.1:{server.port}") as client:
            getattr(client, callback)(fail)
            await client.writer.send("go")
            await closes.any.wait()
            await until(lambda: log)

    run(main)
    what, error = one_error(log)
    assert what == f"on_{callback} raised"
    assert isinstance(error, ZeroDivisionError)
    code = Reasons.NORMAL if callback == "closed" else Reasons.UNEXPECTED_CONDITION
    assert closes.reported == [(code, "")]


async def nursery_that_fails_when_cancelled(begun: trio.Event) -> None:
    """It raises error and cancellation in one group, which is not an Exception."""

    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_when_cancelled)
        nursery.start_soon(trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        begun.set()


def test_a_process_request_that_fails_when_it_is_given_up(log: list[logging.LogRecord]) -> None:
    """Its client left before the answer."""

    async def main() -> None:
        begun = trio.Event()

        async def process_request(request: Request) -> None:
            if request.path == "/slow":
                await nursery_that_fails_when_cancelled(begun)

        server = echo_server(process_request=process_request)
        async with server:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(enter, connect(f"ws://127.0.0.1:{server.port}/slow"))
                    await begun.wait()
                    scope.cancel()
            await until(lambda: log)
            await still_served(server)

    run(main)
    what, error = one_error(log)
    assert what == "process_request raised"
    assert all_are(ZeroDivisionError, error)


async def enter(connection: connect) -> None:
    """What a nursery may start."""
    async with connection:
        raise AssertionError("it is connected")


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_callback_that_fails_when_it_is_given_up(
    cancelled: bool, log: list[logging.LogRecord]
) -> None:
    """The block of its connection ends, cleanly or by a cancellation."""

    async def main() -> None:
        server = echo_server()
        async with server:
            with trio.CancelScope() as scope:
                async with connect(f"ws://127.0.0.1:{server.port}", close_timeout=3) as client:
                    begun = trio.Event()

                    @client.message
                    async def on_message(reader: WebSocketReader) -> None:
                        await nursery_that_fails_when_cancelled(begun)

                    await client.writer.send("go")
                    await begun.wait()
                    if cancelled:
                        scope.cancel()
            assert scope.cancelled_caught is cancelled
            await still_served(server)

    run(main)
    what, error = one_error(log)
    assert what == "on_message raised"
    assert all_are(ZeroDivisionError, error)


# What the user's callbacks are not to blame for.


class BadSink:
    """Raises in one place, once."""

    def __init__(self, where: str | None) -> None:
        self.heard: list[str] = []
        self.identity = Identity()
        self._where = where

    def _reach(self, where: str) -> None:
        self.heard.append(where)
        if where == self._where:
            self._where = None
            raise ZeroDivisionError

    async def _task(self, name: str) -> None:
        self._reach(name)

    def connected(self, pipe: Pipe) -> None:
        """As a Sink."""
        self._pipe = pipe
        pipe.start(self._task("a task"), copy_context())
        pipe.call_at(running().now(), lambda: self._reach("a timer"))
        self._reach("connected")

    def data_received(self, data: bytes | memoryview) -> None:
        """As a Sink."""
        self._pipe.start(self._task("the input's task"), copy_context())
        self._pipe.start(self._task("the input's other task"), copy_context())
        self._reach("data_received")

    def eof_received(self) -> None:
        """As a Sink."""
        self._reach("eof_received")
        self._pipe.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """As a Sink."""
        self._reach("connection_lost")


PLACES = (
    "connected, a timer, a task, data_received, the input's task, the input's other task,"
    " eof_received, connection_lost"
)


@pytest.mark.parametrize("where", PLACES.split(", "))
def test_a_sink_that_raises(where: str, log: list[logging.LogRecord]) -> None:
    """Its own stream is dropped, and on_closed runs as at any end."""

    async def use(address: tuple[str, int], sinks: list[BadSink]) -> None:
        async with await trio.open_tcp_stream(*address) as stream:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(b"x")
                await until(lambda: log or "data_received" in sinks[-1].heard)
                await stream.send_eof()
                assert await stream.receive_some() == b""
        await until(lambda: "connection_lost" in sinks[-1].heard)

    async def main() -> None:
        runtime = running()
        sinks = [BadSink(where)]
        accepted = iter(sinks)

        async with runtime.task_group() as group:
            listener = await runtime.listen(Address("127.0.0.1", 0), lambda: next(accepted), group)
            await use(listener.address(), sinks)
            sinks.append(BadSink(None))
            await use(listener.address(), sinks)
            listener.close()
        for sink in sinks:
            assert sink.heard.count("connection_lost") == 1
            assert ("data_received" in sink.heard) == ("the input's other task" in sink.heard)
        assert sorted(sinks[1].heard) == sorted(PLACES.split(", "))

    run(main)
    what, error = one_error(log)
    assert what == DROPPED
    assert all_are(ZeroDivisionError, error)


def test_a_task_that_raises_when_the_stream_is_lost(log: list[logging.LogRecord]) -> None:
    """The pipe has let go of its sink by then, but the log still names the connection."""

    class Late(BadSink):
        async def _fail(self) -> None:
            await trio.testing.wait_all_tasks_blocked()
            raise ZeroDivisionError

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._pipe.start(self._fail(), copy_context())

    sink = Late(None)

    async def main() -> None:
        runtime = running()
        async with runtime.task_group() as group:
            listener = await runtime.listen(Address("127.0.0.1", 0), lambda: sink, group)
            stream = await trio.open_tcp_stream(*listener.address())
            await stream.aclose()
            await until(lambda: log)
            listener.close()
        assert "connection_lost" in sink.heard

    run(main)
    assert [record.getMessage() for record in log] == [f"{sink.identity}: {DROPPED}"]
    assert all_are(ZeroDivisionError, one_error(log)[1])


# Accepting.


class Accepted(socket.socket):
    """As where the peer has left already, on some systems."""

    def setsockopt(self, *arguments: Any) -> None:
        """Refused."""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


class Listening(socket.socket):
    """Fails to accept, once."""

    failures = [errno.EPROTO]

    def accept(self) -> tuple[socket.socket, Any]:
        """As the system's."""
        if self.failures:
            number = self.failures.pop()
            raise OSError(number, os.strerror(number))
        accepted, address = super().accept()
        return Accepted(fileno=accepted.detach()), address


def test_a_connection_that_cannot_be_accepted(log: list[logging.LogRecord]) -> None:
    """The next one is, and so is one whose delays the system will not take away."""

    async def main() -> None:
        with Listening() as sock:
            sock.bind(("127.0.0.1", 0))
            server = echo_server(sock=sock)
            async with server:
                await still_served(server)

    run(main)
    [record] = log
    log.clear()
    assert record.getMessage() == f"cannot accept a connection: {os.strerror(errno.EPROTO)}"


def test_a_connection_that_cannot_be_begun(
    log: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped."""

    def no_memory(*_: object) -> None:
        raise MemoryError

    async def main() -> None:
        server = echo_server()
        async with server:
            with monkeypatch.context() as patch:
                patch.setattr(server._acceptor, "_new_core", no_memory)
                with pytest.raises(ConnectionResetError):
                    await enter(connect(f"ws://127.0.0.1:{server.port}"))
            await still_served(server)

    run(main)
    [record] = log
    log.clear()
    assert record.getMessage() == "cannot begin a connection"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], MemoryError)
