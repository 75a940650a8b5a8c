"""The shortcuts in C of the asyncio adapter, in one unusual situation after the other: with and
without them everything is the same."""

import asyncio
import gc
import math
import re
import select
import socket
import struct
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from types import SimpleNamespace
from typing import Any

import pytest

from kit.shortcuts import METHODS, needs_shortcuts
from wstransports import ConnectionClosed, WebSocketServer, broadcast_nowait, connect
from wstransports.adapters.asyncio import AsyncioRuntime
from wstransports.adapters.asyncio_socket import SHORT_READ, AsyncioSocketPipe
from wstransports.adapters.asyncio_waiter import AsyncioWaiter
from wstransports.adapters.transport_pipe import TransportPipe

pytestmark = needs_shortcuts

# More than a socket's buffers hold, in bytes.
LONG = 2**22

# Of a pipe that reads nothing.
NO_SINK: Any = None


class NotingLoop:
    """What a pipe needs of a loop; it notes what is called."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: self.notes.append(name)


class Scene:
    """A pipe over one end of a pair of sockets."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self.loop = NotingLoop()
        runtime: Any = SimpleNamespace(loop=self.loop, forgets_broken=False)
        self.pipe: Any = AsyncioSocketPipe(runtime, NO_SINK, self.ours, "a name")

    def write(self, data: Any) -> object:
        try:
            return self.pipe.write(data)
        except Exception as error:  # noqa: BLE001  # whatever it is, both must raise it
            return (type(error), str(error))

    def fill(self) -> None:
        """Leave no space in the kernel."""
        while True:
            try:
                self.ours.send(bytes(65536))
            except BlockingIOError:
                return

    def received(self) -> bytes:
        data = b""
        with suppress(BlockingIOError):
            while self.theirs.fileno() >= 0 and (more := self.theirs.recv(2**20)):
                data += more
        return data

    def shows(self) -> list[Any]:
        pipe = self.pipe
        state = (pipe.full, pipe._closing, pipe._holds, pipe._descriptor is None, pipe.waiting())
        loss = (type(pipe._error), str(pipe._error))
        return [*state, loss, *self.loop.notes, self.received()]

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


def a_descriptor(scene: Scene) -> None:
    pass


def no_descriptor(scene: Scene) -> None:
    scene.pipe._descriptor = None


def closed(scene: Scene) -> None:
    scene.pipe._closing = True


def output_that_waits(scene: Scene) -> None:
    scene.fill()
    scene.pipe.write(b"it waits")


def no_space(scene: Scene) -> None:
    scene.fill()


def a_peer_that_left(scene: Scene) -> None:
    scene.theirs.close()


def a_number_of_nothing(scene: Scene) -> None:
    scene.pipe._descriptor = 2**20


STATES = [a_descriptor, no_descriptor, closed, output_that_waits, no_space, a_peer_that_left]
STATES += [a_number_of_nothing]
MESSAGES: list[Any] = [b"", b"a message", bytes(LONG), bytearray(b"abc"), memoryview(b"abc")]
MESSAGES += [type("Bytes", (bytes,), {})(b"abc"), "text", None, 5]


def played(before: Callable[[Scene], None], messages: list[Any]) -> list[Any]:
    scene = Scene()
    try:
        before(scene)
        returned = [scene.write(message) for message in messages]
        return [*returned, *scene.shows()]
    finally:
        scene.close()


Same = Callable[..., list[Any]]


@pytest.fixture(name="same")
def _same(monkeypatch: pytest.MonkeyPatch) -> Iterator[Same]:
    """A function that calls another with the shortcuts and without them: it returns the same."""
    # On Python 3.11 the collector frees a task that was interrupted at once, and the loop then says
    # so: at any moment, but for this.
    gc.disable()

    def same(function: Callable[..., list[Any]], *args: Any) -> list[Any]:
        shown = function(*args)
        with monkeypatch.context() as patch:
            for owner, name in METHODS:
                patch.setattr(owner, name, getattr(owner, name))
            assert shown == function(*args)
        return shown

    yield same
    gc.enable()


@pytest.mark.parametrize("before", STATES)
def test_writes_in_each_state(before: Callable[[Scene], None], same: Same) -> None:
    for message in MESSAGES:
        same(played, before, [message, b"after"])


async def announced(before: Callable[[Any], None]) -> list[Any]:
    """What a broadcast reports, and the last of its clients gets, whose pipe `before` is called
    with."""
    server = WebSocketServer("127.0.0.1", 0, compression=None)
    clients: list[Any] = []
    notes: list[Any] = []

    @server.connection
    async def on_connection(client: Any) -> None:
        clients.append(client)
        if len(clients) == 2:
            pipe = client._session.pipe
            assert type(pipe) is AsyncioSocketPipe
            client._session.outbox.batch.old_at = math.inf  # however long this takes
            descriptor = pipe._descriptor
            before(pipe)
            report = broadcast_nowait(clients, "news")
            pipe._descriptor = descriptor
            notes.append((len(report.sent), [int(error.code) for error in report.failed.values()]))
            await client.close()

    async with server:
        url = f"ws://127.0.0.1:{server.port}"
        async with connect(url) as first, connect(url) as last:
            assert await first.receive() == "news"
            with suppress(ConnectionClosed):
                while True:
                    notes.append(await last.receive())
    return [*notes, last.close_code]


