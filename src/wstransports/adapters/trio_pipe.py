"""A byte stream on trio: a task reads the socket, and a write goes to it at once if it can."""

import socket
import ssl
from collections.abc import Callable
from typing import Any

import trio

from ..runtime import Sink, log_dropped
from .trio_tasks import Run, TrioTasks, Worker
from .trio_tls import Tls
from .write_half import WriteHalf

READ_SIZE = 65536


class TrioPipe(TrioTasks, WriteHalf):
    """The contract's Pipe over a connected socket.

    One task reads, and runs the callbacks that the input starts. Where a callback waits for
    anything but a checkpoint of ours, a new task reads on: so an answer that is given at once costs
    no task and no switch.
    """

    def __init__(
        self,
        sock: socket.socket,
        sink: Sink,
        runtime: Run,
        group: trio.Nursery | None,
        tls: Tls | None,
    ) -> None:
        TrioTasks.__init__(self, runtime, group)
        WriteHalf.__init__(self, trio.Event)
        self.connected = trio.Event()
        """The sink is."""
        self._sock = sock
        self._fd = sock.fileno()
        self._sink = sink
        self._tls = tls
        self._peername = _name(sock.getpeername)
        self._writing = False  # a task sends what waits
        self._paused = False
        self._wake = trio.Event()  # for the task that reads
        self._closed = False  # our half, or all
        self._ended = False  # the peer's half
        self._broken = False  # the stream is gone; `_end` tells the sink
        self._error: Exception | None = None  # the cause of that
        self._fresh = tls is not None
        self._take = sink.data_received if tls is None else self._take_encrypted

    @trio.lowlevel.enable_ki_protection
    async def live(self) -> None:
        """Connect the sink and read; the task to start, in the group that the stream lives in."""
        # What lives in a group ends when the API says so, not by a cancellation.
        with trio.CancelScope(shield=self._group is not None):
            async with trio.open_nursery() as self._nursery:
                with self._containing():
                    self._sink.connected(self)
                self.connected.set()
                await self._read_on()

    # Writing.

    @trio.lowlevel.enable_ki_protection
    def write(self, data: bytes) -> None:
        """Send `data`; ignored once the stream is closed."""
        if self._closed:
            return
        if self._tls is not None:
            data = self._tls.encrypt(data)
        self._send(data)

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
            except BlockingIOError:
                pass
            except OSError as error:
                self._break(error)
        if data and not self._broken:
            self._hold(data)
            if not self._writing:
                self._writing = True
                self._begin(self._write_on)

    @trio.lowlevel.enable_ki_protection
    async def _write_on(self) -> None:
        """Send what waits."""
        while self._unsent:
            try:
                await trio.lowlevel.wait_writable(self._sock)
                with memoryview(self._unsent) as view:
                    sent = self._sock.send(view)
            except BlockingIOError:
                continue
            except trio.ClosedResourceError:
                return
            except OSError as error:
                self._break(error)
                return
            self._sent(sent)
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

    # Reading.

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`."""
        self._paused = True

    def resume_reading(self) -> None:
        """Go on reading."""
        self._paused = False
        self._wake.set()

    async def _read(self, worker: Worker) -> None:
        todo = self._todo
        while worker.reads:
            if todo:
                await self._run(todo.popleft(), worker)
            elif self._broken:
                return
            elif self._paused or self._ended:
                self._wake = trio.Event()
                await self._wake.wait()
            elif self._fresh:  # something may have come along with the end of the TLS handshake
                self._fresh = False
                self._handle(worker, self._take, b"")
            else:
                try:
                    await trio.lowlevel.wait_readable(self._fd)
                    if self._paused or self._broken:
                        continue
                    data = self._sock.recv(READ_SIZE)
                except (trio.ClosedResourceError, BlockingIOError):
                    continue
                except OSError as error:
                    self._break(error)
                    continue
                self._handle(worker, self._take if data else self._take_end, data)

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
        if name == "sockname":
            return _name(self._sock.getsockname)
        if name == "ssl_object" and self._tls is not None:
            return self._tls.ssl_object
        return self._sock if name == "socket" else None

    # The end.

    def _break(self, error: Exception | None) -> None:
        """Drop the stream; the reading task tells the sink."""
        if not self._broken:
            self._broken = self._closed = self.full = True
            self._error = error
            self._unsent.clear()
            self._wake.set()
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    def _end(self) -> None:
        """The stream is lost, or the reading task cancelled, which is as good."""
        self._break(None)
        self._make_room()
        self._sink.connection_lost(self._error)

    def _fail(self, error: Exception) -> None:
        """Something that ran for this stream raised."""
        log_dropped(self._sink, error)
        self._break(error)


def _name(look_up: Callable[[], Any]) -> Any:
    try:
        return look_up()
    except OSError:  # the socket is closed already
        return None
