"""Buffer: the low-level reads, and the back-pressure on who writes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.loops import Loop, on_each_loop
from wstransports import Buffer, IncompleteReadError
from wstransports.testing.memory import MemoryRuntime


async def filled(*pieces: bytes, limit: int = 65536, eof: bool = False) -> Buffer:
    buffer = Buffer(limit)
    for piece in pieces:
        await buffer.write(piece)
    if eof:
        buffer.feed_eof()
    return buffer


# --- read


@on_each_loop
async def test_read_n_bytes(loop: Loop) -> None:
    buffer = await filled(b"abc", b"def")
    assert await buffer.read(2) == b"ab"
    assert await buffer.read(3) == b"cde"
    assert await buffer.read(0) == b""
    assert await buffer.read(1) == b"f"


@on_each_loop
async def test_read_waits_for_all_n(loop: Loop) -> None:
    buffer = await filled(b"abc")
    reading = loop.spawn(buffer.read(5))
    for piece in (b"d", b"ef"):
        await loop.checkpoint()
        assert not reading.done
        await buffer.write(piece)
    assert await reading.wait() == b"abcde"
    assert await buffer.read(1) == b"f"


@on_each_loop
async def test_read_gives_fewer_only_at_the_end(loop: Loop) -> None:
    buffer = await filled(b"abc")
    reading = loop.spawn(buffer.read(5))
    await loop.checkpoint()
    buffer.feed_eof()
    assert await reading.wait() == b"abc"
    assert await buffer.read(5) == b""
    assert await buffer.read() == b""


@on_each_loop
async def test_read_to_the_end(loop: Loop) -> None:
    buffer = await filled(b"abc")
    reading = loop.spawn(buffer.read())
    await loop.checkpoint()
    await buffer.write(b"def")
    await loop.checkpoint()
    assert not reading.done
    buffer.feed_eof()
    assert await reading.wait() == b"abcdef"


@on_each_loop
async def test_what_is_read_is_bytes(loop: Loop) -> None:
    buffer = await filled(b"abc", eof=True)
    assert type(await buffer.read(2)) is bytes
    assert type(await buffer.read()) is bytes


@on_each_loop
async def test_n_may_exceed_the_limit(loop: Loop) -> None:
    buffer = Buffer(limit=4)

    async def write() -> None:
        for _ in range(10):
            await buffer.write(b"abc")

    writing = loop.spawn(write())
    assert await buffer.read(28) == (b"abc" * 10)[:28]
    await writing.wait()
    assert await buffer.read(2) == b"bc"


@on_each_loop
async def test_read_to_the_end_of_more_than_the_limit(loop: Loop) -> None:
    buffer = Buffer(limit=4)

    async def write() -> None:
        for _ in range(10):
            await buffer.write(b"abc")
        buffer.feed_eof()

    loop.spawn(write())
    assert await buffer.read() == b"abc" * 10


@on_each_loop
async def test_a_cancelled_read_puts_back_what_it_took(loop: Loop) -> None:
    for n in (8, -1):
        buffer = await filled(b"abc")
        reading = loop.spawn(buffer.read(n))
        await loop.checkpoint()
        await buffer.write(b"def")
        await loop.checkpoint()
        reading.cancel()
        with pytest.raises(loop.cancelled):
            await reading.wait()
        await buffer.write(b"ghi")
        assert await buffer.read(9) == b"abcdefghi"


@on_each_loop
async def test_a_read_that_was_put_back_holds_writers_again(loop: Loop) -> None:
    buffer = await filled(b"abc", limit=3)
    reading = loop.spawn(buffer.read(10))
    await loop.checkpoint()
    await buffer.write(b"def")
    await loop.checkpoint()
    reading.cancel()
    with pytest.raises(loop.cancelled):
        await reading.wait()
    writing = loop.spawn(buffer.write(b"g"))
    await loop.checkpoint()
    assert not writing.done
    assert await buffer.read(4) == b"abcd"
    await writing.wait()
    assert await buffer.read(3) == b"efg"


@on_each_loop
async def test_two_tasks_cannot_read_at_once(loop: Loop) -> None:
    buffer = Buffer()
    reading = loop.spawn(buffer.read(1))
    await loop.checkpoint()
    with pytest.raises(RuntimeError, match="another task"):
        await buffer.read(1)
    await buffer.write(b"a")
    assert await reading.wait() == b"a"


# --- read_into, read_into_exactly


@pytest.mark.parametrize("kind", [bytearray, lambda data: memoryview(bytearray(data))])
@on_each_loop
async def test_read_into(loop: Loop, kind: Any) -> None:
    buffer = await filled(b"abcdef")
    target = kind(b"........")
    assert await buffer.read_into(target, 3) == 3
    assert bytes(target) == b"abc....."
    assert await buffer.read_into(target, 2, 5) == 2
    assert bytes(target) == b"abc..de."
    assert await buffer.read_into(target, 0) == 0
    assert bytes(target) == b"abc..de."


@on_each_loop
async def test_short_results_are_cut_never_zero_filled(loop: Loop) -> None:
    buffer = await filled(b"abc", eof=True)
    target = bytearray(b"........")
    assert await buffer.read_into(target, 6, 1) == 3
    assert target == b".abc...."
    assert await buffer.read_into(target, 6) == 0
    assert target == b".abc...."
    assert len(target) == 8


@pytest.mark.parametrize(("n", "offset"), [(9, 0), (8, 1), (0, 9), (-1, 0), (1, -1)])
@on_each_loop
async def test_what_does_not_fit_raises_and_takes_nothing(loop: Loop, n: int, offset: int) -> None:
    buffer = await filled(b"abc", eof=True)
    target = bytearray(8)
    for read in (buffer.read_into, buffer.read_into_exactly):
        with pytest.raises(ValueError, match="fit"):
            await read(target, n, offset)
    assert target == bytes(8)
    assert await buffer.read() == b"abc"


@on_each_loop
async def test_read_into_exactly(loop: Loop) -> None:
    buffer = await filled(b"abcdef", eof=True)
    target = bytearray(8)
    await buffer.read_into_exactly(target, 4, 2)
    assert target == b"\0\0abcd\0\0"
    with pytest.raises(IncompleteReadError) as caught:
        await buffer.read_into_exactly(target, 4)
    assert (caught.value.partial, caught.value.expected) == (2, 4)
    assert str(caught.value) == "the data ended after 2 of 4 bytes"
    assert isinstance(caught.value, EOFError)


@on_each_loop
async def test_read_into_exactly_waits(loop: Loop) -> None:
    buffer = Buffer()
    target = bytearray(4)
    reading = loop.spawn(buffer.read_into_exactly(target, 4))
    for letter in b"abcd":
        assert not reading.done
        await buffer.write(bytes([letter]))
        await loop.checkpoint()
    await reading.wait()
    assert target == b"abcd"


@on_each_loop
async def test_a_cancelled_read_into_leaves_the_target_alone(loop: Loop) -> None:
    buffer = await filled(b"abc")
    target = bytearray(b"....")
    reading = loop.spawn(buffer.read_into(target, 4))
    await loop.checkpoint()
    reading.cancel()
    with pytest.raises(loop.cancelled):
        await reading.wait()
    assert target == b"...."
    buffer.feed_eof()
    assert await buffer.read() == b"abc"


# --- write


@on_each_loop
async def test_write_waits_while_more_than_the_limit_is_unread(loop: Loop) -> None:
    buffer = Buffer(limit=4)
    await buffer.write(b"abcd")
    writing = loop.spawn(buffer.write(b"e"))
    await loop.checkpoint()
    assert not writing.done
    assert await buffer.read(1) == b"a"
    await writing.wait()


@on_each_loop
async def test_several_writers_keep_their_order(loop: Loop) -> None:
    buffer = Buffer(limit=1)

    async def write(name: bytes) -> None:
        for number in (b"1", b"2", b"3"):
            await buffer.write(name + number)

    writers = [loop.spawn(write(name)) for name in (b"a", b"b", b"c")]
    pieces = [await buffer.read(2) for _ in range(9)]
    for writer in writers:
        await writer.wait()
    for name in b"abc":
        assert [piece for piece in pieces if piece[0] == name] == [
            bytes([name]) + number for number in (b"1", b"2", b"3")
        ]


@on_each_loop
async def test_a_cancelled_write_has_written(loop: Loop) -> None:
    buffer = Buffer(limit=1)
    writing = loop.spawn(buffer.write(b"abc"))
    await loop.checkpoint()
    writing.cancel()
    with pytest.raises(loop.cancelled):
        await writing.wait()
    assert await buffer.read(3) == b"abc"


@on_each_loop
async def test_a_piece_longer_than_the_limit(loop: Loop) -> None:
    buffer = Buffer(limit=4)
    writing = loop.spawn(buffer.write(b"x" * 100))
    await loop.checkpoint()
    assert await buffer.read(95) == b"x" * 95
    await loop.checkpoint()
    assert not writing.done
    assert await buffer.read(1) == b"x"
    await writing.wait()


@pytest.mark.parametrize("data", [b"ab", bytearray(b"ab"), memoryview(b"ab")])
@on_each_loop
async def test_every_bytes_like_can_be_written(loop: Loop, data: Any) -> None:
    assert await (await filled(data, eof=True)).read() == b"ab"


@pytest.mark.parametrize("data", ["ab", 2, None])
@on_each_loop
async def test_anything_else_is_a_type_error(loop: Loop, data: Any) -> None:
    buffer = Buffer()
    with pytest.raises(TypeError):
        await buffer.write(data)
    assert buffer.empty()


@on_each_loop
async def test_write_after_feed_eof_raises(loop: Loop) -> None:
    buffer = await filled(b"abc", eof=True)
    with pytest.raises(RuntimeError, match="feed_eof"):
        await buffer.write(b"def")
    assert await buffer.read() == b"abc"


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_at_least_a_byte(limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        Buffer(limit)


# --- empty, at_eof, set_exception


@on_each_loop
async def test_empty_and_at_eof(loop: Loop) -> None:
    buffer = Buffer()
    assert (buffer.empty(), buffer.at_eof()) == (True, False)
    await buffer.write(b"ab")
    assert (buffer.empty(), buffer.at_eof()) == (False, False)
    buffer.feed_eof()
    assert (buffer.empty(), buffer.at_eof()) == (False, False)
    await buffer.read(1)
    assert (buffer.empty(), buffer.at_eof()) == (False, False)
    await buffer.read(1)
    assert (buffer.empty(), buffer.at_eof()) == (True, True)


@on_each_loop
async def test_set_exception_raises_from_the_next_read_and_every_one_after(loop: Loop) -> None:
    buffer = await filled(b"abc")
    error = OSError("gone")
    buffer.set_exception(error)
    target = bytearray(3)
    for call in (
        lambda: buffer.read(1),
        lambda: buffer.read(),
        lambda: buffer.read_into(target, 1),
        lambda: buffer.read_into_exactly(target, 1),
    ):
        with pytest.raises(OSError, match="gone") as caught:
            await call()
        assert caught.value is error


@on_each_loop
async def test_set_exception_wakes_who_reads_and_who_writes(loop: Loop) -> None:
    buffer = Buffer(limit=1)
    writing = loop.spawn(buffer.write(b"abc"))
    await loop.checkpoint()
    buffer.set_exception(OSError("gone"))
    await writing.wait()

    buffer = Buffer()
    reading = loop.spawn(buffer.read(1))
    await loop.checkpoint()
    buffer.set_exception(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        await reading.wait()


@on_each_loop
async def test_what_a_failed_read_took_is_put_back(loop: Loop) -> None:
    buffer = await filled(b"abc")
    reading = loop.spawn(buffer.read(9))
    await loop.until(buffer.empty)
    buffer.set_exception(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        await reading.wait()
    assert not buffer.empty()


# --- Any order of writes and reads


@given(
    pieces=st.lists(st.binary(max_size=20), max_size=20),
    sizes=st.lists(st.integers(0, 30), max_size=20),
    limit=st.integers(1, 40),
)
def test_what_is_written_is_what_is_read(pieces: list[bytes], sizes: list[int], limit: int) -> None:
    async def main() -> None:
        buffer = Buffer(limit)

        async def write() -> None:
            for piece in pieces:
                await buffer.write(piece)
                assert len(buffer._data) <= limit
            buffer.feed_eof()

        writing = runtime.spawn(write())
        written, read = b"".join(pieces), b""
        for size in sizes:
            piece = await buffer.read(size)
            assert len(piece) == min(size, len(written) - len(read))
            read += piece
        read += await buffer.read()
        await writing
        assert read == written
        assert buffer.at_eof()

    runtime = MemoryRuntime()
    runtime.run(main)
