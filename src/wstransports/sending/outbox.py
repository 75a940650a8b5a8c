"""What goes to the peer: framed by the core, gathered, written, and each message in its turn."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from wscore import ClientConnection, DataType, PreparedMessage, Reasons, ServerConnection
from wscore.frames import LARGE

from ..batch import GATHER_LIMIT
from ..errors import ConnectionClosed
from ..runtime import Pipe
from .fragment import Data
from .fragment_lock import Turn
from .source import Source

if TYPE_CHECKING:
    from ..connection.session import Session

# After so many bytes a sender lets others run, room or not: a loop of sends to a peer that takes
# them all would else have the event loop for itself.
_YIELD_AFTER = 2**20

# Large messages count a quarter: they take 0.25 to 0.35 ms for so many bytes, those of 1 KiB 5. To
# let others run behind each of 1 MiB took 1.2 turns of the loop for each instead of 0.8.
_LARGE_COUNT = 4

BROKEN_OFF = Reasons.UNEXPECTED_CONDITION, "a message was broken off"


class Outbox:
    """The sending half of a session."""

    __slots__ = (
        "_broken_off",
        "_gathered",
        "_session",
        "_written",
        "_yield_after",
        "_yield_at",
        "batch",
        "core",
        "crowded_since",
        "held_back",
        "pipe",
        "turn",
    )

    pipe: Pipe

    def __init__(self, session: "Session", core: ServerConnection | ClientConnection) -> None:
        self.core = core
        self.turn = Turn()
        self.crowded_since: float | None = None  # as `look` found it
        self.held_back = 0  # bytes of broadcast messages that wait for their turn
        self._session = session
        self.batch = session.runtime.batch
        self._gathered = False  # the batch will flush us
        self._broken_off = False  # a message of ours was, and that ended the connection
        self._written = 0  # bytes given to the pipe
        self._yield_after = 0 if session.runtime.checkpoints else _YIELD_AFTER
        self._yield_at = self._yield_after  # of those, when a sender has to let others run

    def put(self) -> bool:
        """What the core has to send goes out, at once or with the batch.

        Returns whether the sender should `drain`: gathered bytes count as used room.
        """
        batch = self.batch
        if batch.active and self.core.unsent < GATHER_LIMIT:
            if not self._gathered:
                self._gathered = True
                batch.at_end(self)
        else:
            self.flush()
        return self.pipe.full or self._written >= self._yield_at

    def write_prepared(self, message: PreparedMessage) -> None:
        """A message for many goes out at once, behind what was gathered; shorter than LARGE."""
        data = self.core.prepared_to_send(message)
        self._written += len(data)
        self.pipe.write(data)

    def flush(self) -> None:
        """Write what was gathered."""
        self._gathered = False
        core = self.core
        if core.unsent < LARGE:
            data = core.data_to_send()
            if data:
                self._written += len(data)
                self.pipe.write(data)
            return
        size = core.unsent
        self._written += size
        if self._yield_after:
            self._yield_at += size - size // _LARGE_COUNT
        self.pipe.writelines(core.parts_to_send())

    def drain(self) -> Awaitable[None]:
        """Wait for room; raises ConnectionClosed where the connection ends meanwhile."""
        if self.pipe.full or self._yield_after:
            return self._drain()
        # Only others to let run: to await that here takes 2 % of the instructions of an echo.
        return self._session.runtime.checkpoint()

    async def _drain(self) -> None:
        if self.pipe.full:
            self.flush()
            self._session.watch_output()
            await self.pipe.drain()
        if self._written >= self._yield_at:
            self._yield_at = self._written + self._yield_after
            await self._session.runtime.checkpoint()
        if self._session.lost:
            raise self.closed_error()

    def watch(self, now: float) -> None:
        """Tell the core how much the peer has taken: one that takes nothing is given up on."""
        waiting = self.pipe.waiting()
        self.core.output_progress(self._written - waiting, waiting, now)

    def look(self) -> None:
        """Note since when a message has to wait, for room or for its turn."""
        if not self.pipe.full and self.turn.holder is None:
            self.crowded_since = None
        elif self.crowded_since is None:
            self.crowded_since = self._session.runtime.now()

    def closed_error(self) -> ConnectionClosed:
        """What sends raise once our half is closed."""
        if self._broken_off:  # whatever the peer answered, and if it did not
            return ConnectionClosed(*BROKEN_OFF, self._session.client)
        return self._session.closed_error()

    def send_ping(self, payload: bytes) -> None:
        """See `WebSocketWriter.ping`."""
        self.check_sending()
        self.core.send_ping(payload)
        self.put()

    def send_pong(self, payload: bytes) -> None:
        """See `WebSocketWriter.pong`."""
        self.check_sending()
        self.core.send_pong(payload)
        self.put()

    async def checkpoint(self) -> None:
        """Let others run, where the loop asks for that in every await."""
        if self._session.runtime.checkpoints:
            await self._session.runtime.checkpoint()

    def check_sending(self) -> None:
        """Raise ConnectionClosed where nothing can be sent any more."""
        if not self.core.may_send:
            raise self.closed_error()

    async def take_turn(self) -> None:
        """Wait until no fragmented message is under way, and begin one."""
        self.check_sending()
        await self.turn.take(self._session.runtime)
        try:
            await self.checkpoint()
            self.check_sending()
        except BaseException:
            self.turn.release()
            raise

    async def send_in_turn(self, data: Data, compress: bool | None) -> None:
        """Send a message behind the fragmented one that is under way."""
        await self.take_turn()
        try:
            self.core.send_message(data, compress)
        finally:
            self.turn.release()
        if self.put():
            await self.drain()

    async def send_fragment(self, data: Data, last: bool, type: DataType | None = None) -> None:
        """Send a part of the message whose turn it is."""
        self.check_sending()
        self.core.send_fragment(data, last, type)
        if self.put():
            await self.drain()

    async def feed(self, source: Source, drain_every: int) -> None:
        """See `WebSocketWriter.feed`."""
        await self.take_turn()
        begun = False
        undrained = 0
        try:
            last = False
            while not last:
                data, last, type = await self._next(source)
                self.check_sending()
                self.core.send_fragment(data, last, type)
                begun = not last
                undrained += len(data)
                if self.put() and undrained >= drain_every:
                    undrained = 0
                    await self.drain()
        except BaseException:
            if begun:
                self.break_off()
            await source.close()
            raise
        finally:
            self.turn.release()

    def break_off(self) -> None:
        """Half a message is on the wire, and its rest will not come: only a Close can follow."""
        if self.core.owes_close:
            self._session.answer_close()
        else:
            self._broken_off = self._broken_off or self.core.may_send
            self._session.fail(*BROKEN_OFF)

    async def close(self, code: int, reason: str) -> None:
        """See `Client.close`."""
        await self._session.close(code, reason)

    async def _next(self, source: Source) -> tuple[Data, bool, DataType]:
        session = self._session
        seconds = session.options.timeout
        if not seconds:
            return await source.next()
        until = session.runtime.now() + seconds
        try:
            async with session.runtime.timeout_at(until):
                return await source.next()
        except TimeoutError:
            if session.runtime.now() < until:
                raise  # the source's own
            session.fail(Reasons.POLICY_VIOLATION, f"a message brought nothing for {seconds:g} s")
            raise self.closed_error() from None
