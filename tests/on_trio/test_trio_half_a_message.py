"""A cancelled send, as the peer sees it on the wire, and what sends raise from then on."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

pytest.importorskip("trio", reason="trio is not installed")

import trio
import trio.testing

from kit.frames import BINARY, CLOSE, FIN, TEXT, Frame
from kit.stream_peer import StreamPeer
from wstransports import Buffer, Client, ConnectionClosed, WebSocketServer, WebSocketWriter

# More than the buffers of any system hold.
MUCH = bytes(range(256)) * 2**16

BROKEN_OFF = 1011, "a message was broken off"

Act = Callable[[WebSocketWriter], Awaitable[object]]


async def cancelled(act: Act, client: Client) -> None:
    """Cancel it when all there is waits."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def cancel() -> None:
                await trio.testing.wait_all_tasks_blocked(0.01)
                scope.cancel()

            nursery.start_soon(cancel)
            await act(client.writer)
    assert scope.cancelled_caught


def after_cancelling(act: Act, see: Callable[[StreamPeer, Client], Awaitable[None]]) -> None:
    """Cancel what a server sends to a peer that reads nothing yet; then `see`."""

    async def main() -> None:
        server = WebSocketServer("127.0.0.1", 0, compression=None)
        clients: list[Client] = []
        begun, over = trio.Event(), trio.Event()

        @server.connection
        async def on_connection(client: Client) -> None:
            clients.append(client)
            await cancelled(act, client)
            begun.set()
            await over.wait()

        async with server:
            peer = await StreamPeer.connected(server.port)
            await begun.wait()
            await see(peer, clients[0])
            over.set()
            await peer.stream.aclose()

    trio.run(main)


async def still_open(peer: StreamPeer, client: Client) -> None:
    """What is sent next arrives, and nothing came before it."""
    await client.writer.send("next")
    assert await peer.frame() == Frame(FIN | TEXT, b"next")


def closes(*before: Frame, answers: bool = True) -> Callable[[StreamPeer, Client], Awaitable[None]]:
    """The Close follows these frames, and every later send raises its error."""

    async def see(peer: StreamPeer, client: Client) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            await client.writer.send("next")
        assert (caught.value.code, caught.value.reason) == BROKEN_OFF
        for frame in before:
            assert await peer.frame() == frame
        code, reason = BROKEN_OFF
        close = Frame(FIN | CLOSE, code.to_bytes(2) + reason.encode())
        assert await peer.frame() == close
        if answers:
            await peer.send(FIN | CLOSE, close.payload[:2])  # with the code, and no more
            await peer.gone()
        else:
            await peer.stream.aclose()
        while client.state.name != "CLOSED":
            await trio.lowlevel.checkpoint()
        with pytest.raises(ConnectionClosed) as caught:
            await client.writer.send("next")
        assert (caught.value.code, caught.value.reason) == BROKEN_OFF

    return see


def test_a_send_that_waits_for_room_is_queued_whole() -> None:
    async def see(peer: StreamPeer, client: Client) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.writer.send, "next")
            assert await peer.frame() == Frame(FIN | BINARY, MUCH)
            assert await peer.frame() == Frame(FIN | TEXT, b"next")

    after_cancelling(lambda writer: writer.send(MUCH), see)


@pytest.mark.parametrize("answers", [True, False])
def test_parts_that_nothing_follows(answers: bool) -> None:
    async def act(writer: WebSocketWriter) -> None:
        async with writer.fragment() as stream:
            await stream.send("a")
            await stream.send("b")
            await trio.sleep_forever()

    after_cancelling(act, closes(Frame(TEXT, b"a"), answers=answers))


def test_a_part_that_is_held_back() -> None:
    """Until the next, for it may be the last; who sent it shall not believe that it arrives."""

    async def act(writer: WebSocketWriter) -> None:
        async with writer.fragment() as stream:
            await stream.send("a")
            await trio.sleep_forever()

    after_cancelling(act, closes())


def test_a_part_that_waits_for_room() -> None:
    async def act(writer: WebSocketWriter) -> None:
        async with writer.fragment() as stream:
            await stream.send(MUCH)
            await stream.send(b"b")

    after_cancelling(act, closes(Frame(BINARY, MUCH)))


def test_a_fragment_of_which_no_part_is_sent() -> None:
    async def act(writer: WebSocketWriter) -> None:
        async with writer.fragment():
            await trio.sleep_forever()

    after_cancelling(act, still_open)


async def endless(*pieces: str) -> AsyncIterator[str]:
    """These, and then none for ever."""
    for piece in pieces:
        yield piece
    await trio.sleep_forever()


def test_a_feed_that_nothing_follows() -> None:
    after_cancelling(
        lambda writer: writer.feed(endless("a", "b")),
        closes(Frame(TEXT, b"a"), Frame(0, b"b")),
    )


def test_a_feed_that_waits_for_room() -> None:
    after_cancelling(lambda writer: writer.feed([MUCH, b"b"]), closes(Frame(BINARY, MUCH)))


@pytest.mark.parametrize("source", [endless, Buffer])
def test_a_feed_that_has_brought_nothing(source: Callable[[], Buffer | AsyncIterator[str]]) -> None:
    after_cancelling(lambda writer: writer.feed(source()), still_open)
