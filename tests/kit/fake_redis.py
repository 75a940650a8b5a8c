"""A Redis server of the test's own, on any loop: as little of one as the broker needs."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from wstransports.address import Address
from wstransports.identity import Identity
from wstransports.rooms.redis.resp import ReplyParser
from wstransports.rooms.redis.scripts import ENTER, POSITION, PUBLISH, READ
from wstransports.runtime import Pipe, running

Words = list[bytes]

NAMES = {ENTER: "ENTER", POSITION: "POSITION", PUBLISH: "PUBLISH", READ: "READ"}
NOSCRIPT = b"-NOSCRIPT No matching script.\r\n"


def bulk(*parts: bytes) -> bytes:
    """These as bulk strings, one after the other."""
    return b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def array(*parts: bytes) -> bytes:
    """An array of bulk strings."""
    return b"*%d\r\n" % len(parts) + bulk(*parts)


def push(*parts: bytes) -> bytes:
    """A push of bulk strings."""
    return b">%d\r\n" % len(parts) + bulk(*parts)


class FakeEnd:
    """The server's end of a connection, as a Sink."""

    pipe: Pipe = cast(Pipe, None)

    def __init__(self, server: "FakeRedis") -> None:
        self.identity = Identity()
        self.channels: set[bytes] = set()
        self._server = server
        self._parser = ReplyParser()

    def write(self, data: bytes) -> None:
        """Send."""
        self.pipe.write(data)

    def connected(self, pipe: Pipe) -> None:
        """As a Sink."""
        self.pipe = pipe
        self._server.ends.append(self)
        if self._server.greeting:
            self.write(self._server.greeting)

    def data_received(self, data: bytes | memoryview) -> None:
        """As a Sink: commands are arrays, as replies are."""
        for words in self._parser.feed(data):
            self._server.take(self, words)

    def eof_received(self) -> None:
        """As a Sink."""
        self.pipe.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """As a Sink."""
        if self in self._server.ends:
            self._server.ends.remove(self)


