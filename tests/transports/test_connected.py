"""What `wstransports.testing` has for the tests of users' programs."""

import asyncio
import subprocess
import sys
from collections.abc import Callable

import pytest

from kit.loops import Loop, MemoryLoop, on_memory, on_own_streams
from wstransports import Client, ConnectionClosed, State, WebSocketReader, WebSocketServer, sync
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


@on_memory
async def test_a_wire_that_is_cut(loop: MemoryLoop) -> None:
    async with connected_pair() as (mine, theirs):
        Wire(mine).cut()
        for end in mine, theirs:
            with pytest.raises(ConnectionClosed, match="1006"):
                await end.receive()


@pytest.mark.parametrize("chunk", [1, 65536])
def test_a_wire_that_is_cut_in_the_middle_of_a_message(chunk: int) -> None:
    runtime = MemoryRuntime(chunk)

    async def main() -> None:
        async with connected_pair() as (mine, theirs):
            parts: list[str | bytes] = []

            @theirs.message
            async def on_message(reader: WebSocketReader) -> None:
                async for part in reader:
                    parts.append(part)

            wire = Wire(mine)
            wire.cut(after=6 + 3 + 6 + 4)  # two heads of 2 and 4 bytes, and some text
            await mine.writer.send("one")
            await runtime.settle()
            await mine.writer.send("two is longer")
            with pytest.raises(ConnectionClosed, match="1006"):
                await mine.receive()
            await runtime.settle()
            assert "".join(map(str, parts)) == "onetwo "
            wire.go_on()  # of a connection that is lost: nothing to do

    runtime.run(main)


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


@on_memory
async def test_a_peer_that_never_reads(loop: MemoryLoop) -> None:
    async with connected_pair(compression=None) as (mine, theirs):
        wire = Wire(mine)
        wire.stop()
        sending = loop.spawn(mine.writer.send(bytes(100_000)))
        await loop.settle()
        assert not sending.done  # it waits for buffer space
        wire.go_on()
        assert await theirs.receive() == bytes(100_000)
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


def test_a_wire_is_in_memory_only() -> None:
    async def main() -> None:
        async with connected_pair() as (mine, _):
            with pytest.raises(TypeError, match="is not on the memory loop: run it in a Memory"):
                Wire(mine)

    asyncio.run(main())


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


def test_pytest_is_not_imported_unasked() -> None:
    code = "import sys, wstransports.testing; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
