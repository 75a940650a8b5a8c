"""Any calls in any order on both ends of one byte stream: refused without a trace, or done.

What arrives and what time brings never raises, whatever was done before. The walks are drawn
from seeds, so that what fails fails again.
"""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from wire import EXAMPLES, ROLES, AnyConnection, inside

from wscore import (
    Accepted,
    ClientConnection,
    CloseReceived,
    ConnectionFailed,
    DataType,
    Event,
    HandshakeFailed,
    LocalProtocolError,
    MessagePiece,
    Phase,
    Ping,
    Pong,
    Refused,
    RequestReceived,
    Response,
    ServerConnection,
)
from wscore.states import MAY_PONG, MAY_RECEIVE, MAY_SEND, OWES_CLOSE, STATES

MESSAGES = [
    "",
    "text",
    "caf\u00e9 \u20ac",
    b"",
    b"\xff",
    "x" * 200,
    b"x" * 70000,
    bytearray(b"abc"),
]
NO_MESSAGES = ["\ud800", 5, None]
PAYLOADS = [b"", b"abc", b"x" * 125]
NO_PAYLOADS = [b"x" * 126, "text", 5]
KINDS = [None, None, None, DataType.TEXT, DataType.BINARY]
NO_KINDS = [DataType.PING, DataType.NONE]
CODES = [None, 1000, 1001, 3000, 4999]
NO_CODES = [0, 999, 1005, 5000, "1000"]
REASONS = ["", "bye", "\u20ac" * 41]
NO_REASONS = ["\u20ac" * 42, "\ud800", b"bye"]

# Calls that may bring the next deadline nearer, as `next_deadline` says, besides those that end
# the handshake or close.
NEARER = {"connection_made", "resume_reading", "output_progress"}

ENDS = (CloseReceived, ConnectionFailed, HandshakeFailed, Refused)


