"""An extension that raises, or zlib for want of memory: its connection ends, and nobody else's."""

import pytest
from test_hostile import Scene, scene

import wstransports.batch
from kit.frames import masked
from kit.log import Log
from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from wscore import Deflate
from wscore.extensions.deflate import Inflater
from wstransports import Client, Reasons, WebSocketReader

BROKEN = "broken" * 1000  # long enough to be compressed
DROPPED = "dropped because of an error in handling the connection"


@pytest.fixture(autouse=True)
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises for such a message."""
    really_decode = Inflater.decode

    def decode(self: Inflater, data: bytes, last: bool, most: int) -> bytes:
        decoded = really_decode(self, data, last, most)
        if b"broken" in decoded:
            raise MemoryError
        return decoded

    monkeypatch.setattr(Inflater, "decode", decode)


def one_error(log: Log) -> None:
    [(what, error)] = log.tracebacks()
    assert what == DROPPED
    assert isinstance(error, MemoryError)


async def dropped(here: Scene, log: Log) -> None:
    """on_closed runs once at our end, and nothing is left of it."""
    await here.loop.until(lambda: len(here.server._acceptor._sessions) == 1)
    assert here.reported == [(Reasons.ABNORMAL_CLOSE, "the connection was lost")]
    one_error(log)
    await here.undisturbed()


@on_each_loop
async def test_as_it_comes(loop: Loop, log: Log) -> None:
    async with scene(loop) as here:
        peer = await loop.connect(here.server, extensions=[Deflate()])
        peer.send(BROKEN)
        await peer.eof()
        await dropped(here, log)


@on_each_loop
async def test_in_what_was_kept_back(loop: Loop, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is parsed on a later turn of the loop."""
    monkeypatch.setattr(wstransports.batch, "WORK_AT_ONCE", 0)
    async with scene(loop, read_limit=10**6) as here:
        peer = await loop.connect(here.server, extensions=[Deflate()])
        with peer.in_one_write():
            peer.raw(masked(0x8A) * 300)
            peer.send(BROKEN)
        await peer.eof()
        await dropped(here, log)


@on_memory
async def test_in_what_was_kept_back_of_a_peer_that_is_lost(
    loop: MemoryLoop, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream is lost already; the end comes all the same."""
    monkeypatch.setattr(wstransports.batch, "WORK_AT_ONCE", -1)  # by a clock that stands still
    may_go_on = loop.signal()

    async def on_message(client: Client, reader: WebSocketReader) -> None:
        await may_go_on.wait()

    async with scene(loop, on_message, read_limit=10**6) as here:
        peer = await loop.connect(here.server, extensions=[Deflate()])
        with peer.in_one_write():
            peer.raw(masked(0x82, b"x") * 3000)  # the loss comes between its slices
            peer.send(BROKEN)
        await loop.until(lambda: any(one.core.more for one in here.server._acceptor._sessions))
        peer.reset()
        await loop.until(lambda: here.reported)
        may_go_on.set()
        await dropped(here, log)
