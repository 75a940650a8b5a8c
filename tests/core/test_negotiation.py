"""Which offers of permessage-deflate are answered how, and which answers are accepted.

Tables of our own, because the Autobahn suite does not look at negotiation. The numbers are
sections of RFC 7692 unless another RFC is named.
"""

import re
import zlib
from itertools import product
from random import Random
from typing import Any, NamedTuple

import pytest
from deflated import CHROMIUM, FIREFOX, SENTENCE, Peer, answered, extensions_in, request, serve
from hypothesis import given
from hypothesis import strategies as st
from wire import AnyConnection, binary, encode, merged, receive, sent_frames

from kit.frames import BINARY, CLOSE, FIN, RSV1, Frame
from wscore import (
    Accepted,
    ClientConnection,
    Deflate,
    HandshakeFailed,
    Phase,
    RequestReceived,
    Response,
    ServerConnection,
)

OURS = Deflate()
WIDE = Deflate(window_bits=15, peer_window_bits=15)
ALONE = Deflate(takeover=False, peer_takeover=False)

WINDOWS = (8, 9, 11, 14, 15)


KNOWN = {
    "server_max_window_bits",
    "client_max_window_bits",
    "server_no_context_takeover",
    "client_no_context_takeover",
}


class Negotiated(NamedTuple):
    """What an answer says: windows in bits, and who takes over contexts."""

    server_bits: int
    client_bits: int
    server_takeover: bool
    client_takeover: bool


def read(answer: str) -> Negotiated:
    """What an answer of ours says, each parameter once and none but those of the RFC."""
    name, *parameters = answer.split("; ")
    assert name == "permessage-deflate"
    values = dict(parameter.partition("=")[::2] for parameter in parameters)
    assert len(values) == len(parameters)
    assert values.keys() <= KNOWN
    return Negotiated(
        int(values.get("server_max_window_bits", "15")),
        int(values.get("client_max_window_bits", "15")),
        "server_no_context_takeover" not in values,
        "client_no_context_takeover" not in values,
    )


NOISE = Random(7692).randbytes(2**15)


def far_back(bits: int) -> bytes:
    """Noise, and at its end some of it again: about as far back as zlib looks in such a window."""
    return NOISE[: 2 ** max(bits, 9) - 300] + NOISE[:200]


def talk(connection: AnyConnection, negotiated: Negotiated) -> None:
    """Messages both ways, as agreed: in all of the window, and taken over where that holds."""
    role = "server" if isinstance(connection, ServerConnection) else "client"
    ours = negotiated.server_bits, negotiated.server_takeover
    theirs = negotiated.client_bits, negotiated.client_takeover
    if role == "client":
        ours, theirs = theirs, ours
    peer = Peer(*theirs, *ours)
    sizes = []
    for message in (SENTENCE, SENTENCE, far_back(theirs[0]), far_back(ours[0])):
        [payload] = peer.deflate(message)
        frame = encode([Frame(FIN | RSV1 | BINARY, payload)], role)
        # In small reads, for zlib looks at its window only for what it gave before.
        assert merged(receive(connection, frame, 500)) == [binary(message)]
        connection.send_message(message, compress=True)
        [(first, payload)] = sent_frames(connection.data_to_send(), role)
        if ours[0] == 8:  # zlib inflates such windows only
            assert (first, payload) == (FIN | BINARY, message)
        else:
            assert first == FIN | RSV1 | BINARY
            assert peer.inflate(payload) == message
        sizes.append(len(payload))
    if ours[0] > 8:
        assert (sizes[1] < sizes[0] / 3) is ours[1]
        assert sizes[3] < len(far_back(ours[0])) - 50


NEITHER = "client_no_context_takeover; server_no_context_takeover"
ALL_FOUR = [
    "server_no_context_takeover",
    "client_no_context_takeover",
    "server_max_window_bits=10",
    "client_max_window_bits=11",
]

# Offers: what the client says, and what our server answers, None where it declines them all.

