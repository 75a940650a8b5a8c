"""What is sent, byte for byte, and what is refused."""

import gc
import re
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
from wire import ROLES, AnyConnection, encode, inside, open_end, open_pair, receive, sent_frames

import wscore.masking
from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, Frame, xor
from wscore import (
    ClientConnection,
    CloseFrame,
    DataType,
    LocalProtocolError,
    Phase,
    Reasons,
    Response,
    ServerConnection,
)
from wscore.reasons import PRIVATE, may_receive, may_send, reason_for

both_roles = pytest.mark.parametrize("role", ROLES)

SIZES = {
    0: b"\x00",
    1: b"\x01",
    124: b"\x7c",
    125: b"\x7d",
    126: b"\x7e\x00\x7e",
    127: b"\x7e\x00\x7f",
    128: b"\x7e\x00\x80",
    65535: b"\x7e\xff\xff",
    65536: b"\x7f\x00\x00\x00\x00\x00\x01\x00\x00",
    65537: b"\x7f\x00\x00\x00\x00\x00\x01\x00\x01",
}


class Text(str):
    """A str that is not just one, as markup and enumeration members are."""


class Bytes(bytes):
    """Bytes that are not just some."""


@pytest.mark.parametrize("size", SIZES)
def test_a_server_sends_the_shortest_length(size: int) -> None:
    """RFC 6455 section 5.2, to the byte."""
    server, _ = open_pair()
    server.send_message("x" * size)
    assert server.data_to_send() == b"\x81" + SIZES[size] + b"x" * size
    server.send_message(b"\xff" * size)
    assert server.data_to_send() == b"\x82" + SIZES[size] + b"\xff" * size
    server.send_fragment(b"\xff" * size, last=False)
    assert server.data_to_send() == b"\x02" + SIZES[size] + b"\xff" * size
    server.send_fragment(b"", last=True)
    assert server.data_to_send() == b"\x80\x00"


@pytest.mark.parametrize("size", SIZES)
def test_a_client_sends_the_shortest_length_and_masks(size: int) -> None:
    _, client = open_pair()
    length = bytes([SIZES[size][0] | 0x80]) + SIZES[size][1:]
    for first, data, payload in (
        (b"\x81", "x" * size, b"x" * size),
        (b"\x82", b"\xff" * size, b"\xff" * size),
    ):
        client.send_message(data)
        sent = client.data_to_send()
        assert sent.startswith(first + length)
        key, masked = sent[1 + len(length) :][:4], sent[5 + len(length) :]
        assert xor(masked, key) == payload


@both_roles
@pytest.mark.parametrize(
    ("data", "first", "payload"),
    [
        ("", TEXT, b""),
        ("caf\u00e9", TEXT, b"caf\xc3\xa9"),
        (Text("caf\u00e9"), TEXT, b"caf\xc3\xa9"),
        ("\U0010ffff" * 100, TEXT, b"\xf4\x8f\xbf\xbf" * 100),
        (b"", BINARY, b""),
        (b"\xff", BINARY, b"\xff"),
        (Bytes(b"\xff"), BINARY, b"\xff"),
        (bytearray(b"\xff" * 200), BINARY, b"\xff" * 200),
        (memoryview(b"abcdef")[1::2], BINARY, b"bdf"),
    ],
)
def test_what_kind_of_frame_a_message_is(
    data: str | bytes, first: int, payload: bytes, role: str
) -> None:
    connection = open_end(role)
    connection.send_message(data)
    connection.send_fragment(data, last=True)
    sent = [(FIN | first, payload)] * 2
    assert sent_frames(connection.data_to_send(), role) == sent


@both_roles
def test_what_was_given_may_change_afterwards(role: str) -> None:
    connection = open_end(role)
    data = bytearray(b"x" * 200)
    connection.send_message(data)
    connection.send_fragment(data, last=True)
    data[:] = b"y" * 200
    sent = [(FIN | BINARY, b"x" * 200)] * 2
    assert sent_frames(connection.data_to_send(), role) == sent


