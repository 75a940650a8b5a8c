"""The shortcuts in C of methods, in one unusual situation after the other: with and without them
everything is the same, down to what each object holds."""

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum
from functools import cache
from types import FunctionType, ModuleType, NoneType, SimpleNamespace
from typing import Any

import pytest

import wscore.connection
import wstransports.speedups
from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, KEY, PING, RSV1, TEXT, Frame, masked
from kit.handshake import REQUEST
from kit.shortcuts import METHODS, Lines, needs_shortcuts
from wscore import DataType, PreparedMessage
from wscore.extensions.deflate import Deflate
from wscore.frames import LARGE
from wscore.parser import Parser
from wstransports import (
    Client,
    ConnectionClosed,
    WebSocketReader,
    WebSocketServer,
    broadcast_nowait,
)
from wstransports.adapters.transport_pipe import TransportPipe
from wstransports.batch import GATHER_LIMIT, GATHER_SECONDS
from wstransports.connection.session import Session
from wstransports.receiving.inbox import Inbox
from wstransports.receiving.intake import LONG_READ
from wstransports.sending.fragment_lock import FragmentLock
from wstransports.sending.outbox import Outbox
from wstransports.speedups import accelerated_method
from wstransports.testing import MemoryRuntime

COMPRESSED = REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"

pytestmark = needs_shortcuts


@cache
def slots_of(cls: type) -> list[str]:
    """All but Inbox.taker: the address of a task is another in each run."""
    names = [name for base in cls.__mro__ for name in getattr(base, "__slots__", ())]
    return [name for name in names if name != "taker"]


# What is compared as it is.
PLAIN = {NoneType, int, float, str, bytes, bool}


def comparable(value: Any) -> object:
    """What objects with the same history have in common: of most only the class."""
    cls = type(value)
    if cls in PLAIN or isinstance(value, Enum):
        return value
    if isinstance(value, WebSocketReader):
        return (value.data_type, value._counted, value._whole)
    if isinstance(value, list | tuple | deque):
        return [comparable(one) for one in value]
    return cls.__name__