OFFERS: list[tuple[str, Deflate, list[str], str | None]] = [
    ("7.1 Firefox", OURS, [FIREFOX], "permessage-deflate; server_max_window_bits=12"),
    (
        "7.1 Chromium",
        OURS,
        [CHROMIUM],
        "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
    ),
    ("7.1 Firefox, 15 bits", WIDE, [FIREFOX], "permessage-deflate"),
    ("7.1 Chromium, 15 bits", WIDE, [CHROMIUM], "permessage-deflate"),
    # 7.1.1: contexts
    (
        "7.1.1.1 asked",
        WIDE,
        ["permessage-deflate; server_no_context_takeover"],
        "permessage-deflate; server_no_context_takeover",
    ),
    (
        "7.1.1.1 not asked",
        Deflate(window_bits=15, takeover=False),
        ["permessage-deflate"],
        "permessage-deflate; server_no_context_takeover",
    ),
    (
        "7.1.1.2 a hint",
        WIDE,
        ["permessage-deflate; client_no_context_takeover"],
        "permessage-deflate; client_no_context_takeover",
    ),
    (
        "7.1.1.2 not hinted",
        Deflate(window_bits=15, peer_takeover=False),
        ["permessage-deflate"],
        "permessage-deflate; client_no_context_takeover",
    ),
    # 7.1.2.1: our window
    *(
        (
            f"7.1.2.1 {asked} asked of {bits}",
            Deflate(window_bits=bits),
            [f"permessage-deflate; server_max_window_bits={asked}"],
            f"permessage-deflate; server_max_window_bits={min(bits, asked)}",
        )
        for bits, asked in product(WINDOWS, repeat=2)
    ),
    *(
        (
            f"7.1.2.1 {bits} unasked",
            Deflate(window_bits=bits),
            ["permessage-deflate"],
            f"permessage-deflate; server_max_window_bits={bits}",
        )
        for bits in range(8, 15)
    ),
    # 7.1.2.2: the client's window
    *(
        (
            f"7.1.2.2 {hint} hinted to {bits}",
            Deflate(window_bits=15, peer_window_bits=bits),
            [f"permessage-deflate; client_max_window_bits={hint}"],
            "permessage-deflate"
            + (f"; client_max_window_bits={min(bits, hint)}" if min(bits, hint) < 15 else ""),
        )
        for bits, hint in product(WINDOWS, repeat=2)
    ),
    *(
        (
            f"7.1.2.2 {bits} of any",
            Deflate(window_bits=15, peer_window_bits=bits),
            ["permessage-deflate; client_max_window_bits"],
            f"permessage-deflate; client_max_window_bits={bits}",
        )
        for bits in range(8, 15)
    ),
    (
        "7.1.2.2 must not be answered unless offered",
        Deflate(window_bits=15, peer_window_bits=9),
        ["permessage-deflate"],
        "permessage-deflate",
    ),
    # All four, in any order and quoted
    *(
        (
            f"7.1 all four, {order}",
            WIDE,
            ["; ".join(["permessage-deflate", *order])],
            "; ".join(["permessage-deflate", *ALL_FOUR]),
        )
        for order in (
            ALL_FOUR,
            ALL_FOUR[::-1],
            [
                'server_max_window_bits="10"',
                "server_no_context_takeover",
                r'client_max_window_bits="1\1"',
                "client_no_context_takeover",
            ],
        )
    ),
    (
        "6455-9.1 blanks",
        WIDE,
        ['\tpermessage-deflate ;server_max_window_bits\t= "10" ; client_no_context_takeover '],
        "permessage-deflate; client_no_context_takeover; server_max_window_bits=10",
    ),
    # Several offers: the first that suits
    (
        "5 the first that suits",
        WIDE,
        ["permessage-deflate; server_max_window_bits=10, permessage-deflate"],
        "permessage-deflate; server_max_window_bits=10",
    ),
    (
        "7.1.3 the fallback",
        WIDE,
        ["permessage-deflate; server_max_window_bits=7, permessage-deflate"],
        "permessage-deflate",
    ),
    (
        "5 in several lines",
        WIDE,
        ["foo, permessage-deflate; x", "bar; y", "permessage-deflate; server_max_window_bits=9"],
        "permessage-deflate; server_max_window_bits=9",
    ),
    ("5 the same twice", WIDE, ["permessage-deflate, permessage-deflate"], "permessage-deflate"),
    ("6455-9.1 empty elements", WIDE, [", ,permessage-deflate, ,"], "permessage-deflate"),
    # None that suits
    ("6455-9.1 none", WIDE, [], None),
    ("6455-9.1 others", WIDE, ["x-webkit-deflate-frame, permessage-bzip2"], None),
    ("6455-9.1 names have a case", WIDE, ["Permessage-Deflate, permessage-deflatE"], None),
    *(
        (f"{clause} {parameters}", OURS, [f"permessage-deflate; {parameters}"], None)
        for clause, parameters in (
            # 7.1: no parameter that is not defined, no invalid value, none twice
            ("7.1", "foo"),
            ("7.1", "foo=1"),
            ("7.1", "SERVER_NO_CONTEXT_TAKEOVER"),
            ("7.1", "Client_max_window_bits=10"),
            ("7.1", "max_window_bits=10"),
            ("7.1", "client_no_context_takeover; client_no_context_takeover"),
            ("7.1", "server_no_context_takeover; server_no_context_takeover"),
            ("7.1", "server_max_window_bits=10; server_max_window_bits=10"),
            ("7.1", "server_max_window_bits=10; server_max_window_bits=11"),
            ("7.1", "client_max_window_bits; client_max_window_bits"),
            ("7.1", "client_max_window_bits; client_max_window_bits=10"),
            ("7.1", "client_max_window_bits; foo; server_no_context_takeover"),
            ("7.1.1.1", "server_no_context_takeover=true"),
            ("7.1.1.1", "server_no_context_takeover=10"),
            ("7.1.1.1", 'server_no_context_takeover="x"'),
            ("7.1.1.2", "client_no_context_takeover=1"),
            ("7.1.2.1", "server_max_window_bits"),
            *(
                (clause, f"{name}_max_window_bits={value}")
                for clause, name in (("7.1.2.1", "server"), ("7.1.2.2", "client"))
                for value in (
                    *("0", "1", "7", "16", "-8", "+9", "08", "009", "012", "8.0", "1e1", "0x9"),
                    *("x", "9x", "99999999999999999999", '"7"', '"08"', '"9x"'),
                    "1_0",
                )
            ),
        )
    ),
    # A bad offer next to a good one
    *(
        (f"7.1 {bad} before a good one", WIDE, [f"{bad}, permessage-deflate"], "permessage-deflate")
        for bad in (
            "permessage-deflate; foo",
            "permessage-deflate; client_max_window_bits=7",
            'permessage-deflate; client_max_window_bits="x"',
            "x-a; b=c",
        )
    ),
]

