"""What a cancellation takes away, and what it leaves: the table of docs/trio.md."""

import pytest

pytest.importorskip("trio", reason="trio is not installed")

import trio
import trio.testing
from closes import Closes
from test_trio_basics import echo_server

from kit.stream_peer import StreamPeer
from wstransports import Client, Reasons, WebSocketReader, WebSocketServer, connect


def test_a_cancelled_get_is_gone_on_with() -> None:
    """What had arrived of the message is not lost."""
    got: list[str | bytes] = []

    async def main() -> None:
        server = WebSocketServer("127.0.0.1", 0)
        done = trio.Event()

        @server.connection
        async def on_connection(client: Client) -> None:
            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await reader.get()
                assert scope.cancelled_caught
                await client.writer.send("the rest, please")
                got.append(await reader.get())
                done.set()

        async with server, connect(f"ws://127.0.0.1:{server.port}") as client:
            async with client.writer.fragment() as stream:
                await stream.send("a")
                await stream.send("b")
                assert await client.receive() == "the rest, please"
            await done.wait()

    trio.run(main)
    assert got == ["ab"]


def test_half_a_message_fails_its_connection() -> None:
    async def main() -> None:
        closes = Closes()
        server = WebSocketServer("127.0.0.1", 0)
        server.connection(closes.follow)

        async with server, connect(f"ws://127.0.0.1:{server.port}") as client:
            with trio.CancelScope() as scope:
                async with client.writer.fragment() as stream:
                    await stream.send("a")
                    await stream.send("b")
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
            await closes.any.wait()
            assert client.writer.closed
        assert closes.reported == [(Reasons.UNEXPECTED_CONDITION, "a message was broken off")]

    trio.run(main)


def test_a_send_that_waits_for_its_turn_is_taken_back() -> None:
    async def main() -> None:
        server = echo_server()
        async with server, connect(f"ws://127.0.0.1:{server.port}") as client:
            async with trio.open_nursery() as nursery, client.writer.fragment() as stream:
                await stream.send("a")

                async def send() -> None:
                    await client.writer.send("not sent")

                nursery.start_soon(send)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await stream.send("b")
            await client.writer.send("c")
            assert [await client.receive(), await client.receive()] == ["ab", "c"]

    trio.run(main)


def test_a_cancelled_close_goes_on() -> None:
    async def main() -> None:
        closes = Closes()
        server = echo_server()
        async with server, connect(f"ws://127.0.0.1:{server.port}") as client:
            await closes.follow(client)
            with trio.CancelScope() as scope:
                scope.cancel()
                await client.close(4000)
            assert scope.cancelled_caught
            await closes.any.wait()
        assert closes.reported == [(4000, "")]

    trio.run(main)


def test_a_cancelled_connect_leaves_nothing() -> None:
    async def main() -> None:
        tasks = trio.lowlevel.current_statistics().tasks_living
        listener = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener[0].socket.getsockname()[1]
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def accept() -> None:
                    stream = await listener[0].accept()
                    await stream.receive_some()  # the request: it connects, and waits for us
                    scope.cancel()
                    with trio.CancelScope(shield=True), trio.fail_after(5):
                        assert await stream.receive_some() == b""
                        await stream.aclose()
                        ended.set()

                ended = trio.Event()
                nursery.start_soon(accept)
                async with connect(f"ws://127.0.0.1:{port}"):
                    raise AssertionError("it is connected")
        assert scope.cancelled_caught
        assert ended.is_set()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        await listener[0].aclose()

    trio.run(main)


def test_a_cancelled_server_waits_for_its_clients_no_longer_than_its_shutdown_timeout() -> None:
    async def main() -> None:
        server = WebSocketServer("127.0.0.1", 0, shutdown_timeout=7)
        with trio.CancelScope() as scope:
            async with server:
                peer = await StreamPeer.connected(server.port)
                begun = trio.current_time()
                scope.cancel()
        assert 7 <= trio.current_time() - begun <= 15
        await peer.stream.aclose()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.05))


@pytest.mark.parametrize("how", ["break", "cancel"])
def test_a_loop_over_connections_that_is_left_closes_the_last_one(how: str) -> None:
    async def main() -> None:
        closes = Closes()
        server = WebSocketServer("127.0.0.1", 0)
        server.connection(closes.follow)

        async def loop() -> None:
            async for client in connect(f"ws://127.0.0.1:{server.port}"):
                if how == "break":
                    break
                scope.cancel()
                await client.receive()

        async with server:
            await trio.testing.wait_all_tasks_blocked()  # the server's have begun
            tasks = trio.lowlevel.current_statistics().tasks_living
            with trio.CancelScope() as scope:
                await loop()
            await closes.any.wait()
            with trio.fail_after(5):
                while trio.lowlevel.current_statistics().tasks_living > tasks:
                    await trio.lowlevel.checkpoint()
        assert closes.reported == [(Reasons.NORMAL, "")]

    trio.run(main)