class Scene:
    """A server with open connections, and all that shows of them."""

    def __init__(self, consumer: str = "callback", **settings: Any) -> None:
        self.notes: list[Any] = []
        self.runtime = MemoryRuntime()
        self.log = Lines()
        logger = logging.Logger("scene", logging.INFO)
        logger.addHandler(self.log)
        self.clients: list[Client] = []
        self.ends: list[Any] = []
        self.consumer = consumer
        self.released = self.runtime.signal()
        self.answer: Callable[[Client, Any], Awaitable[object]] | None = None
        self.server = WebSocketServer(
            "memory",
            0,
            runtime=self.runtime,
            logger=logger,
            **({"compression": None, "timeout": 10, "close_timeout": 3000} | settings),
        )
        self.server.connection(self.on_connection)

    @property
    def session(self) -> Any:
        """That of the first client."""
        return self.clients[0]._session

    def note(self, *what: object) -> None:
        self.notes.append(what)

    async def on_connection(self, client: Client) -> None:
        self.clients.append(client)
        if self.consumer in ("callback", "slow"):
            client.message(self.on_message(client))
        elif self.consumer == "receive":
            await self.receive(client)
        elif self.consumer == "task":
            self.runtime.spawn(self.receive(client))
        elif self.consumer == "busy":
            self.note("received", await client.receive())
            await self.released.wait()
            await self.receive(client)
        elif self.consumer == "undecided":
            await self.released.wait()
            client.message(self.on_message(client))
        elif self.consumer == "none_yet":
            await self.released.wait()
        else:
            assert self.consumer == "none"

    async def receive(self, client: Client) -> None:
        try:
            async for message in client:
                self.note("received", message)
                await self.handle(client, message)
        except ConnectionClosed as closed:
            self.note("closed", closed.code)

    def on_message(self, client: Client) -> Any:
        async def on_message(reader: WebSocketReader) -> None:
            self.note("on_message", reader.data_type)
            if self.consumer == "slow":
                await self.released.wait()
            message = await reader.get()
            self.note("got", message)
            await self.handle(client, message)

        return on_message

    async def handle(self, client: Client, message: Any) -> None:
        if self.answer is not None:
            await self.answer(client, message)

    def feed(self, *frames: Frame, form: Callable[[bytes], Any] = bytes, now: float = 0) -> None:
        self.read(b"".join(frame.encode(masked=True) for frame in frames), form)

    def read(self, data: bytes, form: Callable[[bytes], Any] = bytes) -> None:
        """Have the first connection read this."""
        self.runtime._now += 0.5
        self.session.data_received(form(data))
        self.look()

    def look(self) -> None:
        """Note all that shows, inside too."""
        for client, end in zip(self.clients, self.ends, strict=True):
            session: Any = client._session
            parts = [session, session.core, session.core._parser, session.core._deadlines]
            parts += [session.inbox, session.intake, session.outbox, self.runtime.batch]
            for part in parts:
                real = part.real if isinstance(part, Standin) else part
                cls: Any = type(real)
                shown = {name: comparable(getattr(real, name, "none")) for name in slots_of(cls)}
                self.note(cls.__name__, shown)
            self.note("sent", end.received_now(), end.at_eof)

    async def play(self, act: Callable[["Scene"], Awaitable[None]], request: bytes) -> None:
        async with self.server:
            for _ in range(2):
                end = self.runtime.open("memory", self.server.port)
                self.ends.append(end)
                end.write(request)
                await self.runtime.settle()
                end.received_now()
            self.feed(Frame(FIN | TEXT, b"first"))  # from then on there is a queue
            await self.runtime.settle()
            await act(self)
            self.look()
            await self.runtime.settle()
            self.look()
            self.released.set()
            await self.runtime.settle()
            self.look()
            for end in self.ends:
                end.reset()
            await self.runtime.settle()

    def played(self, act: Callable[["Scene"], Awaitable[None]], request: bytes) -> list[Any]:
        self.runtime.run(self.play, act, request)
        return [*self.notes, *self.log.lines]


Act = Callable[[Scene], Awaitable[None]]
Same = Callable[..., list[Any]]


@pytest.fixture(name="same")
def _same(monkeypatch: pytest.MonkeyPatch) -> Same:
    """A function that plays a scene with the shortcuts and without them: the same shows."""
    monkeypatch.setattr(wscore.connection, "urandom", bytes)

    def same(act: Act, request: bytes = REQUEST, **settings: Any) -> list[Any]:
        shown = Scene(**settings).played(act, request)
        with monkeypatch.context() as patch:
            for owner, name in METHODS:
                patch.setattr(owner, name, getattr(owner, name))
            in_python = Scene(**settings).played(act, request)
        assert shown == in_python
        return shown

    return same


# Input.

TEXTS = [Frame(FIN | TEXT, text.encode()) for text in ("", "a", "\u20ac" * 50, "x" * 66000)]
MIXED = [*TEXTS, Frame(FIN | BINARY, b"\xff" * 200)]
INPUTS: dict[str, list[Frame]] = {
    "nothing": [],
    "messages": MIXED,
    "256": TEXTS[:1] * 256,
    "257": TEXTS[:1] * 257,
    "invalid text": [*MIXED, Frame(FIN | TEXT, b"\xff"), *MIXED],
    "control": [*MIXED, Frame(FIN | PING, b"now"), *MIXED],
    "fragments": [Frame(TEXT, b"a"), Frame(FIN | CONTINUATION, b"b"), *MIXED],
    "reserved bits": [*MIXED, Frame(FIN | RSV1 | TEXT, b"a")],
    "unmasked": [*MIXED, Frame(FIN | TEXT, b"a", misdirected=True)],
    "not the shortest length": [Frame(FIN | TEXT, b"a", length=b"\xfe\x00\x01")],
    "no length": [Frame(FIN | TEXT, b"", length=b"\xff" + b"\x80" + bytes(7))],
    "too long": [Frame(FIN | BINARY, bytes(100001))],
}
FORMS: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "memoryview of a bytearray": lambda data: memoryview(bytearray(data)),
    "memoryview of signed bytes": lambda data: memoryview(data).cast("b"),
    "every second byte": lambda data: memoryview(bytes(2 * len(data)))[::2],
    "a class of bytes": type("Bytes", (bytes,), {}),
    "text": lambda data: "text",
}