# No element of the grammar (RFC 6455 section 9.1): the recipient must fail the handshake.
NO_LISTS = [
    *("", ",", ", ,", ";", "\xe9", "x/a", "x-a; b=", "permessage-deflate;;", "permessage-deflate;"),
    *('"permessage-deflate"', "permessage-deflate=1", "x-a; b=c; =", "x-a; b = ", 'x-a; b="'),
    *(
        f"permessage-deflate; {parameters}"
        for parameters in (
            "",
            ";",
            "client_max_window_bits=",
            'client_max_window_bits=""',
            'client_max_window_bits="',
            'client_max_window_bits="10',
            'client_max_window_bits=10"',
            'client_max_window_bits=" 10"',
            'client_max_window_bits="1""0"',
            r'client_max_window_bits="10\"',
            r'client_max_window_bits="\"10\""',
            "client_max_window_bits==10",
            "client_max_window_bits=10=10",
            "client_max_window_bits=10 10",
            "client_max_window_bits 10",
            "=10",
            '"client_max_window_bits"=10',
            "(client_max_window_bits)",
            'x="a, permessage-deflate, b"',
            'x=", permessage-deflate, "',
            r'x="\", permessage-deflate, b"',
            'x="a, permessage-deflate',
            r'x="a\", permessage-deflate',
            'client_max_window_bits=","',
            r'client_max_window_bits="\",\""',
            "client_max_window_bits=\xb2",
            "server_max_window_bits=\xb9\xb2",
        )
    ),
]


