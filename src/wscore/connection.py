"""The connection, which both sides share: bytes in, events out, bytes to send."""

from collections.abc import Iterator
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
from .parser import SLICE, Parser
from .reasons import Reasons, may_send, reason_for
from .sending import Sender
from .states import MAY_PONG, MAY_RECEIVE, MAY_SEND, OWES_CLOSE, STATES, TRANSITIONS, Phase, Step

Handshake = TypeVar("Handshake", ServerHandshake, ClientHandshake)

MAX_MESSAGE_SIZE = 2**20


class CloseFrame(NamedTuple):
    """A Close frame that was sent or received (RFC 6455 section 5.5.1).

    `sent` is True for our own, False for the peer's; `code` is 1005 if the frame had none; `reason`
    is its text.
    """

    sent: bool
    code: Reasons | int
    reason: str


class Connection(Sender, Generic[Handshake]):
    """What both sides have in common; create a `ServerConnection` or a `ClientConnection`.

    Call `receive_data`, `receive_eof` and `connection_lost` for what happens to the byte stream,
    handle the events they return, and write `data_to_send` after every call. What the peer sends
    never raises an exception: its mistakes are reported as events. A caller's mistake raises
    LocalProtocolError, ValueError or TypeError and changes nothing. The connection does not respond
    on its own, neither to a Ping nor to a Close, so that responses to earlier messages can be sent
    first.

    Every `now` is the time of the caller's clock in seconds. Only deadlines depend on it.

    `phase` is the phase of the connection, `state` the same as users see it. `close_code` and
    `close_reason` tell how it ended, None and "" before that (RFC 6455 section 7.1.5).
    `close_frames` are both sides' Close frames in order. `input_ended` is True once the peer has
    ended its half of the stream, `silent` until it sends anything, `may_send` while messages and
    pings can be sent (RFC 6455 section 5.5.1). `latency` is the round-trip time of the last
    keepalive ping in seconds, None before the first. `unsent` is the size of `data_to_send()` in
    bytes.
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
        keys: Iterator[bytes] | None,
        deadlines: Deadlines,
    ) -> None:
        super().__init__(keys)
        self._closes: tuple[tuple[bool, Reasons | int, str], ...] = ()  # as in close_frames
        self.close_code: Reasons | int | None = None
        self.close_reason: str = ""
        self.latency: float | None = None
        self._handshake: Handshake | None = handshake
        self._parser = parser
        self._deadlines = deadlines
        self._may_receive = False
        self.input_ended: bool = False
        self.silent: bool = True
        self._eof_held = False  # the stream ended, but input is still kept back
        # Its payload until the pong comes, and how often it was sent: more while reading is paused.
        self._keepalive_ping: tuple[bytes, int] | None = None
        self._answer: tuple[int | None, str] | None = None  # what acknowledge_close will send

    # Properties.

    @property
    def state(self) -> State:
        """CONNECTING, OPEN, CLOSING or CLOSED."""
        return STATES[self.phase]

    @property
    def close_frames(self) -> tuple[CloseFrame, ...]:
        """Both sides' Close frames in the order in which they were sent and received."""
        # Created on access only: a NamedTuple takes 4.5k instructions.
        return tuple([CloseFrame(*close) for close in self._closes])

    @property
    def more(self) -> bool:
        """Whether input was kept back, to limit the work of one call: call `receive_data(b"")`."""
        return self._may_receive and self._parser.more

    @property
    def may_pong(self) -> bool:
        """Whether `send_pong` is possible: not once both sides have closed (RFC 6455 5.5.2)."""
        return self.phase in MAY_PONG

    @property
    def owes_close(self) -> bool:
        """Whether to call `acknowledge_close`, once everything that should precede it was sent."""
        return self.phase in OWES_CLOSE

    @property
    def closes_exchanged(self) -> bool:
        """Whether both sides have sent a Close, so that the closing handshake is complete."""
        return len(self._closes) == 2

    @property
    def should_close(self) -> bool:
        """Whether to write `data_to_send()` and then close the byte stream.

        If `closes_exchanged`, a client first waits for the server to close it, until the deadline
        (RFC 6455 section 7.1.1).

        If `phase` is CLOSED, a deadline has passed: abort the stream if it is still open.
        """
        return self.phase is Phase.ENDING or self.phase is Phase.CLOSED

    @property
    def max_message_size(self) -> int | None:
        """The size limit for received messages in bytes; None for no limit.

        It is applied to the lengths that frames declare, and to compressed messages as they are
        decompressed. It may be set at any time and applies from the next frame on.
        """
        return self._parser.max_message_size

    @max_message_size.setter
    def max_message_size(self, size: int | None) -> None:
        self._parser.max_message_size = size

    @property
    def max_frames(self) -> int:
        """How many frames one call of `receive_data` handles at most, from 1 to 256."""
        return self._parser.max_frames

    @max_frames.setter
    def max_frames(self, number: int) -> None:
        if not isinstance(number, int) or not 1 <= number <= SLICE:
            raise ValueError(f"max_frames must be an int from 1 to {SLICE}, not {number!r}")
        self._parser.max_frames = number

    def shorten_close_timeout(self, seconds: float) -> None:
        """Give the peer at most `seconds` for each step of the closing handshake from now on."""
        self._deadlines.shorten_close(seconds)

    # Input.

    def receive_data(self, data: bytes | bytearray | memoryview, now: float = 0.0) -> list[Event]:
        """Receive bytes from the peer; returns the events.

        One call handles at most `max_frames` frames, or about 256 KiB of decompressed data: if
        `more` is set afterwards, call again with b"". Where the input is cut only changes how
        messages are divided into pieces and, for a corrupt compressed message, how much of it is
        reported before which of its errors. Raises TypeError for data that is not bytes-like.
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
            events = [event for event in events if self._is_reported(event, now)]
        if self._eof_held:
            self._eof_held = False
            events += self.receive_eof(now)
        return events

    def receive_eof(self, now: float = 0.0) -> list[Event]:
        """The peer ended its half of the byte stream; returns the events. We may still send."""
        if self._may_receive and self._parser.more:
            self._eof_held = True
            return []
        self.input_ended = True
        before = self._move(Step.END_OF_INPUT)
        if before in MAY_RECEIVE:
            self._deadlines.closing(now)
            return [self._lost("the peer disconnected without a Close")]
        handshake = self._handshake
        event = None if handshake is None else handshake.receive_eof()
        if handshake is None or event is None:
            return []
        self._refused(handshake, now)
        return [event]

    def connection_lost(self) -> list[Event]:
        """The byte stream was closed in both directions; returns the events.

        Always call this last, however the stream was closed. Input kept back (`more`) is dropped.
        """
        before = self._move(Step.LOSE)
        self._deadlines.over()
        self._parser.drop()
        self._drop_encoders()
        handshake, self._handshake = self._handshake, None
        if before is Phase.CONNECTING:
            if isinstance(handshake, ClientHandshake):
                event = handshake.receive_eof()
                if isinstance(event, Refused):  # its body is incomplete
                    return [event]
            return [HandshakeFailed(0, "the connection was lost during the opening handshake")]
        if before in MAY_RECEIVE:
            return [self._lost("the connection was lost")]
        return []

    # Time.

    def connection_made(self, now: float) -> None:
        """The byte stream is open: start the deadlines. Without deadlines this call is optional.

        Raises LocalProtocolError once the opening handshake is over.
        """
        self._waiting_handshake()
        self._deadlines.start(now)

    def next_deadline(self) -> float | None:
        """When to call `handle_timeout`, in seconds of the caller's clock; None for never.

        Ask again after `handle_timeout`, and after the calls that can make it earlier:
        `connection_made`, those that end the handshake or close, `resume_reading` and
        `output_progress`. Other calls only make it later.
        """
        return self._deadlines.next()

    def is_overdue(self, now: float) -> bool:
        """Whether `handle_timeout` would hold the peer responsible for a deadline that has passed.

        If the caller was held up, what came in time may still wait in a buffer of the system.
        """
        return self._deadlines.expired(now) not in (None, Expiry.PING_DUE)

    def handle_timeout(self, now: float) -> list[Event]:
        """Do what is due at `now`: ping a silent peer, or end the connection. Returns the events.

        If `phase` is CLOSED afterwards, write what can be written and abort the byte stream. If
        `is_overdue`, receive what has already arrived first.
        """
        events: list[Event] = []
        while (expiry := self._deadlines.expired(now)) is not None:
            if expiry is Expiry.PING_DUE:
                payload, times = self._keepalive_ping or (b"", 0)
                if self._deadlines.reading or not times:
                    payload, times = urandom(4), 0
                self._keepalive_ping = payload, times + 1
                self._frame(FIN | DataType.PING, payload)
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
        """The caller stops reading: from now on, receiving nothing does not end the connection.

        Pings are still sent, for a write may show that the peer is gone.
        """
        self._deadlines.pause()

    def resume_reading(self, now: float) -> None:
        """The caller reads again: the keepalive starts again at `now`."""
        self._deadlines.resume(now)

    def output_progress(self, taken: int, waiting: int, now: float, held: int = 0) -> None:
        """Report how many bytes the peer has read in all, and how many are waiting for it.

        If bytes are waiting and the peer reads none for the keepalive time, `handle_timeout` ends
        the connection. A peer that reads some, but not all, is not silent: a ping waits behind the
        rest. The system may hold `held` more, unsent. Only a larger `taken` counts: estimate it.
        """
        self._deadlines.output(now, taken, waiting, held)

    # Closing.

    def send_close(
        self, code: int | None = Reasons.NORMAL, reason: str = "", now: float = 0.0
    ) -> None:
        """Start the closing handshake, or respond to the peer's Close with our own code and reason.

        `reason` has at most 123 bytes of UTF-8; `code` None sends an empty Close (RFC 6455 5.5.1,
        7.1.2). Raises ValueError for a code that must not be sent or a longer reason, TypeError for
        a reason that is not a str, LocalProtocolError if a Close was sent already. Then wait for
        CloseReceived or ConnectionFailed.
        """
        if not self.may_send:
            raise self._refusal()
        if code is not None and not (isinstance(code, int) and may_send(code)):
            raise ValueError(
                f"{code} must not be sent in a Close: use 1000 to 1003, 1007 to 1014 or 3000 to"
                " 4999"
            )
        if code is None and reason:
            raise ValueError("a Close without a code cannot have a reason: pass a code")
        self._put_close(code, reason)
        self._move(Step.SEND_CLOSE)
        self._parser.pongs_first = True
        self._deadlines.closing(now)

    def acknowledge_close(self, now: float = 0.0) -> None:
        """Send the Close that responds to CloseReceived or ConnectionFailed (RFC 6455 5.5.1).

        Call it once what precedes the Close is sent. Raises LocalProtocolError unless `owes_close`.
        """
        if not self.owes_close:
            raise LocalProtocolError("there is no Close to acknowledge: check owes_close first")
        if self._answer is not None:
            self._put_close(*self._answer)
        self._move(Step.SEND_CLOSE)
        self._deadlines.closing(now)

    # Internals.

    def _move(self, step: Step) -> Phase:
        """Change the phase by the table of transitions; returns the previous phase."""
        before = self.phase
        phase = TRANSITIONS[before].get(step)
        if phase is None:
            raise LocalProtocolError(f"{step.name} is not possible in phase {before.name}")
        self.phase = phase
        self.may_send: bool = phase in MAY_SEND
        self._may_receive = phase in MAY_RECEIVE
        return before

    def _receive_handshake(self, data: bytes, now: float) -> list[Event]:
        """Pass input to the handshake, or drop it after the end of the connection."""
        if data:
            self.silent = False
        handshake = self._handshake
        event = None if handshake is None else handshake.receive_data(data)
        if handshake is None or event is None:
            return []
        return self._handshake_event(handshake, event, now)

    def _handshake_event(self, handshake: Handshake, event: Event, now: float) -> list[Event]:
        """Handle an event of the handshake; returns it with those that follow."""
        if isinstance(event, Accepted):
            self._opened(handshake, now)
            return [event, *self.receive_data(b"", now)]
        if isinstance(event, HandshakeFailed | Refused):
            self._refused(handshake, now)
        return [event]

    def _waiting_handshake(self) -> Handshake:
        if self._handshake is None:
            raise LocalProtocolError(
                "the opening handshake is over: there is nothing to respond to"
            )
        return self._handshake

    def _opened(self, handshake: Handshake, now: float) -> None:
        """The handshake succeeded; what follows it are frames."""
        self._move(Step.ACCEPT)
        self._deadlines.opened(now)
        self._handshake = None
        self._use(handshake.negotiated)
        self._parser.negotiated = handshake.negotiated
        self._parser.hold(handshake.trailing_data)
        if self.input_ended:
            self._eof_held = self._parser.more = True

    def _refused(self, handshake: Handshake, now: float) -> None:
        """The handshake failed or was rejected."""
        self._put(handshake.refusal)
        self._move(Step.REFUSE)
        self._deadlines.closing(now)
        self._handshake = None

    def _ended_by(self, event: Event, now: float) -> None:
        """Handle the parser's last event: the peer's Close, or a protocol violation."""
        if isinstance(event, CloseReceived):
            self._move(Step.RECEIVE_CLOSE)
            self._closes += ((False, event.code, event.reason),)
            self._answer = (None if event.code == Reasons.NO_STATUS else event.code), event.reason
        else:
            assert isinstance(event, ConnectionFailed)
            self._move(Step.FAIL)
            self._answer = event.code, event.reason
        self.close_code, self.close_reason = event.code, event.reason
        self._deadlines.closing(now)

    def _lost(self, reason: str) -> ConnectionFailed:
        """The connection ended without the peer's Close or a protocol violation."""
        self.close_code, self.close_reason = Reasons.ABNORMAL_CLOSE, reason
        return ConnectionFailed(Reasons.ABNORMAL_CLOSE, reason)

    def _drop(self, expiry: Expiry) -> list[Event]:
        """End the connection to a peer that missed a deadline."""
        reason = self._deadlines.reason(expiry)
        if expiry is Expiry.SILENCE:
            self._put_close(Reasons.UNEXPECTED_CONDITION, reason)
        before, self._handshake = self._move(Step.LOSE), None
        self._deadlines.over()
        if before is Phase.CONNECTING:  # within the body of a response that refuses
            return [HandshakeFailed(0, reason)]
        return [self._lost(reason)] if before in MAY_RECEIVE else []

    def _is_reported(self, event: Event, now: float) -> bool:
        """Whether to report an event: of the pongs for equal keepalive pings, only the last."""
        ping = self._keepalive_ping
        if ping is None or not isinstance(event, Pong) or event.payload != ping[0]:
            return True
        self._keepalive_ping = (ping[0], ping[1] - 1) if ping[1] > 1 else None
        if self._keepalive_ping is not None:
            return False
        event.latency = self.latency = now - self._deadlines.pinged_at
        return True

    def _put_close(self, code: int | None, reason: str) -> None:
        self._frame(FIN | DataType.CLOSE, close_payload(code, reason))
        shown = Reasons.NO_STATUS if code is None else reason_for(code)
        self._closes += ((True, shown, reason),)