@pytest.mark.parametrize(
    ("frames", "form"),
    [
        *((frames, form) for frames in INPUTS for form in ("bytes", "memoryview")),
        *(("messages", form) for form in FORMS),
    ],
)
def test_input(frames: str, form: str, same: Same) -> None:
    data = b"".join(frame.encode(masked=True) for frame in INPUTS[frames])
    for cut in {0, 5, max(len(data) - 1, 0)}:

        async def act(scene: Scene, cut: int = cut) -> None:
            for part in (data[:cut], data[cut:], b"", data[:1]):
                scene.read(part, FORMS[form])

        same(act, max_message_size=100000)


async def a_fragment(scene: Scene) -> None:
    scene.feed(Frame(TEXT, b"a"))


async def half_a_header(scene: Scene) -> None:
    scene.read(MIXED[-1].encode(masked=True)[:3])


async def input_held(scene: Scene) -> None:
    scene.session.core._parser.hold(MIXED[1].encode(masked=True))


async def fewer_frames(scene: Scene) -> None:
    scene.session.core.max_frames = 3


async def a_low_limit(scene: Scene) -> None:
    scene.session.core.max_message_size = 4


async def no_limit(scene: Scene) -> None:
    scene.session.core.max_message_size = None


async def a_ping_on_its_way(scene: Scene) -> None:
    await scene.runtime.advance(6)


async def a_close_sent(scene: Scene) -> None:
    scene.clients[0].close_nowait()


async def the_end_of_input(scene: Scene) -> None:
    scene.session.eof_received()


async def input_held_at_the_end(scene: Scene) -> None:
    scene.session.core._parser.hold(MIXED[1].encode(masked=True))
    scene.session.core.receive_eof()


async def no_more_messages(scene: Scene) -> None:
    scene.session.inbox.take_no_more()


async def a_close_received(scene: Scene) -> None:
    scene.feed(Frame(FIN | CLOSE, b""))


async def a_lost_connection(scene: Scene) -> None:
    scene.ends[0].reset()
    await scene.runtime.settle()


async def a_message_begun(scene: Scene) -> None:
    scene.session.core.send_fragment("a", False)
    scene.session.outbox.flush()


async def nothing(scene: Scene) -> None:
    pass


BEFORE = [nothing, a_fragment, half_a_header, input_held, fewer_frames, a_low_limit, no_limit]
BEFORE += [a_ping_on_its_way, a_close_sent, the_end_of_input, input_held_at_the_end]
BEFORE += [no_more_messages, a_close_received, a_lost_connection, a_message_begun]
CONSUMERS = ["callback", "slow", "receive", "task", "busy", "undecided", "none"]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("consumer", CONSUMERS)
def test_messages_in_each_state(before: Act, consumer: str, same: Same) -> None:
    async def act(scene: Scene) -> None:
        scene.answer = lambda client, message: client.writer.send(message)
        await before(scene)
        scene.look()
        for _ in range(3):
            scene.feed(MIXED[1])
            await scene.runtime.settle()
            scene.feed(*MIXED[:3], MIXED[-1])

    same(act, consumer=consumer, read_limit=400)


@pytest.mark.parametrize("most", [1, 3, 2**31, 2**63])
def test_concurrent_messages(most: int, same: Same) -> None:
    async def act(scene: Scene) -> None:
        for _ in range(5):
            scene.feed(MIXED[1])

    same(act, consumer="slow", concurrent_messages=most)