class Walk:
    """A server, a client, the bytes on their way between them, and somebody without a plan."""

    def __init__(self, seed: int, seen: Counter[object]) -> None:
        self.random = random.Random(seed)
        self.seen = seen
        settings: dict[str, Any] = {
            "max_message_size": self.choice(None, 100, 2**20, 2**20),
            "open_timeout": self.choice(0, 4, 20),
            "close_timeout": self.choice(0, 4, 20),
            "timeout": self.choice(0, 4, 20),
        }
        self.server = ServerConnection(**settings)
        self.client = ClientConnection("example.com", **settings)
        self.ends: dict[str, AnyConnection] = {"server": self.server, "client": self.client}
        self.arriving = {"server": b"", "client": b""}
        self.sent: dict[str, list[str | bytes]] = {"server": [], "client": []}
        self.parts: dict[str, list[bytes]] = {"server": [], "client": []}
        self.pieces: dict[str, list[MessagePiece]] = {"server": [], "client": []}
        self.received: dict[str, list[str | bytes]] = {"server": [], "client": []}
        self.over = {"server": False, "client": False}
        self.forged = False
        self.now = 1000.0
        if self.maybe(0.7):
            for role in ROLES:
                self.call(role, "connection_made", self.now)
        self.flush("client")
        if self.maybe(0.7):
            for role in ROLES:
                self.deliver_some(role, 10**6)
                self.accept("server")

    def choice(self, *options: Any) -> Any:
        return self.random.choice(options)

    def maybe(self, probability: float) -> bool:
        return self.random.random() < probability

    def mistake(self, right: list[Any], wrong: list[Any]) -> Any:
        """An argument, now and then a wrong one."""
        return self.random.choice(wrong if self.maybe(0.1) else right)

    def flush(self, role: str) -> None:
        """Put on the wire what an end has to say."""
        size = self.ends[role].unsent
        data = self.ends[role].data_to_send()
        assert (len(data), self.ends[role].unsent) == (size, 0)
        self.arriving["client" if role == "server" else "server"] += data

    def check_deadline(self, connection: AnyConnection, due: float | None) -> None:
        """It was put off, if anything."""
        later = connection.next_deadline()
        assert later is None or (due is not None and later >= due)

    def call(self, role: str, name: str, *args: Any, **kwargs: Any) -> bool:
        """A caller's call, which may be a mistake; returns whether it was none."""
        connection = self.ends[role]
        before, phase, due = inside(connection), connection.phase, connection.next_deadline()
        try:
            getattr(connection, name)(*args, **kwargs)
        except (LocalProtocolError, ValueError, TypeError) as error:
            assert str(error)
            assert inside(connection) == before
            self.seen[name, False] += 1
            return False
        self.seen[name, True] += 1
        if connection.phase is phase and name not in NEARER:
            self.check_deadline(connection, due)
        self.flush(role)
        return True

    def reported(self, role: str, report: Callable[[], list[Event]]) -> None:
        """What may never raise; looks at the events."""
        connection = self.ends[role]
        phase, due = connection.phase, connection.next_deadline()
        events = report()
        if connection.phase is phase:
            self.check_deadline(connection, due)
        self.flush(role)
        self.look_at(role, events)

    def look_at(self, role: str, events: list[Event]) -> None:
        for event in events:
            self.seen[type(event)] += 1
            if isinstance(event, Ping) and self.ends[role].may_pong:
                assert self.call(role, "send_pong", event.payload)
            assert not self.over[role]
            self.over[role] = isinstance(event, ENDS)
            if isinstance(event, MessagePiece):
                pieces = self.pieces[role]
                pieces.append(event)
                if event.last and event.type is DataType.TEXT:
                    self.received[role].append("".join(piece.text or "" for piece in pieces))
                elif event.last:
                    self.received[role].append(b"".join(piece.data for piece in pieces))
                if event.last:
                    pieces.clear()

    # The caller.

    def accept(self, role: str) -> None:
        self.call("server", "accept", "chat" if self.maybe(0.1) else None, now=self.now)

    def reject(self, role: str) -> None:
        if self.maybe(0.4):
            response = Response(self.choice(101, 200, 404), body="no")
            self.call("server", "reject", response, now=self.now)

    def send_message(self, role: str) -> None:
        message = self.mistake(MESSAGES, NO_MESSAGES)
        if self.call(role, "send_message", message):
            self.sent[role].append(message)

    def send_fragment(self, role: str) -> None:
        data = self.mistake(MESSAGES, NO_MESSAGES)
        kind = self.mistake(KINDS, NO_KINDS)
        last = self.maybe(0.3)
        if data == b"\xff" and kind is DataType.TEXT:
            kind = None  # a false claim here is a mistake that does not show
        if self.call(role, "send_fragment", data, last, kind):
            parts = self.parts[role]
            parts.append(data.encode() if isinstance(data, str) else bytes(data))
            if last:
                text = kind is DataType.TEXT or (kind is None and isinstance(data, str))
                whole = b"".join(parts)
                self.sent[role].append(whole.decode() if text else whole)
                parts.clear()

    def send_control(self, role: str) -> None:
        name = self.choice("send_ping", "send_pong")
        self.call(role, name, self.mistake(PAYLOADS, NO_PAYLOADS))

    def send_close(self, role: str) -> None:
        if self.maybe(0.2):
            code = self.mistake(CODES, NO_CODES)
            reason = self.mistake(REASONS, NO_REASONS)
            self.call(role, "send_close", code, reason, now=self.now)

    def acknowledge_close(self, role: str) -> None:
        owed = self.ends[role].owes_close
        assert self.call(role, "acknowledge_close", now=self.now) is owed

    def set_limit(self, role: str) -> None:
        if self.maybe(0.2):
            self.call(role, "__setattr__", "max_message_size", self.choice(None, 2**20, 3, -1, "1"))

    def pause_or_resume(self, role: str) -> None:
        if self.maybe(0.3):
            self.call(role, "pause_reading")
        else:
            self.call(role, "resume_reading", self.now)

    def output_progress(self, role: str) -> None:
        taken, waiting, held = [self.random.randrange(3) for _ in range(3)]
        self.call(role, "output_progress", taken, waiting, self.now, held)

    def flood(self, role: str) -> None:
        """Many messages at once."""
        if self.maybe(0.2) and self.ends[role].may_send:
            for i in range(self.choice(255, 256, 257, 600)):
                if self.call(role, "send_message", str(i)):
                    self.sent[role].append(str(i))

    # The peer, the network, the clock.

    def deliver(self, role: str) -> None:
        self.deliver_some(role, self.choice(1, 2, 3, 7, 100, 10**6, 10**6, 10**6))

    def deliver_some(self, role: str, size: int) -> None:
        data, self.arriving[role] = self.arriving[role][:size], self.arriving[role][size:]
        self.reported(role, lambda: self.ends[role].receive_data(data, self.now))

    def ask_for_more(self, role: str) -> None:
        if self.ends[role].more:
            self.seen["more"] += 1
        self.reported(role, lambda: self.ends[role].receive_data(b"", self.now))

    def forge(self, role: str) -> None:
        if self.maybe(0.05):
            self.forged = True
            self.arriving[role] += self.random.randbytes(self.random.randrange(20))

    def end_input(self, role: str) -> None:
        """The other half is closed, with or without what was on its way."""
        if self.maybe(0.1):
            if self.maybe(0.7):
                self.deliver(role)
            self.forged = True
            self.arriving[role] = b""
            self.reported(role, lambda: self.ends[role].receive_eof(self.now))

    def lose(self, role: str) -> None:
        if self.maybe(0.02):
            self.reported(role, lambda: self.ends[role].connection_lost())
            assert self.ends[role].phase is Phase.CLOSED

    def wait(self, role: str) -> None:
        self.now += self.choice(0.0, 0.1, 0.5, 1.0, 5.0)

    def look_at_the_clock(self, role: str) -> None:
        connection = self.ends[role]
        due = connection.next_deadline()
        events = connection.handle_timeout(self.now)
        if due is None or due > self.now:
            assert (events, connection.unsent) == ([], 0)
        else:
            self.seen["timeout"] += 1
        later = connection.next_deadline()
        assert later is None or later > self.now
        self.flush(role)
        self.look_at(role, events)

    # What holds always.

    def check(self) -> None:
        for role, connection in self.ends.items():
            phase = connection.phase
            self.seen[phase] += 1
            assert connection.state is STATES[phase]
            assert connection.may_send is (phase in MAY_SEND)
            assert connection.may_pong is (phase in MAY_PONG)
            assert connection.owes_close is (phase in OWES_CLOSE)
            assert connection.should_close is (phase in (Phase.ENDING, Phase.CLOSED))
            assert phase in MAY_RECEIVE or not connection.more
            ours = [frame for frame in connection.close_frames if frame.sent]
            assert len(ours) <= 1
            assert connection.closes_exchanged is (len(connection.close_frames) == 2)
            assert len(connection.close_frames) - len(ours) <= 1
            if phase in (Phase.CONNECTING, Phase.OPEN, Phase.CLOSE_SENT):
                assert (connection.close_code, self.over[role]) == (None, False)
            if phase in OWES_CLOSE:
                assert connection.close_code is not None
            if connection.close_code is not None:
                assert self.over[role]  # and the caller knows
            if phase is Phase.CLOSE_SENT:
                assert ours
        if not self.forged:
            for role, other in (("server", "client"), ("client", "server")):
                assert self.received[role] == self.sent[other][: len(self.received[role])]

    STEPS = (
        *(accept, reject, send_message, send_message, send_fragment, send_control, send_close),
        *(acknowledge_close, set_limit, pause_or_resume, output_progress, flood),
        *(deliver, deliver, deliver, deliver, ask_for_more, forge, end_input, lose),
        *(wait, look_at_the_clock, look_at_the_clock),
    )

    def go(self, steps: int) -> None:
        for _ in range(steps):
            step = self.random.choice(self.STEPS)
            step(self, self.choice(*ROLES))
            self.check()


@pytest.mark.parametrize(
    "block", [1, *(pytest.param(block, marks=pytest.mark.slow) for block in range(2, 11))]
)
def test_walks(block: int) -> None:
    for seed in range(EXAMPLES // 5):
        Walk(1000 * block + seed, Counter()).go(200)


@pytest.mark.slow
def test_the_walks_go_everywhere() -> None:
    """Or the above would prove little."""
    seen: Counter[object] = Counter()
    for seed in range(100):
        Walk(seed, seen).go(200)
    places: set[object] = {*Phase, "more", "timeout"}
    events: set[object] = {RequestReceived, Accepted, Ping, Pong, MessagePiece}
    events.update(ENDS)
    calls: set[object] = {
        (name, right)
        for name in ("accept", "reject", "send_message", "send_fragment", "send_ping", "send_pong")
        + ("send_close", "acknowledge_close", "__setattr__")
        for right in (False, True)
    }
    assert places | events | calls <= set(seen)
    assert min(seen[place] for place in places | events | calls) >= 3