class FakeRedis:
    """Answers commands; `answers` replaces the answer to one, with bytes or a function."""

    def __init__(self) -> None:
        self.hello: dict[bytes, bytes | int] = {
            b"server": b"redis",
            b"version": b"7.0.15",
            b"proto": 3,
            b"mode": b"standalone",
            b"role": b"master",
        }
        self.info = {"run_id": "0" * 7 + "1", "aof_enabled": "0", "master_replid2": "0" * 40}
        self.answers: dict[str, bytes | Callable[[FakeEnd, Words], bytes]] = {}
        self.appendfsync = b"everysec"
        self.greeting = b""
        self.silent = False
        """Answers nothing."""
        self.commands: list[Words] = []
        self.ends: list[FakeEnd] = []
        self.port = 0
        self.logs: dict[bytes, list[tuple[bytes, bytes]]] = {}  # by the head's key
        self.hashes: dict[bytes, dict[bytes, bytes]] = {}
        self.scripts: set[bytes] = set()
        self._keys: dict[bytes, bytes] = {}
        self._listener: Any = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}"

    async def listen(self, tls: ssl.SSLContext | None = None) -> None:
        """Accept connections, at the same port as before."""
        where = Address("127.0.0.1", self.port, tls=tls)
        self._listener = await running().listen(where, lambda: FakeEnd(self))
        self.port = self._listener.address()[1]

    def refuse(self) -> None:
        """Accept no more, and drop all."""
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        """Drop all connections."""
        for end in list(self.ends):
            end.pipe.abort()

    def asked(self, name: str) -> list[Words]:
        """The commands of this name, without it."""
        return [words[1:] for words in self.commands if words[0] == name.encode()]

    def publish(self, channel: bytes, payload: bytes) -> None:
        """Push to the subscribers."""
        for end in self.ends:
            if channel in end.channels:
                end.write(push(b"message", channel, payload))

    def take(self, end: FakeEnd, words: Words) -> None:
        """Answer a command."""
        self.commands.append(words)
        if self.silent:
            return
        name = words[0].decode()
        answer = self.answers.get(name)
        if answer is None:
            answer = cast(Callable[[FakeEnd, Words], bytes], getattr(self, f"_{name.lower()}"))
        end.write(answer if isinstance(answer, bytes) else answer(end, words[1:]))

    # The commands.

    def _ping(self, end: FakeEnd, words: Words) -> bytes:
        return b"+PONG\r\n"

    def _hello(self, end: FakeEnd, words: Words) -> bytes:
        pairs = [
            bulk(name) + (b":%d\r\n" % value if isinstance(value, int) else bulk(value))
            for name, value in self.hello.items()
        ]
        return b"%%%d\r\n" % len(pairs) + b"".join(pairs)

    def _info(self, end: FakeEnd, words: Words) -> bytes:
        text = "# Server\r\n" + "".join(f"{name}:{value}\r\n" for name, value in self.info.items())
        return b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text.encode())

    def _config(self, end: FakeEnd, words: Words) -> bytes:
        return b"%1\r\n" + bulk(words[1], self.appendfsync)

    def _select(self, end: FakeEnd, words: Words) -> bytes:
        return b"+OK\r\n"

    def _subscribe(self, end: FakeEnd, words: Words) -> bytes:
        end.channels.update(words)
        return b"".join(push(b"subscribe", word) for word in words)

    def _unsubscribe(self, end: FakeEnd, words: Words) -> bytes:
        end.channels.difference_update(words)
        return b"".join(push(b"unsubscribe", word) for word in words)

    def _hdel(self, end: FakeEnd, words: Words) -> bytes:
        for word in words[1:]:
            self.hashes.get(words[0], {}).pop(word, None)
        return b":1\r\n"

    def _zrange(self, end: FakeEnd, words: Words) -> bytes:
        room = words[0].removesuffix(b"processes") + b"members:"
        return array(*(key[len(room) :] for key in self.hashes if key.startswith(room)))

    def _hscan(self, end: FakeEnd, words: Words) -> bytes:
        """Two members a page."""
        pairs = list(self.hashes.get(words[0], {}).items())
        begin = int(words[1])
        page = [word for pair in pairs[begin : begin + 2] for word in pair]
        after = begin + 2 if begin + 2 < len(pairs) else 0
        return b"*2\r\n" + bulk(b"%d" % after) + array(*page)

    def _eval(self, end: FakeEnd, words: Words) -> bytes:
        script = next(one for one in NAMES if one._text.encode() == words[0])
        self.scripts.add(script._digest.encode())
        return self._run(script, words)

    def _evalsha(self, end: FakeEnd, words: Words) -> bytes:
        if words[0] not in self.scripts:
            return NOSCRIPT
        return self._run(next(one for one in NAMES if one._digest.encode() == words[0]), words)

    # The scripts.

    def _run(self, script: Any, words: Words) -> bytes:
        count = int(words[1])
        keys, arguments = words[2 : 2 + count], words[2 + count :]
        name = NAMES[script]
        answer = self.answers.get(name)
        if isinstance(answer, bytes):
            return answer
        run: Callable[[Words, Words], bytes] = getattr(self, f"_run_{name.lower()}")
        return run(keys, arguments)

    def _place(self, head: bytes) -> bytes:
        return b"e.%d" % len(self.logs.setdefault(head, []))

    def _run_position(self, keys: Words, arguments: Words) -> bytes:
        return bulk(self._place(keys[0]))

    def _run_publish(self, keys: Words, arguments: Words) -> bytes:
        channel, kind, data = arguments[2:5]
        if len(keys) == 3 and keys[2] in self._keys:
            return bulk(self._keys[keys[2]])
        self.logs.setdefault(keys[0], []).append((kind, data))
        place = self._place(keys[0])
        if len(keys) == 3:
            self._keys[keys[2]] = place
        self.publish(channel, kind + place + b" " + data)
        return bulk(place)

    def _run_read(self, keys: Words, arguments: Words) -> bytes:
        log = self.logs.setdefault(keys[0], [])
        since, most = int(arguments[3]), int(arguments[4])
        page = [part for entry in log[since : since + most] for part in entry]
        complete = arguments[2] == b"e" and since <= len(log)
        flat = bulk(self._place(keys[0])) + b":%d\r\n" % complete + bulk(*page)
        return b"*%d\r\n" % (2 + len(page)) + flat

    def _run_enter(self, keys: Words, arguments: Words) -> bytes:
        pairs = arguments[2:]
        if pairs:
            members = self.hashes.setdefault(keys[0], {})
            members.update(zip(pairs[::2], pairs[1::2], strict=True))
        return b":%d\r\n" % bool(self.hashes.get(keys[0]))


@asynccontextmanager
async def fake_redis(tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeRedis]:
    """A server that listens, and ends with the block."""
    server = FakeRedis()
    await server.listen(tls)
    try:
        yield server
    finally:
        server.refuse()