class Starting:
    """A pipe that starts no task: it keeps them, or raises an error."""

    def __init__(self, real: Any, error: Exception | None) -> None:
        self.real = real
        self.error = error
        self.kept: list[Any] = []

    def start(self, coroutine: Any, context: Any) -> None:
        self.kept.append(coroutine)
        if self.error is not None:
            raise self.error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@pytest.mark.parametrize("error", [None, OSError("no task")])
def test_tasks_that_do_not_start_at_once(error: Exception | None, same: Same) -> None:
    async def act(scene: Scene) -> None:
        scene.session.callbacks.pipe = pipe = Starting(scene.session.callbacks.pipe, error)
        scene.feed(MIXED[1])
        scene.note(len(pipe.kept), scene.session.callbacks.running)
        scene.session.callbacks.pipe = pipe.real
        for coroutine in pipe.kept:
            pipe.real.start(coroutine, scene.session.callbacks.context)

    assert ((1 if error else 3), (1 if error else 3)) in same(act, concurrent_messages=3)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_errors_of_the_clock(error: type[BaseException], same: Same) -> None:
    async def act(scene: Scene) -> None:
        def now() -> float:
            if error is KeyboardInterrupt:
                scene.session._now = scene.runtime.now  # a signal comes only once
            raise error("no time")

        scene.session._now = now
        try:
            scene.feed(MIXED[1])
        except BaseException as caught:  # noqa: BLE001  # whatever it is, both must raise it
            scene.note(type(caught), str(caught))
        scene.session._now = scene.runtime.now

    same(act)