@both_roles
def test_fragments(role: str) -> None:
    connection = open_end(role)
    connection.send_fragment("a", last=False)
    connection.send_ping(b"1")
    connection.send_fragment("", last=False)
    connection.send_pong(b"2")
    connection.send_fragment("b", last=True)
    connection.send_fragment(b"c", last=False)
    connection.send_fragment(memoryview(b"d"), last=True)
    connection.send_message("e")
    assert sent_frames(connection.data_to_send(), role) == [
        (TEXT, b"a"),
        (FIN | PING, b"1"),
        (CONTINUATION, b""),
        (FIN | PONG, b"2"),
        (FIN | CONTINUATION, b"b"),
        (BINARY, b"c"),
        (FIN | CONTINUATION, b"d"),
        (FIN | TEXT, b"e"),
    ]


@both_roles
def test_the_type_of_a_fragment_can_be_named(role: str) -> None:
    """Text that is encoded already may be cut within a code point; str may go as binary."""
    connection = open_end(role)
    connection.send_fragment(b"\xe2\x82", last=False, type=DataType.TEXT)
    connection.send_fragment(b"\xac", last=False, type=DataType.TEXT)
    connection.send_fragment("!", last=True)
    connection.send_fragment("caf\u00e9", last=False, type=DataType.BINARY)
    connection.send_fragment(b"\xff", last=True)
    assert sent_frames(connection.data_to_send(), role) == [
        (TEXT, b"\xe2\x82"),
        (CONTINUATION, b"\xac"),
        (FIN | CONTINUATION, b"!"),
        (BINARY, b"caf\xc3\xa9"),
        (FIN | CONTINUATION, b"\xff"),
    ]


@both_roles
def test_control_frames(role: str) -> None:
    connection = open_end(role)
    connection.send_ping()
    connection.send_ping(b"x" * 125)
    connection.send_pong()
    connection.send_pong(cast(bytes, bytearray(b"y" * 125)))
    connection.send_close(4999, "\u20ac" * 41)
    assert sent_frames(connection.data_to_send(), role) == [
        (FIN | PING, b""),
        (FIN | PING, b"x" * 125),
        (FIN | PONG, b""),
        (FIN | PONG, b"y" * 125),
        (FIN | CLOSE, (4999).to_bytes(2) + b"\xe2\x82\xac" * 41),
    ]


@both_roles
def test_unsent_counts_what_waits(role: str) -> None:
    connection = open_end(role)
    assert (connection.unsent, connection.data_to_send()) == (0, b"")
    sizes = []
    for send in (
        partial(connection.send_message, "short"),
        partial(connection.send_message, b"x" * 1000),
        partial(connection.send_fragment, bytearray(7), last=True),
        partial(connection.send_ping, b"?"),
        partial(connection.send_close, 1000, "bye"),
    ):
        send()
        sizes.append(connection.unsent)
    assert sizes == sorted(set(sizes))
    assert len(connection.data_to_send()) == sizes[-1]
    assert (connection.unsent, connection.data_to_send()) == (0, b"")


# Masking keys: RFC 6455 sections 5.3 and 10.3.


@pytest.mark.parametrize("size", [0, 100, 65536, 2**18 - 20, 2**18])
def test_in_parts_the_same_is_sent_and_large_payloads_are_not_copied(size: int) -> None:
    whole, parted = open_end("server"), open_end("server")
    assert parted.parts_to_send() == []
    large = b"x" * size
    for server in whole, parted:
        for payload in b"before", large, b"between", large, large, b"after":
            server.send_message(payload)
    parts = parted.parts_to_send()
    assert b"".join(parts) == whole.data_to_send()
    assert [part for part in parts if part is large] == [large] * 3 * (size >= 2**18)
    assert len(parts) == (7 if size >= 2**18 else 1)
    assert (parted.unsent, parted.parts_to_send()) == (0, [])


