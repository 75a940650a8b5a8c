"""The shortcuts in C of methods: they do what the Python methods do, on any input and in any state.

The class of a method shows the Python method itself, so a subclass that takes it from there runs
without shortcuts.
"""

import random
from collections import Counter
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any

import pytest
import test_random_calls
from implementations import compiled
from test_random_calls import Walk
from wire import EXAMPLES, AnyConnection, encode, inside, open_end, open_pair

import wscore.connection
import wscore.handshake.key
import wscore.masking
from kit.frames import BINARY, CONTINUATION, FIN, PING, RSV1, TEXT, Frame
from wscore import ClientConnection, Event, PreparedMessage, ServerConnection
from wscore.connection import Connection
from wscore.extensions.deflate import Deflate
from wscore.parser import Parser
from wscore.sending import Sender

needs_shortcuts = pytest.mark.skipif(
    vars(Sender)["send_message"] is Sender.send_message,
    reason="the C extension was not built, or has no shortcuts",
)

PYTHON: dict[str, Any] = {
    "__slots__": (),
    "receive_data": Connection.receive_data,
    "send_message": Sender.send_message,
    "data_to_send": Sender.data_to_send,
}
PythonServer: type[ServerConnection] = type("PythonServer", (ServerConnection,), dict(PYTHON))
PythonClient: type[ClientConnection] = type("PythonClient", (ClientConnection,), dict(PYTHON))


def comparable(value: object) -> object:
    """What two connections with the same history have in common, of objects only the class."""
    if isinstance(value, list | tuple):
        return [comparable(one) for one in value]
    plain = value is None or isinstance(value, int | float | str | bytes | bool | Enum | Event)
    return value if plain else type(value).__name__


def state(connection: AnyConnection) -> dict[str, object]:
    """All that a connection holds."""
    return {name: comparable(value) for name, value in inside(connection).items()}


class Noted(Walk):
    """A random walk, and all that shows of it."""

    def __init__(self, seed: int) -> None:
        self.notes: list[object] = []
        super().__init__(seed, Counter())

    def flush(self, role: str) -> None:
        before = self.arriving["client" if role == "server" else "server"]
        super().flush(role)
        after = self.arriving["client" if role == "server" else "server"]
        self.notes.append(after[len(before) :])

    def look_at(self, role: str, events: list[Event]) -> None:
        self.notes.append(list(events))
        super().look_at(role, events)

    def check(self) -> None:
        super().check()
        self.notes.append([state(end) for end in self.ends.values()])


