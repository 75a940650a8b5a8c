"""What users of trio expect of a library."""

import logging
import signal
import threading

import pytest

pytest.importorskip("trio", reason="trio is not installed")

import trio
import trio.testing
from closes import Closes
from test_trio_basics import echo_server

from kit.stream_peer import StreamPeer
from wstransports import (
    Client,
    Reasons,
    Request,
    WebSocketReader,
    WebSocketServer,
    connect,
)


def test_a_cancelled_receive_loses_nothing() -> None:
    async def main() -> None:
        server = echo_server()
        async with server, connect(f"ws://127.0.0.1:{server.port}") as client:
            for number in range(50):
                await client.writer.send(str(number))
            got: list[str | bytes] = []
            while len(got) < 50:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await client.receive()
                assert scope.cancelled_caught
                got.append(await client.receive())
            assert got == [str(number) for number in range(50)]

    trio.run(main)


def test_a_cancelled_send_is_sent_whole() -> None:
    """What it cancels is the wait for room: nothing of it is on the wire by halves."""

    async def main() -> None:
        server = echo_server()
        big = b"x" * 900_000
        async with server, connect(f"ws://127.0.0.1:{server.port}", compression=None) as client:
            for _ in range(3):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await client.writer.send(big)
                assert scope.cancelled_caught
            assert [await client.receive() for _ in range(3)] == [big] * 3

    trio.run(main)


def test_a_callbacks_exception_closes_its_client_alone(caplog: pytest.LogCaptureFixture) -> None:
    closes: list[tuple[Reasons | int, str]] = []

    async def main() -> None:
        server = WebSocketServer("127.0.0.1", 0)

        @server.connection
        async def on_connection(client: Client) -> None:
            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                if await reader.get() == "fail":
                    raise ZeroDivisionError
                await client.writer.send("fine")

        async with server:
            uri = f"ws://127.0.0.1:{server.port}"
            async with connect(uri) as good, connect(uri) as bad:

                @bad.closed
                async def on_closed(code: Reasons | int, reason: str) -> None:
                    closes.append((code, reason))

                await bad.writer.send("fail")
                await good.writer.send("go")
                assert await good.receive() == "fine"
                while not closes:
                    await trio.lowlevel.checkpoint()

    with caplog.at_level(logging.ERROR):
        trio.run(main)
    assert closes == [(Reasons.UNEXPECTED_CONDITION, "")]
    assert [record.message.split(": ")[1] for record in caplog.records] == ["on_message raised"]


def test_nothing_outlives_its_block_and_no_thread_is_used() -> None:
    async def main() -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        threads = threading.active_count()
        server = echo_server()
        async with server:
            async with connect(f"ws://127.0.0.1:{server.port}") as client:
                await client.writer.send("x")
                assert await client.receive() == "x"
                assert threading.active_count() == threads
        assert trio.lowlevel.current_statistics().tasks_living == before

    trio.run(main)


def test_time_is_trios() -> None:
    """A silent peer is dropped after the keepalive time of a clock that jumps."""
    closes = Closes()

    async def main() -> None:
        server = WebSocketServer("127.0.0.1", 0, timeout=1000)
        server.connection(closes.follow)

        async with server:
            peer = await StreamPeer.connected(server.port)
            await closes.any.wait()
            assert 1000 <= trio.current_time() - start <= 1100
            await peer.stream.aclose()

    clock = trio.testing.MockClock(autojump_threshold=0.05)
    start = clock.current_time()
    trio.run(main, clock=clock)
    assert len(closes.reported) == 1


def test_an_error_of_the_block_comes_as_it_is() -> None:
    """Not in a group, as those of a nursery do."""

    async def main() -> None:
        server = echo_server()
        with pytest.raises(KeyError):
            async with server, connect(f"ws://127.0.0.1:{server.port}"):
                raise KeyError

    trio.run(main)


def test_ctrl_c_ends_a_callback_that_never_waits() -> None:
    """And nothing of ours is cut short by it: only callbacks are open to it."""
    protected: list[bool] = []

    async def main() -> None:
        server = WebSocketServer("127.0.0.1", 0, close_timeout=1)

        @server.connection
        async def on_connection(client: Client) -> None:
            protected.append(trio.lowlevel.currently_ki_protected())
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("it goes on")

        async with server, connect(f"ws://127.0.0.1:{server.port}") as client:
            await client.receive()

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main)
    assert caught.group_contains(KeyboardInterrupt)
    assert protected == [False]


def test_ctrl_c_during_the_streams_goes_to_the_main_task() -> None:
    async def main() -> None:
        interrupts = iter([True])

        def process_request(request: Request) -> None:
            if next(interrupts, False):
                signal.raise_signal(signal.SIGINT)  # in the task that reads

        server = WebSocketServer("127.0.0.1", 0, process_request=process_request)
        async with server:
            client = connect(f"ws://127.0.0.1:{server.port}")
            async with client:
                await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
