"""A connection whose bytes are shown in the log, at DEBUG; any other pays nothing for that."""

import logging
from collections.abc import Callable
from typing import Any, cast

from wscore import ServerConnection
from wscore.explaining.explained import Explained, shown_fields
from wscore.explaining.stream import ExplainedStream
from wscore.reasons import printable

from ..identity import Identity
from ..receiving.intake import REASONS, Intake
from ..runtime import Pipe, Sink
from .session import Session

# Fields of a frame that say nothing without its bytes.
_LEFT_OUT = {"MASK", "key", "compressed"}

# The most pings whose pongs are awaited.
_MOST_PINGS = 16


def traced(session: Session) -> Sink:
    """The sink for a session's stream: one that shows what passes, if its logger logs DEBUG."""
    return Traced(session) if session.identity.shows(logging.DEBUG) else session


class Trace:
    """The log of one connection's bytes: heads, frames, the latency of pings, the end."""

    def __init__(self, identity: Identity, is_server: bool, now: Callable[[], float]) -> None:
        client, server = ExplainedStream("client"), ExplainedStream("server")
        self._requests, self._responses = client, server
        self._received, self._sent = (client, server) if is_server else (server, client)
        self._identity = identity
        self._now = now
        self._pings: dict[bytes, float] = {}  # when they were sent
        self._closes: dict[str, str] = {}  # what the first of each direction says, in order

    def received(self, data: bytes | memoryview) -> None:
        """Bytes were received."""
        for part in self._received.feed(data):
            self._show("<", part)
        self._follow_handshake()

    def sent(self, data: bytes) -> None:
        """Bytes were sent."""
        for part in self._sent.feed(data):
            self._show(">", part)
        self._follow_handshake()

    def ended(self, error: Exception | None) -> None:
        """The stream is lost: say who closed, and how."""
        all_seen = not self._received.ended
        for sign, stream in (("<", self._received), (">", self._sent)):
            for part in stream.end():
                self._show(sign, part)
        if not self._responses.opened:
            how = "closed in the opening handshake"
        elif not self._closes:
            how = "lost without a Close"
        else:
            (sign, first), *answers = self._closes.items()
            how = f"closed by {'the peer' if sign == '<' else 'us'} with {first}"
            if answers:
                how += f", answered with {answers[0][1]}"
            elif all_seen or sign == "<":
                how += ", not answered"
        self.log(how if error is None else f"{how}: {printable(str(error))}")

    def log(self, what: str) -> None:
        """Log a line."""
        self._identity.log(logging.DEBUG, what)

    def _follow_handshake(self) -> None:
        responses = self._responses
        if responses.opened:
            self._requests.bits = responses.bits
        elif responses.ended and not self._requests.ended:
            for part in self._requests.end():
                self._show("<" if self._requests is self._received else ">", part)

    def _show(self, sign: str, part: Explained) -> None:
        if part.kind == "end of head":
            return
        fields = part.fields
        if part.kind == "frame":
            fields = {name: value for name, value in fields.items() if name not in _LEFT_OUT}
            fields |= self._more(sign, fields.get("opcode"), part)
        line = shown_fields(fields, part.faults)
        self.log(f"{sign} {line}" if part.kind == "frame" else f"{sign} {part.kind}: {line}")

    def _more(self, sign: str, opcode: str | None, part: Explained) -> dict[str, str]:
        """What a frame means to this connection."""
        if opcode == "8(close)":
            code, _, _ = part.fields.get("code", "no code").partition("(")
            self._closes.setdefault(sign, f"{code} {part.fields.get('reason', '')}".strip())
        elif opcode == "9(ping)" and sign == ">":
            self._pings[part.payload] = self._now()
            if len(self._pings) > _MOST_PINGS:
                del self._pings[next(iter(self._pings))]
        elif opcode == "10(pong)" and sign == "<":
            sent_at = self._pings.pop(part.payload, None)
            if sent_at is not None:
                return {"latency": f"{1000 * (self._now() - sent_at):.1f}ms"}
        return {}


class TracedPipe:
    """A Pipe that shows what is written to another, and the pauses of reading."""

    def __init__(self, pipe: Pipe, trace: Trace, intake: Intake) -> None:
        self._pipe = pipe
        self._trace = trace
        self.intake: Intake | None = intake

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)

    def write(self, data: bytes) -> None:
        """As a Pipe."""
        self._trace.sent(data)
        self._pipe.write(data)

    def writelines(self, parts: list[bytes]) -> None:
        """As a Pipe."""
        for part in parts:
            self._trace.sent(part)
        self._pipe.writelines(parts)

    def pause_reading(self) -> None:
        """As a Pipe."""
        if self.intake is not None:
            self._trace.log(f"reading pauses: {REASONS[self.intake.pause_reasons]}")
        self._pipe.pause_reading()

    def resume_reading(self) -> None:
        """As a Pipe."""
        self._trace.log("reading goes on")
        self._pipe.resume_reading()


class Traced:
    """The Sink of a connection that is traced, in front of its session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._trace = Trace(
            session.identity, isinstance(session.core, ServerConnection), session.runtime.now
        )
        self._pipe: TracedPipe | None = None

    @property
    def identity(self) -> Identity:
        """That of the session."""
        return self._session.identity

    def connected(self, pipe: Pipe) -> None:
        """As a Sink."""
        self._pipe = TracedPipe(pipe, self._trace, self._session.intake)
        self._session.connected(cast(Pipe, self._pipe))

    def data_received(self, data: bytes | memoryview) -> None:
        """As a Sink."""
        self._trace.received(data)
        self._session.data_received(data)

    def eof_received(self) -> None:
        """As a Sink."""
        self._trace.log("< the end of the stream")
        self._session.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """As a Sink."""
        if self._pipe is not None:
            self._pipe.intake = None  # or they would be a cycle
            self._trace.ended(exc)
        self._session.connection_lost(exc)