@pytest.mark.parametrize("callbacks", [None, "unknown"])
@pytest.mark.parametrize("before", [nothing, a_close_sent])
def test_each_read_of_a_closing_connection_advances_the_close(
    before: Act, callbacks: str | None, same: Same, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(scene: Scene) -> None:
        await before(scene)
        if callbacks is not None:
            scene.session.callbacks = Standin(scene.session.callbacks)
        with monkeypatch.context() as patch:
            patch.setattr(Session, "advance_close", lambda session: scene.note("advance_close"))
            scene.feed(MIXED[1])

    assert (("advance_close",) in same(act)) is (before is a_close_sent)


class NoPipe:
    """A pipe that cannot be dropped."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def abort(self) -> None:
        raise OSError("no")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class Raising:
    """What waits for a message, and cannot be woken."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def wake(self) -> None:
        raise self.error("not now")

    def set(self) -> None:
        pass


@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_errors_of_delivery(error: type[BaseException], drops: bool, same: Same) -> None:
    async def act(scene: Scene) -> None:
        if drops:
            scene.session.outbox.pipe = scene.session.pipe = NoPipe(scene.session.pipe)
        scene.session.inbox._receiver = Raising(error)
        scene.session.core.send_message("sent in any case")
        scene.runtime.batch.at_end(scene.session.outbox)
        try:
            scene.feed(MIXED[1])
        except BaseException as caught:  # noqa: BLE001  # whatever it is, both must raise it
            scene.note(type(caught), str(caught))
        scene.session.inbox._receiver = None

    same(act, consumer="none")


def test_a_read_after_a_broadcast(same: Same) -> None:
    async def act(scene: Scene) -> None:
        scene.runtime.batch.quiet = True
        scene.feed(MIXED[1])
        assert not scene.runtime.batch.quiet

    same(act)


def test_a_clock_of_integers(same: Same) -> None:
    async def act(scene: Scene) -> None:
        scene.session._now = lambda: 7
        scene.feed(MIXED[1])

    same(act)


def test_iterating_over_a_client_whose_session_is_unknown(same: Same) -> None:
    async def act(scene: Scene) -> None:
        client: Any = scene.clients[0]
        client._session = Standin(client._session)
        scene.feed(MIXED[1])
        scene.note("received", await anext(client))
        client._session = client._session.real

    assert ("received", "first") in same(act, consumer="none_yet")


def test_a_read_within_another(same: Same) -> None:
    """What both send leaves at the end of the outer one."""

    async def act(scene: Scene) -> None:
        scene.answer = lambda client, message: client.writer.send(message)
        with scene.runtime.batch:
            scene.feed(MIXED[1])
            scene.note("within", scene.runtime.batch.active)

    assert ("within", 1) in same(act)


@pytest.mark.parametrize("size", [LONG_READ - 15, LONG_READ - 14])
def test_a_long_read(size: int, same: Same) -> None:
    async def act(scene: Scene) -> None:
        scene.feed(Frame(FIN | BINARY, bytes(size)))
        scene.feed(Frame(FIN | BINARY, bytes(size)))

    same(act)


@pytest.mark.parametrize("number", range(15))
def test_a_read_without_memory(number: int) -> None:
    """It is handled as any error is, and leaves no object without what it holds."""
    memory = pytest.importorskip("_testcapi")

    async def act(scene: Scene) -> None:
        data = MIXED[1].encode(masked=True)
        scene.session.inbox._receiver = SimpleNamespace(wake=bool)
        with suppress(MemoryError):
            try:
                memory.set_nomemory(number, number + 1)
                scene.session.data_received(data)
            finally:
                memory.remove_mem_hooks()
        scene.session.inbox._receiver = None
        scene.note("unread", isinstance(scene.session.inbox.unread, int))

    shown = Scene(consumer="none").played(act, REQUEST)
    assert ("unread", True) in shown
    assert "exception set" not in str(shown)  # as a SystemError says


# Output.

MESSAGES: list[Any] = ["", "text", "caf\u00e9 \u20ac" * 90, "\U0001f600", b"", b"\xff" * 200]
MESSAGES += ["x" * (GATHER_LIMIT - 5), b"x" * GATHER_LIMIT, b"x" * 300_000, "\ud800", 5, None]
MESSAGES += [type("Text", (str,), {})("a"), bytearray(b"abc"), PreparedMessage("prepared")]
CALLS: dict[str, Callable[[Any, Any], object]] = {
    "None": lambda outbox, data: outbox.send(data, None),
    "False": lambda outbox, data: outbox.send(data, False),
    "True": lambda outbox, data: outbox.send(data, True),
    "0": lambda outbox, data: outbox.send(data, 0),
    "by name": lambda outbox, data: outbox.send(data, compress=None),
    "too few": lambda outbox, data: outbox.send(data),
    "too many": lambda outbox, data: outbox.send(data, None, 5),
}


async def sent(scene: Scene, call: str, messages: list[Any]) -> None:
    """Send within a read, outside of one, and in another Batch's block."""
    outbox = scene.session.outbox

    def send_all() -> None:
        for message in messages:
            try:
                scene.note(CALLS[call](outbox, message))
            except Exception as error:  # noqa: BLE001  # whatever it is, both must raise it
                scene.note(type(error), str(error))
            scene.look()

    async def answer(client: Client, message: object) -> None:
        send_all()
        scene.runtime._now += GATHER_SECONDS / 2
        send_all()
        scene.runtime._now += GATHER_SECONDS / 2
        send_all()

    scene.answer = answer
    scene.feed(MIXED[1])
    scene.feed(MIXED[1])
    send_all()
    with scene.runtime.batch:
        send_all()
        send_all()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("request_", [REQUEST, COMPRESSED], ids=["plain", "compressed"])
def test_sending(request_: bytes, call: str, same: Same) -> None:
    for message in MESSAGES:
        same(lambda scene, one=message: sent(scene, call, [one]), request_, compression=Deflate())


@pytest.mark.parametrize("before", BEFORE)
def test_sending_in_each_state(before: Act, same: Same) -> None:
    async def act(scene: Scene) -> None:
        await before(scene)
        await sent(scene, "None", ["a", b"b" * 200])

    same(act)
    same(act, write_limit=100)


def test_what_two_connections_send_in_one_read(same: Same) -> None:
    async def act(scene: Scene) -> None:
        async def answer(client: Client, message: object) -> None:
            for one in scene.clients:
                await one.writer.send("to all")

        scene.answer = answer
        scene.feed(MIXED[1])
        scene.feed(MIXED[1], MIXED[1])

    same(act)


class Interrupted:
    """A client's masking keys; a handler, as of a signal, runs while the first is made."""

    def __init__(self, handler: Callable[[], object]) -> None:
        self.handlers = [handler]

    def __iter__(self) -> "Interrupted":
        return self

    def __next__(self) -> bytes:
        if self.handlers:
            self.handlers.pop()()
        return KEY


def test_a_message_while_another_is_framed(same: Same) -> None:
    async def act(scene: Scene) -> None:
        outbox = scene.session.outbox
        scene.session.core._keys = Interrupted(lambda: outbox.send("x" * LARGE, None))
        outbox.send("text", None)
        await scene.runtime.settle()
        scene.note("received", scene.ends[0].received_now()[-10:])

    assert ("received", masked(FIN | TEXT, b"text")) in same(act)


# Objects of other classes.


class Standin:
    """Does all that another object does; its own slots hold what no other object's do."""

    __slots__ = ("_real", *(f"slot{number:02}" for number in range(40)))

    def __init__(self, real: Any) -> None:
        for name in self.__slots__:
            object.__setattr__(self, name, 1e9)
        object.__setattr__(self, "_real", real)

    @property
    def real(self) -> Any:
        return self._real

    def __enter__(self) -> Any:
        return self._real.__enter__()

    def __exit__(self, *error: object) -> Any:
        return self._real.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._real, name, value)