@pytest.mark.parametrize("good", ["", "permessage-deflate"])
@pytest.mark.parametrize("extensions", [[], [OURS]], ids=["none", "deflate"])
@pytest.mark.parametrize("header", NO_LISTS)
def test_a_malformed_header_is_answered_with_400(
    header: str, extensions: list[Deflate], good: str
) -> None:
    """RFC 6455 section 9.1: whether or not the server supports an extension."""
    if good and not header.strip(", "):
        return  # empty elements next to another are ignored (RFC 9110 section 5.6.1)
    lines = [line for line in (good, header) if line or not good]
    reason = ""
    for data in (request(*lines), *([request(", ".join(lines))] if good else [])):
        for size in (len(data), 1):
            server = ServerConnection(extensions=extensions)
            [failure] = receive(server, data, size)
            assert isinstance(failure, HandshakeFailed)
            assert failure.status == 400
            assert failure.reason.startswith("malformed Sec-WebSocket-Extensions header: ")
            assert reason in ("", failure.reason)
            reason = failure.reason
            assert server.data_to_send().startswith(b"HTTP/1.1 400 ")
            assert server.should_close


class TestOffers:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("ours", "offers", "answer"),
        [case[1:] for case in OFFERS],
        ids=[case[0] for case in OFFERS],
    )
    def test_the_answer(self, ours: Deflate, offers: list[str], answer: str | None) -> None:
        server, given = serve([ours], *offers)
        assert given == answer
        if answer is None:
            server.send_message(SENTENCE, compress=True)
            assert sent_frames(server.data_to_send(), "server") == [(FIN | BINARY, SENTENCE)]
        else:
            talk(server, read(answer))

    def test_a_server_that_is_not_ready_answers_nothing(self) -> None:
        assert serve([], CHROMIUM)[1] is None

    def test_two_who_agreed_on_the_same(self) -> None:
        """They share that, but not their messages."""
        first, _ = serve([WIDE], CHROMIUM)
        second, _ = serve([WIDE], CHROMIUM)
        negotiated = Negotiated(15, 15, True, True)
        talk(first, negotiated)
        talk(second, negotiated)

    def test_other_answers_say_nothing_of_extensions(self) -> None:
        server = ServerConnection(extensions=[OURS])
        [event] = server.receive_data(request(CHROMIUM))
        assert isinstance(event, RequestReceived)
        server.reject(Response(403))
        assert extensions_in(server.data_to_send()) is None

    def test_an_ordinary_request_negotiates_nothing(self) -> None:
        server = ServerConnection(extensions=[OURS])
        head = f"GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Extensions: {CHROMIUM}\r\n\r\n"
        [event] = server.receive_data(head.encode())
        assert isinstance(event, RequestReceived)
        assert not event.request.is_upgrade
        server.reject(Response(200))
        assert extensions_in(server.data_to_send()) is None

    def test_thousands_of_offers_in_one_head(self) -> None:
        """All that fit: none of them is taken, and none costs more than another."""
        offers = [", ".join(['permessage-deflate;a="1"'] * 620)]
        assert serve([OURS], *offers)[1] is None
        assert serve([OURS], ", ".join(["permessage-deflate"] * 800))[1] is not None


PARAMETERS = st.lists(
    st.tuples(
        st.sampled_from([*sorted(KNOWN), "foo"]),
        st.sampled_from([None, "8", "9", "12", "15", '"10"', "7", "16", "08", '""', "x"]),
    ),
    max_size=5,
)
SETTINGS = st.builds(
    Deflate,
    window_bits=st.integers(8, 15),
    peer_window_bits=st.integers(8, 15),
    takeover=st.booleans(),
    peer_takeover=st.booleans(),
)


def acceptable(parameters: list[tuple[str, str | None]]) -> bool:
    """Whether an offer follows section 7.1."""
    names = [name for name, _ in parameters]
    if len(set(names)) < len(names):
        return False
    for name, value in parameters:
        bits = value in ("8", "9", "12", "15", '"10"')
        if name == "client_max_window_bits":
            if not bits and value is not None:
                return False
        elif name == "server_max_window_bits":
            if not bits:
                return False
        elif name == "foo" or value is not None:
            return False
    return True


def suits(answer: str, parameters: dict[str, str | None], ours: Deflate) -> bool:
    """Whether an answer may be given to an offer, and keeps within our settings."""
    negotiated = read(answer)
    server = int((parameters.get("server_max_window_bits") or "15").strip('"'))
    client = int((parameters.get("client_max_window_bits") or "15").strip('"'))
    return (
        negotiated.server_bits <= min(server, ours.window_bits)
        and ("server_max_window_bits" not in parameters or "server_max_window_bits=" in answer)
        and ("client_max_window_bits" in parameters or "client_max_window_bits" not in answer)
        and ("client_max_window_bits" not in parameters or negotiated.client_bits <= client)
        and negotiated.server_takeover
        is (ours.takeover and "server_no_context_takeover" not in parameters)
        and negotiated.client_takeover <= ours.peer_takeover
    )


