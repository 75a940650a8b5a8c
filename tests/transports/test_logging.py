"""Nothing that logging does harms a connection, or the server."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kit.loops import Loop, MemoryLoop, echo, on_each_loop, on_memory
from wstransports import Client, WebSocketReader
from wstransports.log import log as log_line


class Odd(BaseException):
    """Not an Exception."""


class Broken(logging.Handler):
    """Raises out of emit, which logging does not catch."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.calls = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.calls += 1
        raise self.error

    def filter(self, record: logging.LogRecord) -> Any:
        """As a Filter."""
        if isinstance(self.error, MemoryError):
            self.calls += 1
            raise self.error
        return True


@contextmanager
def broken(error: BaseException) -> Iterator[Broken]:
    """Let a handler or a filter of our logger raise."""
    logger = logging.getLogger("wstransports")
    handler = Broken(error)
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("error", [OSError("no space left"), MemoryError(), Odd()])
@on_each_loop
async def test_a_handler_that_raises_harms_nobody(
    loop: Loop, error: BaseException, capfd: pytest.CaptureFixture[str]
) -> None:
    """It once ended the whole server, on trio."""

    async def on_connection(client: Client) -> None:
        if client.request.path == "/bad":

            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                raise ZeroDivisionError
        elif client.request.path == "/good":
            await echo(client)

    with broken(error) as handler:
        async with loop.serving(on_connection, max_connections=3) as server:
            sessions = server._acceptor._sessions
            good = await loop.connect(server, target="/good")
            bad = await loop.connect(server, target="/bad")
            bad.send("a callback raises")
            assert await bad.closed() == (1011, "")
            await loop.until(lambda: len(sessions) == 1)
            silent = await loop.connect(server)
            silent.send("is discarded, for there is no on_message")
            await silent.nothing()
            violating = await loop.connect(server)
            violating.raw(b"\xff\xff")
            assert (await violating.closed())[0] == 1002
            await loop.until(lambda: len(sessions) == 2)
            confused = await loop.dial(server)
            confused.raw(b"what?\r\n\r\n")
            assert (await confused.answer()).status == 400
            await loop.until(lambda: len(sessions) == 2)
            third = await loop.connect(server, target="/good")
            refused = await loop.dial(server)
            assert (await refused.answer()).status == 503
            for peer in (good, third):
                peer.send("undisturbed")
                assert await peer.message() == "undisturbed"
            assert handler.calls == 5
    assert capfd.readouterr().err.count(type(error).__name__) >= 5


@on_memory
async def test_what_a_handler_raises_is_printed_as_logging_says(
    loop: MemoryLoop, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with broken(OSError("no space left")):
        log_line(None, logging.ERROR, "printed")
        assert "OSError: no space left" in capfd.readouterr().err
        monkeypatch.setattr(logging, "raiseExceptions", False)
        log_line(None, logging.ERROR, "not printed")
        assert capfd.readouterr().err == ""
        monkeypatch.setattr(logging, "raiseExceptions", True)
        monkeypatch.setattr(sys, "stderr", None)
        log_line(None, logging.ERROR, "there is nowhere to print to")


def test_what_ends_the_program_goes_on() -> None:
    with broken(SystemExit(1)), pytest.raises(SystemExit):
        log_line(None, logging.ERROR, "the last line")


def test_a_line_names_the_place_where_it_is_written(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log_line(None, logging.INFO, "%s and %s", "one", "two")
    [record] = caplog.records
    assert record.getMessage() == "one and two"
    assert record.funcName == "test_a_line_names_the_place_where_it_is_written"