def walked(seed: int, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What shows of a walk, whose random keys and pings depend on `seed` only."""
    source = random.Random(seed)
    for module in (wscore.masking, wscore.connection, wscore.handshake.key):
        monkeypatch.setattr(module, "urandom", source.randbytes)
    walk = Noted(seed)
    walk.go(200)
    return walk.notes


@needs_shortcuts
@pytest.mark.parametrize(
    "block", [1, *(pytest.param(block, marks=pytest.mark.slow) for block in range(2, 11))]
)
def test_random_walks_show_the_same(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(20 * block, 20 * block + EXAMPLES // 5):
        with monkeypatch.context() as patch:
            shown = walked(seed, patch)
        with monkeypatch.context() as patch:
            patch.setattr(test_random_calls, "ServerConnection", PythonServer)
            patch.setattr(test_random_calls, "ClientConnection", PythonClient)
            assert walked(seed, patch) == shown


def ends(role: str, **settings: Any) -> tuple[AnyConnection, AnyConnection]:
    """A connection with shortcuts and one without, open and in the same state."""
    one, other = open_end(role, **settings), open_end(role, **settings)
    other.__class__ = PythonServer if role == "server" else PythonClient
    assert state(one) == state(other)
    return one, other


def same(pair: tuple[AnyConnection, AnyConnection], call: Callable[[Any], object]) -> None:
    """Call both: the results or errors are the same, and so is what they hold afterwards."""
    one, other = (outcome(call, end) for end in pair)
    assert one == other
    assert state(pair[0]) == state(pair[1])


def outcome(call: Callable[[Any], object], end: AnyConnection) -> object:
    """The result of a call, or its error."""
    try:
        return call(end)
    except Exception as error:  # noqa: BLE001  # whatever it is, both must raise it
        return type(error), str(error)


TEXTS = [Frame(FIN | TEXT, text.encode()) for text in ("", "a", "\u20ac" * 50, "x" * 70000)]
MIXED = [*TEXTS, Frame(FIN | BINARY, b"\xff" * 200)]
INPUTS: dict[str, list[Frame]] = {
    "nothing": [],
    "messages": MIXED,
    "256": TEXTS[:1] * 256,
    "257": TEXTS[:1] * 257,
    "invalid text": [*MIXED, Frame(FIN | TEXT, b"\xff"), *MIXED],
    "control": [*MIXED, Frame(FIN | PING, b"now"), *MIXED],
    "fragments": [Frame(TEXT, b"a"), Frame(FIN | CONTINUATION, b"b"), *MIXED],
    "reserved bits": [*MIXED, Frame(FIN | RSV1 | TEXT, b"a")],
    "the wrong direction": [*MIXED, Frame(FIN | TEXT, b"a", misdirected=True)],
    "not the shortest length": [Frame(FIN | TEXT, b"a", length=b"\x7e\x00\x01")],
    "no length": [Frame(FIN | TEXT, b"", length=b"\xff" + b"\x80" + bytes(7))],
    "too long": [Frame(FIN | BINARY, bytes(100001))],
}
FORMS: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "memoryview of a bytearray": lambda data: memoryview(bytearray(data)),
    "memoryview of signed bytes": lambda data: memoryview(data).cast("b"),
    "every second byte": lambda data: memoryview(bytes(2 * len(data)))[::2],
    "a class of bytes": type("Bytes", (bytes,), {}),
    "text": lambda data: "text",
}


@needs_shortcuts
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("frames", INPUTS)
@pytest.mark.parametrize("role", ["server", "client"])
def test_input(role: str, frames: str, form: str) -> None:
    data = encode(INPUTS[frames], role)
    for cut in (0, 1, 5, len(data) // 2, len(data) - 1):
        pair = ends(role, max_message_size=100000)
        for part in (data[:cut], data[cut:], b"", data[:1]):
            given = FORMS[form](part)
            same(pair, partial(receive, given))


def receive(data: Any, end: AnyConnection) -> object:
    return end.receive_data(data, 5.0)


CHANGES: dict[str, Callable[[AnyConnection], object]] = {
    "fewer frames": lambda end: setattr(end, "max_frames", 3),
    "a low limit": lambda end: setattr(end, "max_message_size", 4),
    "no limit": lambda end: setattr(end, "max_message_size", None),
    "a part of a frame": lambda end: end.receive_data(encode(MIXED, "server")[:3]),
    "a part of a message": lambda end: end.receive_data(encode([Frame(TEXT, b"a")], "server")),
    "input held": lambda end: end._parser.hold(encode(MIXED, "server")),
    "a ping on its way": lambda end: end.handle_timeout(6.0),
    "a Close sent": lambda end: end.send_close(),
    "the end of input": lambda end: end.receive_eof(),
    "a lost connection": lambda end: end.connection_lost(),
    "a message begun": lambda end: end.send_fragment("a", False),
    "a message sent": lambda end: end.send_message(b"abc"),
}


@needs_shortcuts
@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("change", CHANGES)
def test_where_little_is_as_usual(change: str, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wscore.connection, "urandom", bytes)
    monkeypatch.setattr(wscore.masking, "urandom", lambda size: bytes(range(256)) * (size // 256))
    pair = ends(role, timeout=10.0, close_timeout=3000.0)
    for end in pair:
        CHANGES[change](end)
    for _ in range(3):
        same(pair, partial(receive, encode(MIXED, role)))
        same(pair, lambda end: end.send_message("a"))
        same(pair, lambda end: end.data_to_send())


CALLS: dict[str, Callable[[AnyConnection, Any], object]] = {
    "alone": lambda end, data: end.send_message(data),
    "None": lambda end, data: end.send_message(data, None),
    "False": lambda end, data: end.send_message(data, False),
    "True": lambda end, data: end.send_message(data, True),
    "0": lambda end, data: end.send_message(data, 0),  # type: ignore[arg-type]
    "by name": lambda end, data: end.send_message(data=data, compress=None),
    "too many": lambda end, data: end.send_message(data, None, 5),  # type: ignore[call-arg]
    "too few": lambda end, data: end.send_message(),  # type: ignore[call-arg]
}
MESSAGES = ["", "text", "caf\u00e9 \u20ac" * 90, "\U0001f600", b"", b"\xff" * 200]
MESSAGES += ["x" * 300_000, b"x" * 300_000]
NO_MESSAGES = ["\ud800", 5, None, type("Text", (str,), {})("a"), bytearray(b"abc")]


@needs_shortcuts
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("compression", [None, Deflate(threshold=0), Deflate(threshold=300)])
@pytest.mark.parametrize("role", ["server", "client"])
def test_sending(
    role: str, compression: Deflate | None, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wscore.masking, "urandom", lambda size: bytes(range(256)) * (size // 256))
    extensions = [] if compression is None else [compression]
    pair = ends(role, extensions=extensions)
    assert (pair[0]._negotiated.bits != 0) is (compression is not None)
    for message in [*MESSAGES, *NO_MESSAGES, PreparedMessage("prepared"), *MESSAGES[:2]]:
        same(pair, partial(send, CALLS[call], message))
    for _ in range(2):
        same(pair, lambda end: end.data_to_send())


def send(call: Callable[[AnyConnection, Any], object], message: Any, end: AnyConnection) -> object:
    return call(end, message)


@needs_shortcuts
def test_they_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the above would prove little."""
    server, client = open_pair()
    monkeypatch.delattr(Parser, "feed")
    monkeypatch.setattr(wscore.sending, "message_frame", None)
    [event] = server.receive_data(encode(MIXED[-1:], "server"), 1.0)
    server.send_message(event.data)  # type: ignore[attr-defined]
    assert server.data_to_send()[:2] == b"\x82\x7e"
    client.send_message("masked")
    assert client.data_to_send()[:2] == b"\x81\x86"
    with pytest.raises(AttributeError, match="feed"):
        server.receive_data(b"\x81", 1.0)


@needs_shortcuts
def test_they_look_like_the_python_methods() -> None:
    server, _ = open_pair()
    assert server.send_message.__doc__ == Sender.send_message.__doc__
    assert server.send_message.__name__ == "send_message"
    method: Any = vars(Sender)["send_message"]
    assert method.__get__(None, Sender) is Sender.send_message
    with pytest.raises(AttributeError):
        method("no connection", "message")
    with pytest.raises(TypeError):
        method()


@needs_shortcuts
def test_only_methods_that_have_one_are_accelerated() -> None:
    assert compiled is not None

    def other() -> None:
        pass

    with pytest.raises(ImportError, match="has no shortcut in C"):
        compiled.method(other)
    other.__qualname__ = "Sender.send_message"
    method: Any = compiled.method(other)
    bind = type(method).__set_name__
    with pytest.raises(ImportError, match="the slot may_send was not found"):
        bind(method, type("NoSender", (), {"may_send": 5}), "send_message")
