"""What `wstransports.testing` has for the tests of users' programs."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from kit.log import Log
from kit.loops import Loop, MemoryLoop, on_memory, on_own_streams, on_sockets
from wstransports import Client, ConnectionClosed, State, WebSocketReader, WebSocketServer, sync
from wstransports.runtime import running
from wstransports.testing import (
    MemoryRuntime,
    Wire,
    connected_pair,
    connected_to,
    serving_in_thread,
)

pytest_plugins = ["wstransports.testing.pytest_plugin"]


def echo_server() -> WebSocketServer:
    server = WebSocketServer("127.0.0.1", 0)

    @server.connection
    async def on_connection(client: Client) -> None:
        async for message in client:
            await client.writer.send(f"{client.request.target} {message!s}")

    return server


@on_own_streams
async def test_a_server_and_its_client_in_one_line(loop: Loop) -> None:
    async with connected_to(echo_server(), "/chat?x=1", timeout=20) as client:
        await client.writer.send("Hello")
        assert await client.receive() == "/chat?x=1 Hello"
    assert client.state is State.CLOSED


@on_own_streams
async def test_a_pair_in_one_line(loop: Loop) -> None:
    async with connected_pair(compression=None) as (mine, theirs):
        await mine.writer.send("to the server")
        assert await theirs.receive() == "to the server"
        await theirs.writer.send("to the client")
        assert await mine.receive() == "to the client"
        await mine.writer.send("unread")
        await theirs.writer.send("unread")
    assert (mine.state, theirs.state) == (State.CLOSED, State.CLOSED)


@on_memory
async def test_a_pair_with_callbacks(loop: MemoryLoop) -> None:
    async with connected_pair() as (mine, theirs):

        @theirs.message
        async def on_message(reader: WebSocketReader) -> None:
            await theirs.writer.send(f"got {await reader.get(str)}")

        await mine.writer.send("this")
        assert await mine.receive() == "got this"


@on_memory
async def test_a_pair_ends_with_the_error_of_its_block(loop: MemoryLoop) -> None:
    with pytest.raises(ZeroDivisionError):
        async with connected_pair() as (mine, theirs):
            raise ZeroDivisionError
    assert (mine.state, theirs.state) == (State.CLOSED, State.CLOSED)


# Faults of the network.


@on_own_streams
async def test_a_wire_that_is_cut(loop: Loop) -> None:
    async with connected_pair() as (mine, theirs):
        Wire(mine).cut()
        for end in mine, theirs:
            with pytest.raises(ConnectionClosed, match="1006"):
                await end.receive()


async def parts_of(client: Client, parts: list[str | bytes]) -> None:
    """Keep what arrives of messages, complete or not."""

    @client.message
    async def on_message(reader: WebSocketReader) -> None:
        async for part in reader:
            parts.append(part)


async def cut_in_the_middle_of_a_message(loop: Loop) -> None:
    async with connected_pair() as (mine, theirs):
        parts: list[str | bytes] = []
        await parts_of(theirs, parts)
        wire = Wire(mine)
        wire.cut(after=6 + 3 + 6 + 4)  # two heads of 2 and 4 bytes, and some text
        with pytest.raises(ConnectionClosed, match="1006"):
            for message in ("one", "two is longer", "three"):
                await mine.writer.send(message)
            await mine.receive()
        await loop.until(lambda: theirs.state is State.CLOSED)
        assert "".join(map(str, parts)) == "onetwo "
        wire.go_on()  # of a connection that is lost: nothing to do
        mine._session.pipe.write(b"of one that is lost")
        assert mine._session.pipe.waiting() == 0


@on_own_streams
async def test_a_wire_that_is_cut_in_the_middle_of_a_message(loop: Loop) -> None:
    await cut_in_the_middle_of_a_message(loop)


def test_a_wire_that_is_cut_byte_by_byte() -> None:
    loop = MemoryLoop()
    loop.runtime = MemoryRuntime(chunk=1)
    loop.run(lambda: cut_in_the_middle_of_a_message(loop))


@on_memory
async def test_a_cut_waits_for_a_peer_that_does_not_read(loop: MemoryLoop) -> None:
    """What is to arrive before it arrives."""
    async with connected_pair(compression=None) as (mine, theirs):
        theirs._session.pipe.pause_reading()
        Wire(mine).cut(after=40_000)
        await mine.writer.send(bytes(100_000))
        await loop.advance(60)
        assert mine.state is State.OPEN
        theirs._session.pipe.resume_reading()
        await loop.settle()
        await loop.advance(0.001)
        with pytest.raises(ConnectionClosed, match="1006"):
            await mine.receive()


@on_memory
async def test_a_wire_with_a_delay(loop: MemoryLoop) -> None:
    async with connected_pair() as (mine, theirs):
        wire = Wire(mine)
        wire.delay(2)
        await mine.writer.send("at 2")
        await loop.advance(1)
        await mine.writer.send("at 3")
        receiving = loop.spawn(theirs.receive())
        await loop.advance(0.9)
        assert not receiving.done
        await loop.advance(0.1)
        assert await receiving.wait() == "at 2"
        receiving = loop.spawn(theirs.receive())
        await loop.advance(0.9)
        assert not receiving.done
        await loop.advance(0.1)
        assert await receiving.wait() == "at 3"
        wire.delay(0)
        await mine.writer.send("at once")
        assert await theirs.receive() == "at once"


@on_sockets
async def test_a_delay_on_a_real_clock(loop: Loop) -> None:
    """The other direction has none, and the Close waits its turn."""
    async with connected_pair() as (mine, theirs):
        Wire(mine).delay(0.05)
        await theirs.writer.send("at once")
        assert await mine.receive() == "at once"
        began = running().now()
        await mine.writer.send("late")
        closing = loop.spawn(mine.close())
        assert await theirs.receive() == "late"
        assert running().now() - began >= 0.05
        with pytest.raises(ConnectionClosed, match="1000"):
            await theirs.receive()
        await closing.wait()


@on_own_streams
async def test_a_peer_that_never_reads(loop: Loop) -> None:
    async with connected_pair(compression=None) as (mine, theirs):
        wire = Wire(mine)
        wire.stop()
        sending = loop.spawn(mine.writer.send(bytes(100_000)))
        await loop.until(lambda: mine._session.pipe.waiting() > 100_000)
        assert not sending.done  # it waits for buffer space
        wire.go_on()
        assert await theirs.receive() == bytes(100_000)
        await sending.wait()


@on_own_streams
async def test_a_peer_that_never_reads_is_dropped(loop: Loop, log: Log) -> None:
    """A sender that waits gets the error."""
    async with connected_pair(compression=None, timeout=0.2) as (mine, theirs):
        Wire(mine).stop()
        sending = loop.spawn(mine.writer.send(bytes(100_000)))
        if isinstance(loop, MemoryLoop):
            await loop.advance(1)
        with pytest.raises(ConnectionClosed, match="1006"):
            await sending.wait()
        with pytest.raises(ConnectionClosed, match="1006"):
            await theirs.receive()
    lines = log.lines()
    assert lines and all(line.startswith("dropped, ") for line in lines)


@on_sockets
async def test_a_message_in_two_writes(loop: Loop) -> None:
    """Its head and its payload, which are not copied."""
    async with connected_pair(compression=None) as (mine, theirs):
        Wire(mine)
        sending = loop.spawn(mine.writer.send(bytes(2**19)))
        assert await theirs.receive() == bytes(2**19)
        await sending.wait()


@on_memory
async def test_what_a_wire_cannot_do(loop: MemoryLoop) -> None:
    async with connected_pair() as (mine, _):
        wire = Wire(mine)
        with pytest.raises(ValueError, match="after must be 0 bytes or more, not -1"):
            wire.cut(after=-1)
        with pytest.raises(ValueError, match="seconds must be 0 or more, not -1"):
            wire.delay(-1)
        with pytest.raises(RuntimeError, match="has a Wire already: use that"):
            Wire(mine)
        mistaken: Any = mine._session
        with pytest.raises(TypeError, match="needs a Client of wstransports, not <.*Session"):
            Wire(mistaken)


def test_a_server_in_a_thread() -> None:
    with serving_in_thread(echo_server()) as uri, sync.connect(uri) as client:
        client.send("Hello")
        assert client.receive(timeout=10) == "/ Hello"


def test_a_server_in_a_thread_that_cannot_listen() -> None:
    with serving_in_thread(echo_server()) as uri:
        taken = WebSocketServer("127.0.0.1", int(uri.rpartition(":")[2].strip("/")))
        with pytest.raises(OSError, match="in use"), serving_in_thread(taken):
            raise AssertionError("the port is taken")


# The plugin.


async def test_on_the_memory_loop(memory_loop: MemoryRuntime) -> None:
    async with connected_to(echo_server(), timeout=20) as client:
        await memory_loop.advance(100)
        assert client.latency == 0.0


def test_that_is_plain_but_has_the_loop(memory_loop: MemoryRuntime) -> None:
    async def main() -> float:
        return memory_loop.now()

    assert memory_loop.run(main) == 0


def test_with_a_server(serve: Callable[[WebSocketServer], str]) -> None:
    with sync.connect(serve(echo_server())) as one, sync.connect(serve(echo_server())) as two:
        for client in one, two:
            client.send("Hello")
            assert client.receive(timeout=10) == "/ Hello"


@pytest.mark.slow
def test_pytest_is_not_imported_unasked() -> None:
    code = "import sys, wstransports.testing; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
