"""Fuzzes two cores that talk with each other: the bytes choose who does what, and what arrives."""

from collections.abc import Callable, Iterator
from typing import Any

from conversation_reference import Voice, joined
from cuts import settled

from wscore import (
    ClientConnection,
    CloseReceived,
    Connection,
    ConnectionFailed,
    Deflate,
    Event,
    LocalProtocolError,
    MessagePiece,
    Ping,
    Pong,
    ServerConnection,
)

MOST_STEPS = 200

CODES = (1000, 1001, 1011, 3000, 4999)


class End:
    """One end, and what it has heard."""

    def __init__(self, core: Connection[Any]) -> None:
        self.core = core
        self.voice = Voice()
        self.heard: list[Event] = []
        self.on_the_way = b""

    def try_to(self, allowed: bool, act: Callable[[], object]) -> bool:
        """Do what the core must do or refuse; returns whether it did."""
        try:
            act()
        except (LocalProtocolError, TypeError):  # the latter for fragments of two types
            assert not allowed
            return False
        assert allowed
        self.on_the_way += self.core.data_to_send()
        return True

    @property
    def heard_close(self) -> bool:
        """Whether the other end's Close has come."""
        return bool(self.heard) and isinstance(self.heard[-1], CloseReceived)

    def receive(self, data: bytes) -> None:
        """Receive bytes."""
        self.heard += self.core.receive_data(data)
        while self.core.more:
            self.heard += self.core.receive_data(b"")

    def acknowledge(self) -> None:
        """Answer a Close."""
        if self.core.owes_close:
            [*_, event] = self.heard
            assert isinstance(event, CloseReceived | ConnectionFailed)
            self.core.acknowledge_close()
            self.voice.close = (int(event.code), event.reason)
            self.on_the_way += self.core.data_to_send()


def pairs(data: bytes) -> None:
    """Any steps: the first byte chooses what the ends have agreed on."""
    if not data:
        return
    one, other = _ends(compressed=data[0] & 1 == 1)
    steps = iter(data[1:])
    for _ in range(MOST_STEPS):
        choice = next(steps, None)
        if choice is None:
            break
        actor, listener = (one, other) if choice & 16 else (other, one)
        _step(choice & 15, actor, listener, steps)
        _check(actor, listener)
    _finish(one, other)


def _ends(compressed: bool) -> tuple[End, End]:
    """A server and a client, open."""
    extensions = [Deflate(threshold=20)] if compressed else []
    server, client = (
        ServerConnection(extensions=extensions),
        ClientConnection("localhost", extensions=extensions),
    )
    server.receive_data(client.data_to_send())
    server.accept()
    client.receive_data(server.data_to_send())
    return End(server), End(client)


def _step(choice: int, actor: End, listener: End, steps: Iterator[int]) -> None:
    """One step."""
    core, voice = actor.core, actor.voice
    size = next(steps, 0)
    text: str | bytes = "€" * size if choice & 1 else bytes([size]) * size
    if choice < 4:
        if actor.try_to(voice.may_say(text, fragment=False), lambda: core.send_message(text)):
            voice.say(text)
    elif choice < 8:
        last = choice < 6
        if actor.try_to(
            voice.may_say(text, fragment=True), lambda: core.send_fragment(text, last=last)
        ):
            voice.say(text, last)
    elif choice == 8:
        payload = bytes([size])
        if actor.try_to(voice.close is None, lambda: core.send_ping(payload)):
            voice.signals.append(("Ping", payload))
    elif choice == 9:
        payload = bytes([size])
        # Also after our Close, which the listener takes for the last that it hears.
        allowed = voice.close is None or not actor.heard_close
        if actor.try_to(allowed, lambda: core.send_pong(payload)) and voice.close is None:
            voice.signals.append(("Pong", payload))
    elif choice == 10:
        close = CODES[size % len(CODES)], "€" * (size % 42)
        if actor.try_to(voice.close is None, lambda: core.send_close(*close)):
            voice.close = close
    elif choice == 11:
        actor.acknowledge()
    else:
        _carry(actor, listener, size if choice < 15 else len(actor.on_the_way))


def _carry(actor: End, listener: End, size: int) -> None:
    """Let so many bytes arrive."""
    data, actor.on_the_way = actor.on_the_way[:size], actor.on_the_way[size:]
    listener.receive(data)


def _check(actor: End, listener: End) -> None:
    """Check what the listener has heard: in order what was said, and nothing else."""
    said: list[str | bytes] = []
    part: str | bytes | None = None
    signals: list[tuple[str, bytes]] = []
    for event in settled(listener.heard):
        if isinstance(event, MessagePiece):
            piece = event.data if event.text is None else event.text
            if not event.first:
                assert part is not None
                piece = joined(part, piece)
            part = None if event.last else piece
            if event.last:
                said.append(piece)
        elif isinstance(event, Ping | Pong):
            signals.append((type(event).__name__, event.payload))
        else:
            assert isinstance(event, CloseReceived), event
            assert (event.code, event.reason) == _as_heard(actor.voice.close)
    voice = actor.voice
    assert said == voice.said[: len(said)]
    assert signals == voice.signals[: len(signals)]
    if not actor.on_the_way:
        assert (len(said), len(signals)) == (len(voice.said), len(voice.signals))
    if part:
        rest = [*voice.said[len(said) :], voice.part]
        assert rest[0] is not None
        assert joined(part, rest[0][len(part) :]) == rest[0]


def _as_heard(close: tuple[int, str] | None) -> tuple[int, str]:
    assert close is not None
    return close


def _finish(one: End, other: End) -> None:
    """Close from both sides: everything that was said arrives first."""
    for end in (one, other):
        if end.voice.close is None and not end.core.owes_close:
            end.core.send_close(1000)
            end.on_the_way += end.core.data_to_send()
            end.voice.close = (1000, "")
    for _ in range(2):
        for actor, listener in ((one, other), (other, one)):
            actor.acknowledge()
            _carry(actor, listener, len(actor.on_the_way))
            _check(actor, listener)
    for end in (one, other):
        assert end.core.should_close
        assert end.core.connection_lost() == []
        assert end.core.close_code is not None