@pytest.mark.slow
@given(st.lists(PARAMETERS, max_size=4), SETTINGS)
def test_any_offers(offers: list[list[tuple[str, str | None]]], ours: Deflate) -> None:
    header = ", ".join(
        "; ".join(
            ["permessage-deflate"]
            + [name if value is None else f"{name}={value}" for name, value in parameters]
        )
        for parameters in offers
    )
    if not offers or any(value == '""' for offer in offers for _, value in offer):
        [event] = ServerConnection(extensions=[ours]).receive_data(request(header))
        assert isinstance(event, HandshakeFailed)
        return
    server, answer = serve([ours], header)
    first = next((dict(parameters) for parameters in offers if acceptable(parameters)), None)
    assert (answer is None) is (first is None)
    if answer is not None and first is not None:
        assert suits(answer, first, ours)
        talk(server, read(answer))


@given(st.text('permsag-dflt;,="\\ 018\xe9', max_size=40))
def test_any_header(header: str) -> None:
    """A declined offer or a 400 at most; nothing is answered that does not stand there."""
    server = ServerConnection(extensions=[OURS])
    [event] = server.receive_data(request(header))
    if isinstance(event, HandshakeFailed):
        assert event.status == 400
        return
    server.accept()
    answer = extensions_in(server.data_to_send())
    assert answer is None or "permessage-deflate" in header


# Answers: what our client offers, and what it makes of what the server says.


class TestOwnOffers:
    @pytest.mark.parametrize(
        ("ours", "offers"),
        [
            (WIDE, ["client_max_window_bits"]),
            (
                OURS,
                [
                    "client_max_window_bits=12; server_max_window_bits=12",
                    "client_max_window_bits=12",
                ],
            ),
            (Deflate(window_bits=8, peer_window_bits=15), ["client_max_window_bits=8"]),
            (
                Deflate(window_bits=15, peer_window_bits=8),
                ["client_max_window_bits; server_max_window_bits=8", "client_max_window_bits"],
            ),
            (
                Deflate(window_bits=15, peer_window_bits=15, takeover=False),
                ["client_max_window_bits; client_no_context_takeover"],
            ),
            (
                Deflate(window_bits=15, peer_window_bits=15, peer_takeover=False),
                ["client_max_window_bits; server_no_context_takeover"],
            ),
            (
                Deflate(window_bits=9, peer_window_bits=10, takeover=False, peer_takeover=False),
                [
                    f"client_max_window_bits=9; {NEITHER}; server_max_window_bits=10",
                    f"client_max_window_bits=9; {NEITHER}",
                ],
            ),
        ],
    )
    def test_the_header(self, ours: Deflate, offers: list[str]) -> None:
        """Where a window is asked for there is a second offer without it (7.1.3)."""
        client = ClientConnection("example.com", extensions=[ours])
        header = ", ".join(f"permessage-deflate; {offer}" for offer in offers)
        assert extensions_in(client.data_to_send()) == header

    def test_none(self) -> None:
        assert extensions_in(ClientConnection("example.com").data_to_send()) is None


