"""One end of a stream for the checks: a sink that notices each broken rule."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ..identity import Identity
from ..runtime import Pipe
from .rules import BrokenRule, Rule

T = TypeVar("T")


class End:
    """A Sink that records its calls, and those that break a rule."""

    pipe: Pipe

    def __init__(self) -> None:
        self.identity: Identity = Identity()
        self.received: bytearray = bytearray()
        self.is_connected: bool = False
        self.at_eof: bool = False
        self.lost: bool = False
        self.paused: bool = False
        self.broken: list[BrokenRule] = []
        self.on_data: Callable[[], None] | None = None
        """Called after each data_received()."""
        self._within: str | None = None  # the method of Pipe that is being called

    def check(self) -> None:
        """Raise the first broken rule that was noticed."""
        if self.broken:
            raise self.broken[0]

    # Calls to the pipe.

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """The block calls the method `name` of the pipe, which must not call the sink."""
        outer, self._within = self._within, name
        try:
            yield
        finally:
            self._within = outer

    def write(self, data: bytes, rule: Rule = Rule.BYTES_ARRIVE) -> None:
        """Write; an exception breaks `rule`."""
        with self.within("write"):
            try:
                self.pipe.write(data)
            except Exception as error:
                raise BrokenRule(rule, f"write() raised {error!r}") from error

    def writelines(self, parts: list[bytes], rule: Rule = Rule.BYTES_ARRIVE) -> None:
        """Write several parts; an exception breaks `rule`."""
        with self.within("writelines"):
            try:
                self.pipe.writelines(parts)
            except Exception as error:
                raise BrokenRule(rule, f"writelines() raised {error!r}") from error

    def set_write_limit(self, size: int) -> None:
        """Set the high-water mark."""
        with self.within("set_write_limit"):
            self.pipe.set_write_limit(size)

    def pause(self) -> None:
        """Pause reading."""
        self.paused = True
        with self.within("pause_reading"):
            self.pipe.pause_reading()

    def resume(self) -> None:
        """Resume it."""
        self.paused = False
        with self.within("resume_reading"):
            self.pipe.resume_reading()

    def close(self) -> None:
        """End our half."""
        with self.within("close"):
            self.pipe.close()

    def abort(self) -> None:
        """Drop the stream."""
        with self.within("abort"):
            self.pipe.abort()

    def ask_names(self) -> None:
        """Ask for everything that `info` may know, and for one thing that it cannot."""
        for name in ("peername", "sockname", "socket", "ssl_object", "no such name"):
            try:
                found = self.pipe.info(name)
            except Exception as error:
                raise BrokenRule(Rule.INFO, f"info({name!r}) raised {error!r}") from error
        if found is not None:
            raise BrokenRule(Rule.INFO, f"info({name!r}) is {found!r}")

    # As a sink.

    def connected(self, pipe: Pipe) -> None:
        """As the contract says."""
        if self.is_connected:
            self._break(Rule.CONNECTED_FIRST, "it was called again")
        self.is_connected = True
        self.pipe = pipe

    def data_received(self, data: bytes | memoryview) -> None:
        """As the contract says."""
        self._record("data_received")
        if self.paused:
            self._break(Rule.PAUSED, f"data_received() of {len(data)} bytes")
        if self.at_eof:
            self._break(Rule.EOF_ONCE, f"data_received() of {len(data)} bytes after it")
        self.received += data
        if self.on_data is not None:
            self.on_data()

    def eof_received(self) -> None:
        """As the contract says."""
        self._record("eof_received")
        if self.paused:
            self._break(Rule.PAUSED, "eof_received()")
        if self.at_eof:
            self._break(Rule.EOF_ONCE, "a second eof_received()")
        self.at_eof = True

    def connection_lost(self, exc: Exception | None) -> None:
        """As the contract says."""
        if self.lost:
            self._break(Rule.LOST_ONCE, "it was called again")
        self._record("connection_lost")
        self.lost = True

    def _record(self, name: str) -> None:
        if not self.is_connected:
            self._break(Rule.CONNECTED_FIRST, f"{name}() came before it")
        if self.lost and name != "connection_lost":
            self._break(Rule.LOST_LAST, f"{name}() was")
        if self._within is not None:
            self._break(Rule.NOT_WITHIN, f"{name}() came from within {self._within}()")

    def _break(self, rule: Rule, seen: str) -> None:
        self.broken.append(BrokenRule(rule, seen))
