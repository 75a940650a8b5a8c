"""A byte stream on trio: a socket read by a task, and written to at once where it takes it."""

import math
import socket
import ssl
from collections.abc import Callable
from typing import Any

import trio

from ..runtime import Sink, log_dropped
from .trio_tasks import Spawn, TrioBatch, TrioTasks, Turn
from .trio_tls import Tls

HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024
READ_SIZE = 65536


class TrioPipe:
    """The contract's Pipe over a connected socket.

    One task reads, and runs what the input starts. Where that waits for anything but a checkpoint
    of ours, a new task reads on: so an answer that is given at once costs no task and no switch.
    All of them belong to one that keeps the time.
    """

    def __init__(
        self,
        sock: socket.socket,
        sink: Sink,
        batch: TrioBatch,
        spawn: Spawn,
        shielded: bool,
        tls: Tls | None = None,
    ) -> None:
        self.full = False
        self._sock = sock
        self._fd = sock.fileno()
        self._sink = sink
        self._tls = tls
        self._peername = _name(sock.getpeername)
        self._unsent = bytearray()
        self._writing = False  # a task sends what waits
        self._room = trio.Event()
        self._paused = False
        self._resumed = trio.Event()
        self._closed = False  # our half, or all
        self._ended = False  # the peer's half
        self._fresh = tls is not None
        self._broken = False  # the stream is gone, and the sink not told yet
        self._error: Exception | None = None  # by what
        self._take = sink.data_received if tls is None else self._take_encrypted
        self._tasks = tasks = TrioTasks(batch, spawn, shielded, self._read, self._end, self._fail)
        self.start = tasks.start
        self.cancel = tasks.cancel
        self.call_at = tasks.call_at

    def open(self) -> None:
        """The stream stands: tell the sink, and begin to read."""
        with self._tasks.containing():
            self._sink.connected(self)
        self._tasks.begin(self._tasks.read)

    # Writing.

    @trio.lowlevel.enable_ki_protection
    def write(self, data: bytes) -> None:
        """Send `data`; ignored once the stream is closed."""
        if self._closed:
            return
        if self._tls is not None:
            data = self._tls.encrypt(data)
        self._send(data)

    def writelines(self, parts: list[bytes]) -> None:
        """Send them one behind the other."""
        for part in parts:
            self.write(part)

    def waiting(self) -> int:
        """How many bytes the kernel has not taken yet."""
        return len(self._unsent)

    async def drain(self) -> None:
        """Return when `full` is False, or when the connection is lost."""
        while self.full:
            await self._room.wait()

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Send what is written, then end our half; see the contract."""
        if not self._closed:
            self._closed = True
            if self._tls is not None:
                self._send(self._tls.farewell())
            self._end_if_sent()

    @trio.lowlevel.enable_ki_protection
    def abort(self) -> None:
        """Drop the stream at once."""
        self._break(None)

    def _send(self, data: bytes) -> None:
        if data and not self._unsent and not self._broken:
            try:
                data = data[self._sock.send(data) :]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self._break(error)
        if data and not self._broken:
            self._unsent += data
            self.full = len(self._unsent) > HIGH_WATER
            if not self._writing:
                self._writing = True
                self._tasks.begin(self._write_on)

    @trio.lowlevel.enable_ki_protection
    async def _write_on(self) -> None:
        """Send what waits."""
        unsent = self._unsent
        try:
            while unsent:
                try:
                    await trio.lowlevel.wait_writable(self._sock)
                except trio.ClosedResourceError:
                    return
                try:
                    with memoryview(unsent) as view:
                        sent = self._sock.send(view)
                except (BlockingIOError, InterruptedError):
                    continue
                except OSError as error:
                    self._break(error)
                    return
                del unsent[:sent]
                if self.full and len(unsent) <= LOW_WATER:
                    self._make_room()
        finally:
            self._writing = False
        if self._closed:
            self._end_if_sent()

    def _end_if_sent(self) -> None:
        """End our half, which is closed, unless something of it waits."""
        if self._unsent or self._broken:
            return
        if self._ended:
            self._break(None)
            return
        # The kernel answers with a reset when it closes a socket with unread input, and a reset
        # may overtake our Close: so only our half ends, until the peer ends its own.
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._break(error)

    def _make_room(self) -> None:
        self.full = False
        room, self._room = self._room, trio.Event()
        room.set()

    # Reading.

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`."""
        if not self._paused:
            self._paused = True
            self._resumed = trio.Event()

    def resume_reading(self) -> None:
        """Go on reading."""
        self._paused = False
        self._resumed.set()

    async def _read(self, turn: Turn) -> None:
        tasks = self._tasks
        todo = tasks.todo
        while turn.reads:
            if todo:
                await tasks.run(todo.popleft(), turn)
            elif self._broken or self._ended:
                return
            elif self._paused:
                await self._resumed.wait()
            elif self._fresh:  # something may have come along with the end of TLS's handshake
                self._fresh = False
                tasks.handle(turn, self._take, b"")
            else:
                try:
                    await trio.lowlevel.wait_readable(self._fd)
                    if self._paused or self._broken:
                        continue
                    data = self._sock.recv(READ_SIZE)
                except (trio.ClosedResourceError, BlockingIOError, InterruptedError):
                    continue
                except OSError as error:
                    self._break(error)
                    return
                tasks.handle(turn, self._take if data else self._take_end, data)

    def _take_encrypted(self, data: bytes) -> None:
        assert self._tls is not None
        try:
            data, ended = self._tls.decrypt(data)
        except ssl.SSLError as error:
            self._send(self._tls.owed())
            self._break(error)
            return
        self._send(self._tls.owed())
        if data:
            self._sink.data_received(data)
        if ended:
            self._take_end()

    def _take_end(self, _: bytes = b"") -> None:
        if not self._broken:
            self._ended = True
            self._sink.eof_received()
            if self._closed:
                self._end_if_sent()

    # What it knows.

    def info(self, name: str) -> Any:
        """ "peername", "sockname", "socket", "ssl_object"."""
        if name == "peername":
            return self._peername
        if name == "socket":
            return self._sock
        if name == "sockname":
            return _name(self._sock.getsockname)
        if name == "ssl_object" and self._tls is not None:
            return self._tls.ssl_object
        return None

    # The end.

    def _break(self, error: Exception | None) -> None:
        """The stream is gone; the sink is told soon."""
        if not self._broken:
            self._broken = self._closed = self.full = True
            self._error = error
            self._unsent.clear()
            self._resumed.set()
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
            self._tasks.call_at(-math.inf, self._tell_lost)

    def _tell_lost(self) -> None:
        self._tasks.finish()
        self._make_room()
        self._sink.connection_lost(self._error)

    def _fail(self, error: Exception) -> None:
        """Something that ran for this stream raised."""
        log_dropped(self._sink, error)
        self._break(error)

    def _end(self) -> None:
        """The loop ends, and we with it."""
        self._break(None)
        self._tell_lost()


def _name(look_up: Callable[[], Any]) -> Any:
    try:
        return look_up()
    except OSError:  # it is gone already
        return None
