"""The connection: bytes in, events out, bytes to send; one gate in, one gate out."""

from os import urandom
from typing import Generic, NamedTuple, TypeVar

from .deadlines import Deadlines, Expiry
from .enums import DataType, State
from .errors import LocalProtocolError
from .events import (
    Accepted,
    CloseReceived,
    ConnectionFailed,
    Event,
    HandshakeFailed,
    Pong,
    Refused,
)
from .frames import FIN, close_payload, readable
from .handshake import ClientHandshake, ServerHandshake
from .masking import MaskKeys
from .parser import Parser
from .reasons import Reasons, may_send, reason_for
from .sending import Sender
from .states import MAY_RECEIVE, MAY_SEND, OWES_CLOSE, STATES, TRANSITIONS, Phase, Step

Handshake = TypeVar("Handshake", ServerHandshake, ClientHandshake)

MAX_MESSAGE_SIZE = 2**20


class CloseFrame(NamedTuple):
    """A Close that was on the wire (RFC 6455 section 5.5.1).

    `sent` is True for our own, False for the peer's; `code` is 1005 where it had none; `reason`
    is what it said beside.
    """

    sent: bool
    code: Reasons | int
    reason: str


class Connection(Sender, Generic[Handshake]):
    """What both roles share; build a `ServerConnection` or a `ClientConnection`.

    Feed it what arrives (`receive_data`, `receive_eof`, `connection_lost`), act on the events,
    and after every call write what `data_to_send` returns. It never raises on what the peer
    sends: that ends in an event. It raises LocalProtocolError, ValueError or TypeError on what
    its caller does wrong, and changes nothing then. It answers nothing on its own: not a Ping,
    not a Close, so that the answers to earlier messages can go out before.

    Every `now` is the caller's clock in seconds and matters to deadlines only.

    `phase` is where the connection stands, `state` the same as users see it. `close_code` and
    `close_reason` are how it ended, None and "" while it has not (RFC 6455 section 7.1.5);
    `close_frames` are both sides' Closes in the order they were on the wire, `input_ended` says
    whether the peer has ended its half, `silent` whether nothing has come from it, `may_send`
    whether messages and pings can still be sent (RFC 6455 section 5.5.1). `latency` is in seconds:
    what the last keepalive ping took; None before. `unsent` is how many bytes `data_to_send` would
    return.
    """

    __slots__ = (
        "_answer",
        "_closes",
        "_deadlines",
        "_eof_held",
        "_handshake",
        "_keepalive_ping",
        "_may_receive",
        "_parser",
        "close_code",
        "close_reason",
        "input_ended",
        "latency",
        "silent",
    )

    def __init__(
        self,
        handshake: Handshake,
        parser: Parser,
        keys: MaskKeys | None,
        deadlines: Deadlines,
    ) -> None:
        super().__init__(keys)
        self._closes: tuple[tuple[bool, Reasons | int, str], ...] = ()  # see close_frames
        self.close_code: Reasons | int | None = None  # how it ended; None while it has not
        self.close_reason = ""
        self.latency: float | None = None  # seconds, of the last keepalive ping answered
        self._handshake: Handshake | None = handshake
        self._parser = parser
        self._deadlines = deadlines
        self._may_receive = False
        self.input_ended = False  # the peer ended its half
        self.silent = True  # nothing has come from it
        self._eof_held = False  # that came while input was kept back
        self._keepalive_ping: bytes | None = None  # the payload of the one not answered
        self._answer: tuple[int | None, str] | None = None  # what acknowledge_close will send

    # What can be asked.

    @property
    def state(self) -> State:
        """CONNECTING, OPEN, CLOSING or CLOSED."""
        return STATES[self.phase]

    @property
    def close_frames(self) -> tuple[CloseFrame, ...]:
        """Both sides' Closes in the order they were on the wire."""
        # Named where somebody asks: a NamedTuple takes 4.5k instructions to make.
        return tuple([CloseFrame(*close) for close in self._closes])

    @property
    def more(self) -> bool:
        """Input was kept back, to bound the work of one call: call `receive_data(b"")` again."""
        return self._may_receive and self._parser.more

    @property
    def owes_close(self) -> bool:
        """Whether `acknowledge_close` is to be called: when what is owed before it was sent."""
        return self.phase in OWES_CLOSE

    @property
    def should_close(self) -> bool:
        """All is said: write `data_to_send()`, then end the byte stream.

        Where `phase` is CLOSED and the stream stands, a deadline has passed: drop it.
        """
        return self.phase is Phase.ENDING or self.phase is Phase.CLOSED

    @property
    def max_message_size(self) -> int | None:
        """The longest message let in, in bytes; None for no bound.

        Judged on declared lengths, and of a compressed message as it is inflated. May be set at
        any time, and holds from the next frame on.
        """
        return self._parser.max_message_size

    @max_message_size.setter
    def max_message_size(self, size: int | None) -> None:
        self._parser.max_message_size = size

    # What arrives.

    def receive_data(self, data: bytes | bytearray | memoryview, now: float = 0.0) -> list[Event]:
        """Take what the peer sent and return what it means.

        At most 256 frames of it at a time, or about 256 KiB of what extensions make: where `more`
        is set afterwards, call again with b"". Cutting the input elsewhere changes how messages
        fall into pieces, and of a compressed one how much comes before it fails, and by which of its
        faults; nothing else.
        Raises TypeError for what is not bytes-like.
        """
        if data.__class__ is not bytes:
            data = readable(data)
        if data:
            self._deadlines.heard = now
        if not self._may_receive:
            return self._receive_handshake(bytes(data), now)
        parser = self._parser
        events = parser.feed(data)
        if parser.over:
            self._ended_by(events[-1], now)
        if self._keepalive_ping is not None and events:
            events = [event for event in events if not self._answers_keepalive(event, now)]
        if self._eof_held:
            self._eof_held = False
            events += self.receive_eof(now)
        return events

    def receive_eof(self, now: float = 0.0) -> list[Event]:
        """The peer ended its half of the byte stream; ours may still work."""
        if self._may_receive and self._parser.more:
            self._eof_held = True
            return []
        self.input_ended = True
        before = self._move(Step.END_OF_INPUT)
        if before in MAY_RECEIVE:
            self._deadlines.closing(now)
            return [self._lost("the peer left without a Close")]
        handshake = self._handshake
        event = None if handshake is None else handshake.receive_eof()
        if handshake is None or event is None:
            return []
        self._refused(handshake, now)
        return [event]

    def connection_lost(self) -> list[Event]:
        """The byte stream is gone, both ways. Always call this last, whatever ended it.

        Input kept back (`more`) is dropped.
        """
        before = self._move(Step.LOSE)
        self._deadlines.over()
        handshake, self._handshake = self._handshake, None
        if before is Phase.CONNECTING:
            if isinstance(handshake, ClientHandshake):
                event = handshake.receive_eof()
                if isinstance(event, Refused):  # whose body is cut short
                    return [event]
            return [HandshakeFailed(0, "the connection was lost amid the opening handshake")]
        if before in MAY_RECEIVE:
            return [self._lost("the connection was lost")]
        return []

    # Time.

    def connection_made(self, now: float) -> None:
        """The byte stream stands: deadlines count from here. Needed only where there are any.

        Raises LocalProtocolError once the opening handshake is over.
        """
        self._waiting_handshake()
        self._deadlines.start(now)

    def next_deadline(self) -> float | None:
        """When to call `handle_timeout`, in seconds of the caller's clock; None for never.

        Look again after each call to that, and after those that may bring it nearer:
        `connection_made`, whatever ends the handshake or closes, `resume_reading` and
        `output_progress`. All others only put it off.
        """
        return self._deadlines.next()

    def handle_timeout(self, now: float) -> list[Event]:
        """Do what is due by `now`: ping a silent peer, give up on one that is gone.

        Where `phase` is CLOSED afterwards, write what can be written and drop the byte stream.
        """
        events: list[Event] = []
        while (expiry := self._deadlines.expired(now)) is not None:
            if expiry is Expiry.PING_DUE:
                self._keepalive_ping = urandom(4)
                self._frame(FIN | DataType.PING, self._keepalive_ping)
                self._deadlines.pinged(now)
            elif expiry is Expiry.HANDSHAKE:
                handshake = self._waiting_handshake()
                events.append(handshake.timeout())
                self._refused(handshake, now)
            elif expiry is Expiry.CLOSE and self.owes_close:
                self.acknowledge_close(now)
            else:
                events += self._drop(expiry)
        return events

    def pause_reading(self) -> None:
        """The caller stops reading: the peer's silence is no sign from here on."""
        self._deadlines.pause()

    def resume_reading(self, now: float) -> None:
        """The caller reads again: silence counts from `now`."""
        self._deadlines.resume(now)

    def output_progress(self, taken: int, waiting: int, now: float) -> None:
        """Tell how much the peer has taken in all and how much waits for it, both in bytes.

        Whoever takes none during the keepalive time while some waits is given up on by
        `handle_timeout`.
        """
        self._deadlines.output(now, taken, waiting)

    # Closing.

    def send_close(
        self, code: int | None = Reasons.NORMAL, reason: str = "", now: float = 0.0
    ) -> None:
        """Start the closing handshake, or end it in words of our own (RFC 6455 5.5.1, 7.1.2).

        `reason` holds at most 123 bytes of UTF-8. `code` None sends an empty Close. Raises
        ValueError for a code that may not be sent or a longer reason, TypeError for a reason
        that is no str, LocalProtocolError where a Close was sent already. Then wait for
        CloseReceived or ConnectionFailed.
        """
        if not self.may_send:
            raise self._refusal()
        if code is not None and not (isinstance(code, int) and may_send(code)):
            raise ValueError(
                f"{code} may not be sent in a Close: use 1000 to 1003, 1007 to 1014 or 3000 to 4999"
            )
        if code is None and reason:
            raise ValueError("a Close without a code has no reason: give a code")
        self._put_close(code, reason)
        self._move(Step.SEND_CLOSE)
        self._deadlines.closing(now)

    def acknowledge_close(self, now: float = 0.0) -> None:
        """Send the Close that answers the last CloseReceived or ConnectionFailed (RFC 6455 5.5.1).

        Call it when what was owed has been sent. Raises LocalProtocolError where none is owed.
        """
        if not self.owes_close:
            raise LocalProtocolError("no Close is owed: the peer has not closed, or was answered")
        if self._answer is not None:
            self._put_close(*self._answer)
        self._move(Step.SEND_CLOSE)
        self._deadlines.closing(now)

    # Inside.

    def _move(self, step: Step) -> Phase:
        """Go where the table says; returns where we stood."""
        before = self.phase
        phase = TRANSITIONS[before].get(step)
        if phase is None:
            raise LocalProtocolError(f"{step.name} is not possible in {before.name}")
        self.phase = phase
        self.may_send = phase in MAY_SEND
        self._may_receive = phase in MAY_RECEIVE
        return before

    def _receive_handshake(self, data: bytes, now: float) -> list[Event]:
        """Input outside of OPEN and CLOSE_SENT: for the handshake, or dropped."""
        if data:
            self.silent = False
        handshake = self._handshake
        event = None if handshake is None else handshake.receive_data(data)
        if handshake is None or event is None:
            return []
        if isinstance(event, Accepted):
            self._opened(handshake, now)
            return [event, *self.receive_data(b"", now)]
        if isinstance(event, HandshakeFailed | Refused):
            self._refused(handshake, now)
        return [event]

    def _waiting_handshake(self) -> Handshake:
        if self._handshake is None:
            raise LocalProtocolError("the opening handshake is over: there is nothing to answer")
        return self._handshake

    def _opened(self, handshake: Handshake, now: float) -> None:
        """The handshake succeeded; what came behind it are frames."""
        self._move(Step.ACCEPT)
        self._deadlines.opened(now)
        self._handshake = None
        self._use(handshake.negotiated)
        self._parser.negotiated = handshake.negotiated
        self._parser.hold(handshake.trailing_data)
        if self.input_ended:
            self._eof_held = self._parser.more = True

    def _refused(self, handshake: Handshake, now: float) -> None:
        """The handshake ended in anything else."""
        self._put(handshake.refusal)
        self._move(Step.REFUSE)
        self._deadlines.closing(now)
        self._handshake = None

    def _ended_by(self, event: Event, now: float) -> None:
        """The parser's last event: the peer's Close, or a violation."""
        if isinstance(event, CloseReceived):
            self._move(Step.RECEIVE_CLOSE)
            self._closes += ((False, event.code, event.reason),)
            self._answer = (None if event.code == Reasons.NO_STATUS else event.code), ""
        else:
            assert isinstance(event, ConnectionFailed)
            self._move(Step.FAIL)
            self._answer = event.code, event.reason
        self.close_code, self.close_reason = event.code, event.reason
        self._deadlines.closing(now)

    def _lost(self, reason: str) -> ConnectionFailed:
        """The connection ended without the peer's Close and without a violation."""
        self.close_code, self.close_reason = Reasons.ABNORMAL_CLOSE, reason
        return ConnectionFailed(Reasons.ABNORMAL_CLOSE, reason)

    def _drop(self, expiry: Expiry) -> list[Event]:
        """Give up on a peer that missed a deadline."""
        reason = self._deadlines.verdict(expiry)
        if expiry is Expiry.SILENCE:
            self._put_close(Reasons.UNEXPECTED_CONDITION, reason)
        before = self._move(Step.LOSE)
        self._deadlines.over()
        return [self._lost(reason)] if before in MAY_RECEIVE else []

    def _answers_keepalive(self, event: Event, now: float) -> bool:
        """Whether an event is the Pong that our own ping asked for, which is nobody else's."""
        if not isinstance(event, Pong) or event.payload != self._keepalive_ping:
            return False
        self._keepalive_ping = None
        self.latency = now - self._deadlines.pinged_at
        return True

    def _put_close(self, code: int | None, reason: str) -> None:
        self._frame(FIN | DataType.CLOSE, close_payload(code, reason))
        shown = Reasons.NO_STATUS if code is None else reason_for(code)
        self._closes += ((True, shown, reason),)