PLACES = ["core", "core._parser", "core._deadlines", "inbox", "inbox._waiting", "outbox.core"]
PLACES += ["outbox.batch", "outbox.pipe", "outbox.lock", "outbox", "callbacks", "inbox._callbacks"]


@pytest.mark.parametrize("place", PLACES)
def test_objects_of_unknown_classes(place: str, same: Same) -> None:
    async def act(scene: Scene) -> None:
        owner = scene.session
        *path, name = place.split(".")
        for one in path:
            owner = getattr(owner, one)
        setattr(owner, name, Standin(getattr(owner, name)))
        await sent(scene, "None", ["a"])
        scene.answer = lambda client, message: client.writer.send(message)
        scene.feed(*MIXED)
        announce(scene)
        announce(scene)

    same(act)


def subclass(base: type, name: str, notes: list[Any]) -> type:
    """One that notes each call of a method."""

    def method(self: object, *args: object) -> object:
        notes.append(name)
        return getattr(base, name)(self, *args)

    return type(base.__name__, (base,), {"__slots__": (), name: method})


OVERRIDDEN = [
    (Parser, "feed", lambda session: session.core._parser),
    (Inbox, "put", lambda session: session.inbox),
    (Session, "handle", lambda session: session),
    (Outbox, "flush", lambda session: session.outbox),
    (Outbox, "try_send", lambda session: session.outbox),
]


@pytest.mark.parametrize(
    ("base", "name", "found"), OVERRIDDEN, ids=[name for _, name, _ in OVERRIDDEN]
)
def test_overridden_methods_run(
    base: type, name: str, found: Callable[[Any], Any], same: Same
) -> None:
    async def act(scene: Scene) -> None:
        scene.answer = lambda client, message: client.writer.send(message)
        found(scene.session).__class__ = subclass(base, name, scene.notes)
        scene.feed(MIXED[1])
        announce(scene)
        announce(scene)

    assert name in same(act)


# Broadcasts.


def announce(scene: Scene, text: str = "to all", **settings: Any) -> None:
    # For the first of a server Python looks at the settings: the first client is the second here.
    report = broadcast_nowait(scene.clients[::-1], text, **settings)
    for one in (report.sent, report.dropped, report.closed, report.failed):
        scene.note([scene.clients.index(client) for client in one])
    scene.look()


async def output_before(scene: Scene) -> None:
    scene.session.core.send_message("first")


async def a_lock_held(scene: Scene) -> None:
    scene.session.outbox.lock = lock = FragmentLock()
    lock.holder = "a task"


async def no_space(scene: Scene) -> None:
    scene.session.outbox.pipe.full = True


async def congestion_noted(scene: Scene) -> None:
    scene.session.outbox._congested_since = 1.0