ACCEPTED: list[tuple[str, Deflate, list[str], Negotiated | None]] = [
    ("5 declined", OURS, [], None),
    ("7.1 as by default", WIDE, ["permessage-deflate"], Negotiated(15, 15, True, True)),
    ("7.1.2.2 we keep to our hint", OURS, ["permessage-deflate"], Negotiated(15, 12, True, True)),
    (
        "7.1.2.2 and where the server names more",
        OURS,
        ["permessage-deflate; client_max_window_bits=15"],
        Negotiated(15, 12, True, True),
    ),
    (
        "7.1.2.1 unasked",
        WIDE,
        ["permessage-deflate; server_max_window_bits=9"],
        Negotiated(9, 15, True, True),
    ),
    (
        "7.1.2.1 larger than asked: of our second offer",
        OURS,
        ["permessage-deflate; server_max_window_bits=14"],
        Negotiated(14, 12, True, True),
    ),
    *(
        (
            f"7.1.2.2 {bits}",
            WIDE,
            [f"permessage-deflate; client_max_window_bits={bits}"],
            Negotiated(15, bits, True, True),
        )
        for bits in range(8, 16)
    ),
    *(
        (
            f"7.1.2.1 {bits}",
            Deflate(window_bits=15, peer_window_bits=bits),
            [f"permessage-deflate; server_max_window_bits={bits}"],
            Negotiated(bits, 15, True, True),
        )
        for bits in range(8, 16)
    ),
    (
        "7.1.1.1 unasked",
        WIDE,
        ["permessage-deflate; server_no_context_takeover"],
        Negotiated(15, 15, False, True),
    ),
    (
        "7.1.1.2 must be supported",
        WIDE,
        ["permessage-deflate; client_no_context_takeover"],
        Negotiated(15, 15, True, False),
    ),
    (
        "7.1.1.2 holds where the server says nothing",
        Deflate(window_bits=15, takeover=False),
        ["permessage-deflate"],
        Negotiated(15, 15, True, False),
    ),
    (
        "7.1.1.1 asked",
        ALONE,
        ["permessage-deflate; server_no_context_takeover"],
        Negotiated(15, 12, False, False),
    ),
    (
        "7.1 all four, quoted",
        WIDE,
        [
            r'permessage-deflate; client_max_window_bits="10" ;server_max_window_bits= "1\1"; '
            + NEITHER
        ],
        Negotiated(11, 10, False, False),
    ),
]

BAD = "the server chose permessage-deflate with invalid parameters"
MALFORMED = "malformed Sec-WebSocket-Extensions header: "

REFUSED: list[tuple[str, Deflate, list[str], str]] = [
    *(
        (f"{clause} {parameters}", WIDE, [f"permessage-deflate; {parameters}"], BAD)
        for clause, parameters in (
            ("7.1", "foo"),
            ("7.1", "server_max_window_bits=10; foo=bar"),
            ("7.1", "server_no_context_takeover; server_no_context_takeover"),
            ("7.1", "client_max_window_bits=10; client_max_window_bits=10"),
            ("7.1.1.1", "server_no_context_takeover=1"),
            ("7.1.1.2", "client_no_context_takeover=true"),
            ("7.1.2.1", "server_max_window_bits"),
            ("7.1.2.2", "client_max_window_bits"),
            *(
                ("7.1.2", f"{name}_max_window_bits={value}")
                for name in ("server", "client")
                for value in ("0", "7", "16", "08", "+9", "x", '"16"')
            ),
        )
    ),
    (
        "7.1.1.1 not agreed to",
        Deflate(peer_takeover=False),
        ["permessage-deflate; client_no_context_takeover"],
        "the server did not agree to server_no_context_takeover",
    ),
    (
        "6455-9.1 twice",
        OURS,
        ["permessage-deflate, permessage-deflate"],
        "the server chose the extension 'permessage-deflate' twice",
    ),
    (
        "6455-9.1 twice, in two lines",
        OURS,
        ["permessage-deflate", "permessage-deflate; server_max_window_bits=12"],
        "the server chose the extension 'permessage-deflate' twice",
    ),
    (
        "6455-4.1 not offered",
        OURS,
        ["permessage-bzip2"],
        "the server chose the extension 'permessage-bzip2', which was not offered",
    ),
    (
        "6455-4.1 another case",
        OURS,
        ["Permessage-Deflate"],
        "the server chose the extension 'Permessage-Deflate', which was not offered",
    ),
    (
        "6455-4.1 not offered, next to one that was",
        OURS,
        ["permessage-deflate, foo"],
        "the server chose the extension 'foo', which was not offered",
    ),
    ("6455-9.1 no list", OURS, ["permessage-deflate;"], MALFORMED + "'' is not a token"),
    (
        "6455-9.1 no value",
        OURS,
        ['permessage-deflate; client_max_window_bits=""'],
        MALFORMED + "'' is not a token",
    ),
    ("6455-9.1 garbage", OURS, ["\xe9" * 300], MALFORMED + repr("\xe9" * 40) + " is not a token"),
    ("6455-9.1 a long name", OURS, ["x" * 300], "the server chose the extension '" + "x" * 40),
]