def as_it_is(pipe: Any) -> None:
    pass


def no_text(pipe: Any) -> None:
    """A write raises."""
    pipe._descriptor = "a text"


@pytest.mark.parametrize(
    "before, expected", [(as_it_is, [(2, []), "news", 1000]), (no_text, [(1, [1011]), 1011])]
)
def test_broadcasts_to_a_socket(
    before: Callable[[Any], None], expected: list[Any], same: Same
) -> None:
    assert same(lambda: asyncio.run(announced(before))) == expected


# Reads.


class Sink:
    """Notes what it is given."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def data_received(self, data: Any) -> None:
        self.notes.append(data)
        if data == b"raise":
            raise ValueError("not this")

    def eof_received(self) -> None:
        self.notes.append("the end")

    def connection_lost(self, exc: Exception | None) -> None:
        self.notes.append((type(exc), str(exc)))


def sent(data: bytes) -> Callable[[socket.socket, Any], None]:
    """A peer that has sent this."""
    return lambda peer, _: peer.sendall(data)


def left(peer: socket.socket, _: Any) -> None:
    peer.close()


def reset(peer: socket.socket, _: Any) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def read_much(peer: socket.socket, pipe: Any) -> None:
    """Long reads came before."""
    pipe._buffer = memoryview(bytearray(10))
    peer.sendall(b"more than its space")


def closed_pipe(_: socket.socket, pipe: Any) -> None:
    pipe._descriptor = None
    pipe._sock.close()


def read(before: Callable[[socket.socket, Any], None]) -> list[Any]:
    """What shows of reads, where this came before."""
    stage = Stage(copy_context())
    sink: Any = Sink()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        sock, _ = listening.accept()
    sock.setblocking(False)
    with sock, peer:
        pipe: Any = AsyncioSocketPipe(stage.runtime, sink, sock, "a name")
        before(peer, pipe)
        if before not in (silent, closed_pipe):
            select.select([sock], [], [], 10)
        for _ in range(2):
            stage.note(pipe._readable)
        stage.run()
        buffer = pipe._buffer
        state = (pipe._ended, pipe._lost, pipe._descriptor is None, buffer and len(buffer))
    stage.loop.close()
    return [*stage.notes, *sink.notes, *state]


def silent(_peer: socket.socket, _pipe: Any) -> None:
    pass


READS = [sent(b"data"), sent(b"raise"), sent(bytes(SHORT_READ - 1)), sent(bytes(SHORT_READ))]
READS += [sent(bytes(SHORT_READ + 1)), left, reset, read_much, closed_pipe, silent]


@pytest.mark.parametrize("before", READS)
def test_reads_of_each_kind(before: Callable[[socket.socket, Any], None], same: Same) -> None:
    assert same(read, before)


def test_a_read_without_memory_loses_the_stream_or_nothing() -> None:
    memory = pytest.importorskip("_testcapi")
    stage = Stage(copy_context())
    sink: Any = Sink()
    sock, peer = socket.socketpair()
    sock.setblocking(False)
    with sock, peer:
        pipe: Any = AsyncioSocketPipe(stage.runtime, sink, sock, "a name")
        peer.sendall(b"data")
        readable = pipe._readable
        with suppress(MemoryError):
            try:
                memory.set_nomemory(0, 1)
                readable()
            finally:
                memory.remove_mem_hooks()
        stage.note(readable)
        stage.run()
    stage.loop.close()
    assert sink.notes in ([b"data"], [(OSError, "[Errno 12] Cannot allocate memory")])


# Tasks.


# Set in a client's context alone.
CLIENT: ContextVar[str] = ContextVar("CLIENT", default="none")


class Stage:
    """A loop on which something is called, alone and in a task, and what shows of it."""

    def __init__(self, context: Context) -> None:
        self.notes: list[Any] = []
        self.context = context
        context.run(CLIENT.set, "a client")
        self.others = copy_context()
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(
            lambda loop, what: self.notes.append(type(what.get("exception")))
        )
        self.runtime = AsyncioRuntime(self.loop)

    def note(self, call: Callable[[], object]) -> None:
        """Note what a call returns, or raises."""
        try:
            self.notes.append(call())
        except BaseException as error:  # noqa: BLE001  # whatever it is, both must raise it
            self.notes.append((type(error), re.sub("0x[0-9a-f]+|Task-[0-9]+", "…", str(error))))

    async def in_a_task(self, call: Callable[[], object]) -> None:
        self.note(call)
        self.notes.append("the end of a step")

    def play(self, call: Callable[[], object], where: str) -> None:
        """Have the loop call it there."""
        if where == "in a task":
            self.loop.create_task(self.in_a_task(call))
        else:
            context = self.context if where == "in the context" else self.others
            self.loop.call_soon(self.note, call, context=context)

    def run(self) -> None:
        """Let the loop do what it has to."""
        for _ in range(5):
            self.loop.call_soon(self.loop.stop)
            try:
                self.loop.run_forever()
            except (KeyboardInterrupt, SystemExit) as error:
                self.notes.append(type(error))


WHERE = ["alone", "in a task", "in the context"]


async def at_once(stage: Stage) -> None:
    stage.notes.append(("ran", CLIENT.get()))


async def later(stage: Stage) -> None:
    stage.notes.append("began")
    await asyncio.sleep(0)
    stage.notes.append("went on")


async def raising(stage: Stage) -> None:
    raise ValueError("a callback's")


async def interrupted(stage: Stage) -> None:
    raise KeyboardInterrupt


async def for_ever(stage: Stage) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        stage.notes.append("ended")


def no_coroutine(stage: Stage) -> Any:
    return 5


COROUTINES = [at_once, later, interrupted, for_ever]


class NotingPipe(TransportPipe):
    """Notes, in the context itself, that a task ended there."""

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        CLIENT.set("a client whose task ended")
        super()._task_ended(task)


def started(where: str, make: Callable[[Stage], Coroutine[Any, Any, None]]) -> list[Any]:
    stage = Stage(copy_context())
    pipe: Any = NotingPipe(stage.runtime, NO_SINK)

    def start() -> object:
        returned = pipe.start(make(stage), stage.context)
        stage.notes.append(len(pipe._tasks))  # what has ended is not held until the next turn
        return returned

    for _ in range(2):
        stage.play(start, where)
    stage.run()
    kept = [task.done() for task in pipe._tasks]
    pipe.cancel()
    stage.run()
    stage.loop.close()
    return [*stage.notes, kept, len(pipe._tasks), stage.context[CLIENT]]


# Not in the context: asyncio itself fails there, and its loop with it.
@pytest.mark.parametrize("where", WHERE[:2])
@pytest.mark.parametrize("make", [*COROUTINES, no_coroutine])
def test_tasks_that_start(
    where: str, make: Callable[[Stage], Coroutine[Any, Any, None]], same: Same
) -> None:
    same(started, where, make)


def woken(where: str, waits: bool, make: Callable[[Stage], Coroutine[Any, Any, None]]) -> list[Any]:
    stage = Stage(copy_context())
    waiter: Any = stage.runtime.waiter()

    async def wait() -> None:
        await waiter.wait()
        await make(stage)

    task = stage.loop.create_task(wait(), context=stage.context) if waits else None
    stage.run()
    for call in (waiter.wake, waiter.wake, waiter.set):
        stage.play(call, where)
        stage.notes.append((waiter._step is None, waiter._context is None))
    stage.run()
    if task is not None and task.done():
        stage.note(task.result)
    elif task is not None:
        task.cancel()
        stage.run()
    stage.loop.close()
    return stage.notes


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("make", [*COROUTINES, raising])
def test_tasks_that_are_woken(
    where: str, waits: bool, make: Callable[[Stage], Coroutine[Any, Any, None]], same: Same
) -> None:
    same(woken, where, waits, make)


def test_a_step_that_cannot_run_now(same: Same) -> None:
    """Python 3.14 refuses to where the loop does not run."""

    def call() -> list[Any]:
        stage = Stage(copy_context())
        waiter: Any = stage.runtime.waiter()

        def step(done: object) -> None:
            stage.notes.append(CLIENT.get())
            if len(stage.notes) == 1:
                raise RuntimeError("not now")

        waiter.add_done_callback(step, context=stage.context)
        stage.note(waiter.wake)
        stage.notes.append((waiter._step is None, waiter._context is None))
        stage.run()
        stage.loop.close()
        return stage.notes

    assert same(call) == ["a client", None, (True, True), "a client"]


class Hashed(asyncio.SelectorEventLoop):
    """A loop whose tasks are looked up with code in Python, where a signal's handler may run."""

    handler: Callable[[], object] | None = None

    def __hash__(self) -> int:
        handler, self.handler = self.handler, None
        if handler is not None:
            handler()
        return id(self)


def test_a_step_that_is_taken_while_the_task_is_looked_up(same: Same) -> None:
    """It is neither freed before its call nor called twice."""

    def call() -> list[Any]:
        loop = Hashed()
        steps: list[Any] = []
        waiter: Any = AsyncioWaiter(loop.create_future())
        waiter.add_done_callback(lambda _: steps.append("a step"), context=copy_context())
        loop.handler = waiter.cancel
        waiter.wake()
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        return steps

    assert same(call) == ["a step"]


def test_a_step_without_a_context(same: Same) -> None:
    def call() -> list[Any]:
        stage = Stage(copy_context())
        waiter: Any = stage.runtime.waiter()
        waiter.add_done_callback(stage.notes.append, context=None)
        stage.play(waiter.wake, "alone")
        stage.run()
        stage.loop.close()
        return [type(one) for one in stage.notes]

    assert same(call) == [type(None), asyncio.Future]
