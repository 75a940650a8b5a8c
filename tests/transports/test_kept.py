"""An outgoing client that is kept when its connection is over, and what it still does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from kit.connecting import connecting
from kit.log import Log
from kit.loops import Loop, on_each_loop, on_own_streams, state_of
from wscore import State
from wstransports import Client, ConnectionClosed, WebSocketReader


@asynccontextmanager
async def lost(loop: Loop) -> AsyncIterator[Client]:
    """A client whose connection is over, with a message that nobody has taken."""
    kept: list[Client] = []

    async def on_connection(client: Client) -> None:
        kept.append(client)
        await client.writer.send("first")

    async with loop.serving(on_connection) as server:
        async with connecting(server, close_timeout=0.1) as client:
            await loop.until(lambda: client._session.inbox._waiting)
            kept[0]._session.pipe.abort()
            await loop.until(lambda: state_of(client) is State.CLOSED)
            yield client


@on_own_streams
async def test_what_a_late_callback_raises_is_logged_under_its_name(loop: Loop, log: Log) -> None:
    async with lost(loop) as client:
        name = str(client._session.identity)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            raise ZeroDivisionError

        await loop.until(lambda: log.records)
        assert log.records[0].getMessage() == f"{name}: on_message raised"
        [(_, error)] = log.tracebacks()
        assert isinstance(error, ZeroDivisionError)


@on_own_streams
async def test_so_is_the_end_of_another_connection(loop: Loop, log: Log) -> None:
    """As in a bridge, where one may end after the other."""
    async with lost(loop) as upstream, lost(loop) as client:

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await upstream.writer.send(await reader.get())

        await loop.until(lambda: log.records)
        [(line, error)] = log.tracebacks()
        assert line == "on_message raised"
        assert isinstance(error, ConnectionClosed)
        assert error.client is upstream


@on_own_streams
async def test_that_of_its_own_just_ends_it(loop: Loop, log: Log) -> None:
    raised: list[ConnectionClosed] = []
    async with lost(loop) as client:

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            try:
                await client.writer.send(await reader.get())
            except ConnectionClosed as closed:
                raised.append(closed)
                raise

        await loop.until(lambda: raised)
        await loop.checkpoint()
        assert raised[0].client is client
        assert log.records == []


@on_each_loop
async def test_what_was_gathered_when_it_ended_is_dropped(loop: Loop, log: Log) -> None:
    """The task that would send it ends without an error."""

    async def on_connection(client: Client) -> None:
        for number in range(3):
            await client.writer.send(str(number))

    async with (
        loop.serving(on_connection) as server,
        connecting(server, close_timeout=0.1) as client,
    ):
        outbox = client._session.outbox
        await loop.until(lambda: len(client._session.inbox._waiting) == 3)
        client._session.pipe.abort()
        assert await client.receive() == "0"
        with suppress(ConnectionClosed):  # on some loops a sender hears of it at once
            await client.writer.send("gathered, because more messages wait")
        await loop.until(lambda: state_of(client) is State.CLOSED and not outbox._releasing)
        with pytest.raises(ConnectionClosed, match="1006"):
            await client.writer.send("late")
        assert log.records == []