class TestAnswers:
    @pytest.mark.parametrize(
        ("ours", "answers", "negotiated"),
        [case[1:] for case in ACCEPTED],
        ids=[case[0] for case in ACCEPTED],
    )
    def test_accepted(
        self, ours: Deflate, answers: list[str], negotiated: Negotiated | None
    ) -> None:
        client, event = answered([ours], *answers)
        assert isinstance(event, Accepted)
        if negotiated is None:
            client.send_message(SENTENCE, compress=True)
            assert sent_frames(client.data_to_send(), "client") == [(FIN | BINARY, SENTENCE)]
        else:
            talk(client, negotiated)

    @pytest.mark.parametrize(
        ("ours", "answers", "reason"),
        [case[1:] for case in REFUSED],
        ids=[case[0] for case in REFUSED],
    )
    def test_refused(self, ours: Deflate, answers: list[str], reason: str) -> None:
        """With 1010 on the wire, masked: the server thinks that the connection is open."""
        client, event = answered([ours], *answers)
        assert isinstance(event, HandshakeFailed)
        assert event.status == 0
        assert event.reason.startswith(reason)
        [(first, body)] = sent_frames(client.data_to_send(), "client")
        assert (first, body[:2]) == (FIN | CLOSE, (1010).to_bytes(2))
        assert len(body) <= 125
        assert event.reason.startswith(body[2:].decode())
        assert body[2:].decode().startswith(reason[:60])
        assert (client.phase, client.should_close) == (Phase.ENDING, True)
        assert client.receive_data(encode([Frame(FIN | BINARY)], "client")) == []

    def test_one_that_was_never_offered_at_all(self) -> None:
        client, event = answered([], "permessage-deflate")
        assert isinstance(event, HandshakeFailed)
        assert event.reason.endswith("which was not offered")
        [(_, body)] = sent_frames(client.data_to_send(), "client")
        assert body[:2] == (1010).to_bytes(2)


@given(SETTINGS, SETTINGS)
def test_our_two_ends_always_agree(ours: Deflate, theirs: Deflate) -> None:
    server = ServerConnection(extensions=[ours])
    client = ClientConnection("example.com", extensions=[theirs])
    server.receive_data(client.data_to_send())
    server.accept()
    response = server.data_to_send()
    [event] = client.receive_data(response)
    assert isinstance(event, Accepted)
    answer = extensions_in(response)
    assert answer is not None
    negotiated = read(answer)
    assert negotiated.server_bits <= min(ours.window_bits, theirs.peer_window_bits)
    assert negotiated.client_bits <= min(ours.peer_window_bits, theirs.window_bits)
    assert negotiated.server_takeover is (ours.takeover and theirs.peer_takeover)
    assert negotiated.client_takeover is (ours.peer_takeover and theirs.takeover)
    for _ in range(2):
        server.send_message(SENTENCE)
        client.send_message(SENTENCE)
        assert merged(receive(client, server.data_to_send())) == [binary(SENTENCE)]
        assert merged(receive(server, client.data_to_send())) == [binary(SENTENCE)]


# Settings.


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("level", 0, 9),
        ("memory_level", 1, 9),
        ("window_bits", 8, 15),
        ("peer_window_bits", 8, 15),
        ("threshold", 0, None),
    ],
)
def test_settings_have_bounds(name: str, least: int, most: int | None) -> None:
    for number in (least, least + 10**6 if most is None else most):
        given: dict[str, Any] = {name: number}
        assert getattr(Deflate(**given), name) == number
    span = f"{name} of the compression must be " + (f"at least {least}" if most is None else "")
    wrong: list[Any] = [least - 1, None, "9", 9.5]
    for value in wrong + ([] if most is None else [most + 1]):
        given = {name: value}
        with pytest.raises(ValueError, match=re.escape(span)) as caught:
            Deflate(**given)
        assert str(caught.value).endswith(f"not {value!r}")


def test_settings_are_values() -> None:
    assert Deflate(level=9) == Deflate(level=9) != Deflate()
    assert {Deflate(): 1}[Deflate()] == 1
    with pytest.raises(AttributeError):
        Deflate().level = 9  # type: ignore[misc]


def test_the_defaults() -> None:
    assert repr(Deflate()) == (
        "Deflate(level=6, memory_level=5, window_bits=12, peer_window_bits=12, threshold=1024,"
        f" takeover=True, peer_takeover=True, engine={zlib!r})"
    )