async def another_batch(scene: Scene) -> None:
    scene.session.outbox.batch = type(scene.runtime.batch)()


async def a_message_compressed(scene: Scene) -> None:
    scene.session.core.send_message("a message " * 20, True)
    scene.session.outbox.flush()


@pytest.mark.parametrize(
    "before",
    [
        *BEFORE,
        output_before,
        a_lock_held,
        no_space,
        congestion_noted,
        another_batch,
        a_message_compressed,
    ],
)
@pytest.mark.parametrize("request_", [REQUEST, COMPRESSED], ids=["plain", "compressed"])
def test_broadcasts_in_each_state(before: Act, request_: bytes, same: Same) -> None:
    async def act(scene: Scene) -> None:
        await before(scene)
        for text in ("to all", "message " * 1000, "to all"):
            announce(scene, text, slow="drop")
        with scene.runtime.batch:
            announce(scene)
            announce(scene)
        core = scene.session.core
        if (
            core.may_send and core._fragmenting is DataType.NONE
        ):  # its compression goes on from what it sent
            core.send_message("a message " * 20, True)
            scene.session.outbox.flush()

    same(act, request_, compression=Deflate())
    same(act, request_, compression=Deflate(), write_limit=100)


class FakePipe(TransportPipe):
    """An asyncio pipe without a transport."""

    def __init__(self, scene: Scene, full: bool, fills: bool) -> None:
        self.full = full
        self.fills = fills
        self.scene = scene

    def write(self, data: bytes) -> None:
        self.scene.note("written", data)
        self.full = self.fills

    def waiting(self) -> int:
        return 0

    def info(self, name: str) -> Any:
        return None


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("fills", [False, True])
def test_asyncio_pipes_with_and_without_space(full: bool, fills: bool, same: Same) -> None:
    async def act(scene: Scene) -> None:
        memory = scene.session.outbox.pipe
        scene.session.outbox.pipe = pipe = FakePipe(scene, full, fills)
        announce(scene, slow="drop")
        pipe.full = full
        with scene.runtime.batch:
            scene.runtime.batch.old_at = scene.runtime.now() + 1
            scene.note(scene.session.outbox.send("text", None))
            scene.note(scene.session.outbox.send("text", None))
        scene.session.outbox.pipe = memory

    shown = same(act)
    assert (("written", b"\x81\x06to all") in shown) is not full


# The methods themselves.


@pytest.mark.parametrize(("owner", "name"), METHODS)
def test_they_look_like_the_python_methods(owner: type, name: str) -> None:
    method, definition = vars(owner)[name], getattr(owner, name)
    assert type(definition) is FunctionType
    assert method.__get__(None, owner) is definition
    assert (method.__name__, method.__doc__) == (name, definition.__doc__)
    code = definition.__code__
    named = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
    with pytest.raises(AttributeError):
        method(*["no such object"] * code.co_argcount, **dict.fromkeys(named))
    with pytest.raises(TypeError):
        method()


def other() -> None:
    pass


def test_only_methods_that_have_one_are_accelerated(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extension that is older than the Python files has not all of them."""
    with pytest.raises(ImportError, match="other has no shortcut in C: .*`pip install -e .`"):
        accelerated_method(other)
    monkeypatch.setattr(other, "__qualname__", "Outbox.send")
    method: Any = accelerated_method(other)
    with pytest.raises(TypeError):
        method(Scene(), "message", None)  # its class is not known yet: the Python method runs
    no_outbox = type("NoOutbox", (), {"batch": 5})
    with pytest.raises(ImportError, match="Outbox has no slot batch: .*`pip install -e .`"):
        type(method).__set_name__(method, no_outbox, "send")


@pytest.mark.parametrize("compiled", [None, ModuleType("without shortcuts")])
def test_without_shortcuts_the_python_methods_run(
    compiled: ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The C extension was not built, or for a Python without the GIL."""
    monkeypatch.setattr(wstransports.speedups, "_compiled", compiled)
    assert accelerated_method(other) is other