@pytest.mark.parametrize(("size", "parts"), [(0, 1), (2**18 - 1, 1), (2**18, 2)])
def test_one_message_in_parts(size: int, parts: int) -> None:
    server, payload = open_end("server"), bytes(size)
    frame = encode([Frame(FIN | BINARY, payload)], "client")
    for _ in range(2):
        server.send_fragment(payload, True)
        sent = server.parts_to_send()
        assert b"".join(sent) == frame
        assert len(sent) == parts
        assert (sent[-1] is payload) == (parts == 2)
        assert (server.unsent, server.data_to_send()) == (0, b"")


def test_much_text_is_one_part_with_its_header() -> None:
    server = open_end("server")
    text = "€" * 2**17
    server.send_message(text)
    assert server.parts_to_send() == [encode([Frame(FIN | TEXT, text.encode())], "client")]


def test_masking_keys_come_from_the_systems_generator_in_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocks: list[bytes] = []

    def urandom(size: int) -> bytes:
        start = sum(map(len, blocks)) // 4
        blocks.append(b"".join((start + i).to_bytes(4) for i in range(size // 4)))
        return blocks[-1]

    monkeypatch.setattr(wscore.masking, "urandom", urandom)
    _, client = open_pair()
    assert blocks == []
    keys = []
    for i in range(1000):
        client.send_ping() if i % 2 else client.send_message(b"x" * 200)
        sent = client.data_to_send()
        keys.append(sent[2:6] if i % 2 else sent[4:8])
    assert keys == [i.to_bytes(4) for i in range(1000)]
    assert [len(block) for block in blocks] == [1024] * 4


def test_clients_do_not_share_masking_keys() -> None:
    keys = set()
    for _ in range(10):
        _, client = open_pair()
        for _ in range(300):
            client.send_ping()
            keys.add(client.data_to_send()[2:6])
    # Of 3000 random keys two are the same once in a thousand runs, three pairs never.
    assert len(keys) > 2997


def test_a_server_draws_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    server, _ = open_pair()
    monkeypatch.setattr(wscore.masking, "urandom", None)
    server.send_message(b"x" * 200)
    assert sent_frames(server.data_to_send(), "server") == [(FIN | BINARY, b"x" * 200)]


# What is refused changes nothing.


def refused(
    connection: AnyConnection, error: type[Exception], message: str, call: Callable[[], object]
) -> None:
    """The call raises just that, and changes nothing."""
    before = inside(connection)
    with pytest.raises(error, match=re.escape(message)) as caught:
        call()
    assert caught.type is error
    assert inside(connection) == before


Calls = dict[str, Callable[[AnyConnection], object]]

SENDS: Calls = {
    "message": lambda connection: connection.send_message("x"),
    "long message": lambda connection: connection.send_message(b"x" * 70000),
    "other message": lambda connection: connection.send_message(bytearray(b"x")),
    "fragment": lambda connection: connection.send_fragment("x", last=False),
    "last fragment": lambda connection: connection.send_fragment(b"x", last=True),
    "ping": lambda connection: connection.send_ping(),
    "pong": lambda connection: connection.send_pong(b"x"),
    "close": lambda connection: connection.send_close(),
    "nonsense": lambda connection: connection.send_message(cast(Any, 5)),
}


@both_roles
@pytest.mark.parametrize("call", SENDS)
def test_before_the_handshake_is_over(call: str, role: str) -> None:
    end = ServerConnection() if role == "server" else ClientConnection("example.com")
    connection = cast(AnyConnection, end)
    assert not connection.may_send
    message = "the opening handshake is not complete: wait until it is"
    refused(connection, LocalProtocolError, message, lambda: SENDS[call](connection))


def closed_by_us(connection: AnyConnection, role: str) -> None:
    connection.send_close()


def closed_by_both(connection: AnyConnection, role: str) -> None:
    connection.send_close()
    receive(connection, encode([Frame(FIN | CLOSE)], role))


def closed_by_the_peer(connection: AnyConnection, role: str) -> None:
    receive(connection, encode([Frame(FIN | CLOSE)], role))
    connection.acknowledge_close()


def failed(connection: AnyConnection, role: str) -> None:
    receive(connection, encode([Frame(0x7F)], role))
    connection.acknowledge_close()


def left(connection: AnyConnection, role: str) -> None:
    connection.receive_eof()
    connection.acknowledge_close()


def lost(connection: AnyConnection, role: str) -> None:
    connection.connection_lost()


def lost_later(connection: AnyConnection, role: str) -> None:
    closed_by_both(connection, role)
    connection.connection_lost()


@both_roles
@pytest.mark.parametrize("call", SENDS)
@pytest.mark.parametrize(
    "end", [closed_by_us, closed_by_both, closed_by_the_peer, failed, left, lost, lost_later]
)
def test_after_the_end(end: Callable[[AnyConnection, str], None], call: str, role: str) -> None:
    connection = open_end(role)
    end(connection, role)
    assert not connection.may_send
    if end is closed_by_us and call == "pong":  # RFC 6455 section 5.5.2
        SENDS[call](connection)
        assert sent_frames(connection.data_to_send(), role)[1:] == [(FIN | PONG, b"x")]
        return
    assert end is closed_by_us or not connection.may_pong
    message = "a Close was sent or the connection is over: nothing can be sent"
    refused(connection, LocalProtocolError, message, lambda: SENDS[call](connection))


def closed_half_way(connection: AnyConnection, role: str) -> None:
    receive(connection, encode([Frame(FIN | CLOSE)], role))


def failed_half_way(connection: AnyConnection, role: str) -> None:
    receive(connection, encode([Frame(0x7F)], role))


def left_half_way(connection: AnyConnection, role: str) -> None:
    connection.receive_eof()


@both_roles
@pytest.mark.parametrize("call", ["message", "long message", "other message", "fragment", "ping"])
@pytest.mark.parametrize("end", [closed_half_way, failed_half_way, left_half_way])
def test_until_our_close_answers_still_go_out(
    end: Callable[[AnyConnection, str], None], call: str, role: str
) -> None:
    connection = open_end(role)
    end(connection, role)
    assert connection.may_send
    SENDS[call](connection)
    assert len(sent_frames(connection.data_to_send(), role)) == 1


def test_after_a_refusal() -> None:
    server = ServerConnection()
    server.reject(Response(503))
    message = "a Close was sent or the connection is over: nothing can be sent"
    refused(server, LocalProtocolError, message, lambda: server.send_message("x"))


@both_roles
def test_a_message_within_another(role: str) -> None:
    connection = open_end(role)
    connection.send_fragment("a", last=False)
    message = "a fragmented message is unfinished: send its last fragment"
    for data in ("b", b"b", bytearray(b"b")):
        refused(connection, LocalProtocolError, message, partial(connection.send_message, data))
    connection.send_fragment("b", last=True)
    connection.send_message("c")
    assert sent_frames(connection.data_to_send(), role) == [
        (TEXT, b"a"),
        (FIN | CONTINUATION, b"b"),
        (FIN | TEXT, b"c"),
    ]


@both_roles
def test_fragments_of_two_types(role: str) -> None:
    connection = open_end(role)
    connection.send_fragment("a", last=False)
    message = "the message is TEXT, but this fragment is BINARY: send all fragments as str or"
    refused(connection, TypeError, message, lambda: connection.send_fragment(b"b", last=True))
    connection.send_fragment("b", last=True)
    connection.send_fragment(b"a", last=False)
    message = "the message is BINARY, but this fragment is TEXT"
    refused(connection, TypeError, message, lambda: connection.send_fragment("b", last=False))
    connection.send_fragment(b"b", last=True)


@both_roles
def test_a_close_may_cut_our_message_short(role: str) -> None:
    connection = open_end(role)
    connection.send_fragment("a", last=False)
    connection.send_close()
    message = "a Close was sent or the connection is over"
    refused(
        connection, LocalProtocolError, message, lambda: connection.send_fragment("b", last=True)
    )
    frames = [(TEXT, b"a"), (FIN | CLOSE, (1000).to_bytes(2))]
    assert sent_frames(connection.data_to_send(), role) == frames


def send_close(code: Any, connection: AnyConnection) -> None:
    """The arguments the other way round, for a partial."""
    connection.send_close(code)


NEITHER = "a message is str (text) or bytes-like (binary), not "

WRONG: dict[str, tuple[type[Exception], str, Callable[[AnyConnection], object]]] = {
    "a number": (TypeError, NEITHER + "int", lambda c: c.send_message(cast(Any, 5))),
    "nothing": (TypeError, NEITHER + "NoneType", lambda c: c.send_message(cast(Any, None))),
    "a list": (TypeError, NEITHER + "list", lambda c: c.send_message(cast(Any, [1]))),
    "a list in part": (
        TypeError,
        NEITHER + "list",
        lambda c: c.send_fragment(cast(Any, [1]), last=False),
    ),
    "a surrogate": (
        UnicodeEncodeError,
        "surrogates not allowed",
        lambda c: c.send_message("\ud800"),
    ),
    "a surrogate in part": (
        UnicodeEncodeError,
        "surrogates not allowed",
        lambda c: c.send_fragment("x\udfff", last=False),
    ),
    "a surrogate in a str of another class": (
        UnicodeEncodeError,
        "surrogates not allowed",
        lambda c: c.send_message(Text("\ud800")),
    ),
    "a part of type PING": (
        ValueError,
        "type must be DataType.TEXT or DataType.BINARY, not <DataType.PING: 9>",
        lambda c: c.send_fragment(b"x", last=False, type=DataType.PING),
    ),
    "a part of type CONTINUATION": (
        ValueError,
        "type must be DataType.TEXT or DataType.BINARY, not <DataType.CONTINUATION: 0>",
        lambda c: c.send_fragment(b"x", last=False, type=DataType.CONTINUATION),
    ),
    "a part of type NONE": (
        ValueError,
        "type must be DataType.TEXT or DataType.BINARY, not <DataType.NONE: -1>",
        lambda c: c.send_fragment("x", last=True, type=DataType.NONE),
    ),
    "a long ping": (
        ValueError,
        "a ping holds at most 125 bytes, but this one has 126: shorten it",
        lambda c: c.send_ping(b"x" * 126),
    ),
    "a long pong": (
        ValueError,
        "a pong holds at most 125 bytes, but this one has 70000: shorten it",
        lambda c: c.send_pong(b"x" * 70000),
    ),
    "a ping of str": (
        TypeError,
        "a ping payload must be bytes-like, not str",
        lambda c: c.send_ping(cast(Any, "x")),
    ),
    "a pong of int": (
        TypeError,
        "a pong payload must be bytes-like, not int",
        lambda c: c.send_pong(cast(Any, 5)),
    ),
    "a long reason": (
        ValueError,
        "a close reason holds at most 123 bytes of UTF-8, but this one has 124: shorten it",
        lambda c: c.send_close(1000, "x" * 124),
    ),
    "a reason long in UTF-8": (
        ValueError,
        "a close reason holds at most 123 bytes of UTF-8, but this one has 126: shorten it",
        lambda c: c.send_close(1000, "\u20ac" * 42),
    ),
    "a reason with a surrogate": (
        UnicodeEncodeError,
        "surrogates not allowed",
        lambda c: c.send_close(1000, "\ud800"),
    ),
    "a reason of bytes": (
        TypeError,
        "a close reason must be a str, not bytes",
        lambda c: c.send_close(1000, cast(Any, b"bye")),
    ),
    "no code, and no reason either": (
        TypeError,
        "a close reason must be a str, not NoneType",
        lambda c: c.send_close(None, cast(Any, None)),
    ),
    "a reason alone": (
        ValueError,
        "a Close without a code cannot have a reason: pass a code",
        lambda c: c.send_close(None, "bye"),
    ),
    **{
        f"the code {code!r}": (
            ValueError,
            f"{code!r} must not be sent in a Close: use 1000 to 1003, 1007 to 1014 or 3000 to 4999",
            partial(send_close, code),
        )
        for code in (-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, 1000.0)
    },
    "a code that is a word": (
        ValueError,
        "normal must not be sent in a Close",
        lambda c: c.send_close(cast(Any, "normal")),
    ),
    "a code that is a list": (
        ValueError,
        "[1000] must not be sent in a Close",
        lambda c: c.send_close(cast(Any, [1000])),
    ),
    "an answer that is not owed": (
        LocalProtocolError,
        "there is no Close to acknowledge: check owes_close first",
        lambda c: c.acknowledge_close(),
    ),
}


@both_roles
@pytest.mark.parametrize("name", WRONG)
def test_a_callers_mistakes(name: str, role: str) -> None:
    connection = open_end(role)
    error, message, call = WRONG[name]
    refused(connection, error, message, lambda: call(connection))
    connection.send_message("x")
    assert sent_frames(connection.data_to_send(), role) == [(FIN | TEXT, b"x")]


@both_roles
@pytest.mark.parametrize("name", [name for name in WRONG if name != "an answer that is not owed"])
def test_a_callers_mistakes_while_a_close_is_owed(name: str, role: str) -> None:
    connection = open_end(role)
    receive(connection, encode([Frame(FIN | CLOSE, b"\x0f\xa0")], role))
    error, message, call = WRONG[name]
    refused(connection, error, message, lambda: call(connection))
    assert connection.phase is Phase.CLOSE_RECEIVED
    connection.acknowledge_close()
    assert sent_frames(connection.data_to_send(), role) == [(FIN | CLOSE, b"\x0f\xa0")]


# The codes of a Close (RFC 6455 section 7.4), from their one table.

REGISTERED = {
    **dict.fromkeys((1000, 1001, 1002, 1003), True),
    **dict.fromkeys((1004, 1005, 1006), False),
    **dict.fromkeys(range(1007, 1015), True),
    1015: False,
}


def test_the_table_of_reasons_is_the_registry() -> None:
    assert {int(reason) for reason in Reasons} == set(REGISTERED)
    for reason in Reasons:
        assert reason.may_send is reason.may_receive is REGISTERED[reason]
        assert reason.description
        assert reason_for(int(reason)) is reason
    assert len({reason.description for reason in Reasons}) == len(Reasons)
    assert (PRIVATE.start, PRIVATE.stop) == (3000, 5000)


def test_every_code() -> None:
    """Both verdicts on each number that two bytes hold, and some that they do not."""
    for code in range(-2, 65540):
        verdict = REGISTERED.get(code, 3000 <= code <= 4999)
        assert may_send(code) is verdict
        assert may_receive(code) is verdict
        if code not in REGISTERED:
            assert reason_for(code) == code
            assert not isinstance(reason_for(code), Reasons)


@both_roles
@pytest.mark.parametrize(
    "code", [*(code for code in REGISTERED if REGISTERED[code]), 3000, 3999, 4000, 4999]
)
def test_codes_that_may_be_sent_may_be_received(code: int, role: str) -> None:
    connection = open_end(role)
    connection.send_close(code, "why")
    sent = connection.data_to_send()
    assert sent_frames(sent, role) == [(FIN | CLOSE, code.to_bytes(2) + b"why")]
    assert connection.close_frames == (CloseFrame(True, reason_for(code), "why"),)
    peer = open_end("client" if role == "server" else "server")
    receive(peer, sent)
    assert peer.close_frames == (CloseFrame(False, reason_for(code), "why"),)
    assert type(peer.close_code) is type(reason_for(code))


def test_a_client_can_send_while_the_collector_frees_it() -> None:
    """The end of an event loop is such a moment: the collector may be what ends its tasks."""
    sent: list[bytes] = []

    class Holder:
        def __init__(self, client: AnyConnection) -> None:
            self.client = client
            self.itself = self

        def __del__(self) -> None:
            self.client.send_ping(b"last")
            sent.append(self.client.data_to_send())

    client = open_end("client")
    client.send_ping()
    client.data_to_send()
    Holder(client)
    del client
    gc.collect()
    assert [sent_frames(data, "client") for data in sent] == [[(FIN | PING, b"last")]]
