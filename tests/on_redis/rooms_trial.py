"""Count what the members of rooms on Redis get: `python rooms_trial.py --clients 2000 --loop trio`.

Two processes serve the clients. The Redis server is killed and started again, so is one of the
processes, and some clients read nothing for a while. A client that was closed comes back with the
position that it has reached. Each one checks that it gets every message, once, in order.
"""

import argparse
import asyncio
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from kit.redis_server import RedisServer, redis_server
from wstransports import Client, ConnectionClosed, HandshakeError, connect
from wstransports.rooms import BrokerLost, Position, RedisBroker, Rooms

SERVER = Path(__file__).with_name("rooms_server.py")

# What fills the messages of the room in which some are slow, and the clients in it.
PADDING = "x" * 32 * 1024
SLOW = 8


class Server:
    """A process that serves clients."""

    def __init__(self, loop: str, broker: str) -> None:
        command = [sys.executable, str(SERVER), loop, broker, "0"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def end(self, how: int = signal.SIGTERM) -> None:
        """Kill it."""
        self._process.send_signal(how)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Member:
    """A client that comes back until the trial is over, and checks what it gets."""

    def __init__(self, trial: "Trial", room: str, slow: bool = False) -> None:
        self.room = room
        self.last = -1
        """The number of the last message."""
        self._trial = trial
        self._position: Position | None = None
        self._slow = slow

    async def live(self) -> None:
        """Connect again and again."""
        while True:
            server = random.choice(self._trial.servers)
            since = "" if self._position is None else f"?since={self._position}"
            try:
                with self._socket(server) as sock:
                    uri = f"ws://127.0.0.1:{server.port}/{self.room}{since}"
                    async with connect(uri, sock=sock, compression=None) as client:
                        await self._receive(client)
            except ConnectionClosed as closed:
                self._trial.closes[int(closed.code)] += 1
            except (OSError, HandshakeError):
                self._trial.closes["refused"] += 1
            await asyncio.sleep(random.uniform(0.02, 0.4))

    def _socket(self, server: Server) -> socket.socket:
        sock = socket.socket()
        try:
            if self._slow:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            sock.connect(("127.0.0.1", server.port))
        except OSError:
            sock.close()
            raise
        sock.setblocking(False)
        return sock

    async def _receive(self, client: Client) -> None:
        while True:
            text = await client.receive()
            assert isinstance(text, str)
            first, _, rest = text.partition(" ")
            if first == "joined":
                self._joined(*rest.split(" "))
                if self._slow:
                    await self._trial.awake.wait()
            else:
                self._take(Position.parse(first), int(rest.partition(" ")[0]))

    def _joined(self, resumed: str, position: str) -> None:
        if resumed == "0":
            if self._position is not None:
                self._trial.note(f"not resumed at {self._position}, but began at {position}")
            self._position = Position.parse(position)
            self.last = self._position.offset - 1
        elif self._slow:
            self._trial.slow_resumed += 1
        self._trial.joined += 1
        self._trial.news.set()

    def _take(self, position: Position, number: int) -> None:
        """Messages are numbered from 0, and are as many as their offset says."""
        before = self._position
        if before is None or position.epoch != before.epoch:
            self._trial.note(f"{position} after {before}")
        elif number <= self.last:
            self._trial.note(f"{number} again after {self.last}")
        elif number != self.last + 1 or position.offset != before.offset + 1:
            self._trial.note(f"{number} at {position} after {self.last} at {before}")
        self._position, self.last = position, number
        self._trial.delivered += 1
        if number == self._trial.final:
            self._trial.news.set()


class Trial:
    """The servers, the clients, and what went wrong."""

    def __init__(self, redis: RedisServer, loop: str) -> None:
        self.servers = [Server(loop, redis.url), Server(loop, redis.url)]
        self.awake = asyncio.Event()
        self.news = asyncio.Event()
        self.joined = self.delivered = self.published = self.repeated = self.slow_resumed = 0
        self.final = -1
        """The number of the last message of all."""
        self.closes: Counter[int | str] = Counter()
        self.wrong: list[str] = []
        self.members: list[Member] = []
        self._loop = loop
        self._redis = redis

    def end(self) -> None:
        """End the processes."""
        for server in self.servers:
            server.end()

    def note(self, what: str) -> None:
        """A client got something that it should not get."""
        self.wrong.append(what)

    async def run(self, clients: int, messages: int) -> None:
        """All of it."""
        self.members = [Member(self, "news") for _ in range(clients)]
        self.members += [Member(self, "heavy", slow=number < SLOW) for number in range(SLOW + 2)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(member.live()) for member in self.members]
            await self._until(lambda: self.joined == len(self.members))
            async with Rooms(broker=RedisBroker(self._redis.url)) as rooms:
                await self._publish(rooms, messages)
            await self._until(lambda: all(one.last == self.final for one in self.members))
            for task in tasks:
                task.cancel()

    async def _publish(self, rooms: Rooms, messages: int) -> None:
        parts = [range(i * messages // 4, (i + 1) * messages // 4) for i in range(4)]
        await self._send(rooms, parts[0])
        during = asyncio.create_task(self._send(rooms, parts[1]))
        self._redis.kill()
        await asyncio.to_thread(self._redis.start)
        await during
        during = asyncio.create_task(self._send(rooms, parts[2]))
        killed, self.servers = self.servers[0], self.servers[1:]
        killed.end(signal.SIGKILL)
        self.servers.append(await asyncio.to_thread(Server, self._loop, self._redis.url))
        await during
        self.awake.set()
        self.final = messages - 1
        await self._send(rooms, parts[3])

    async def _send(self, rooms: Rooms, numbers: Iterable[int]) -> None:
        """Publish in both rooms; again with the same key if it is not known whether it was."""
        for number in numbers:
            for room, data in (("news", f"{number}"), ("heavy", f"{number} {PADDING}")):
                while True:
                    try:
                        await rooms.publish(room, data, key=f"{number}")
                    except BrokerLost:
                        self.repeated += 1
                        await asyncio.sleep(0.05)
                    else:
                        break
            self.published += 1
            await asyncio.sleep(0)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.news.clear()
            await self.news.wait()


def trial(clients: int, messages: int, loop: str, folder: Path, kind: str = "redis") -> Trial:
    """Run one; raises AssertionError for anything that a client got wrong."""

    async def main() -> Trial:
        with ExitStack() as stack:
            # An append-only file: nothing that was published is lost when the server is killed.
            redis = stack.enter_context(redis_server(kind, folder, aof=True))
            made = Trial(redis, loop)
            stack.callback(made.end)
            await made.run(clients, messages)
        return made

    made = asyncio.run(main())
    assert not made.wrong, (len(made.wrong), made.wrong[:5])
    return made


def main() -> None:
    """As a program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--messages", type=int, default=400)
    parser.add_argument("--loop", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--kind", choices=["redis", "valkey"], default="redis")
    options = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        made = trial(options.clients, options.messages, options.loop, Path(folder), options.kind)
    print(
        f"{len(made.members)} clients, {made.published} messages in each of 2 rooms,"
        f" {made.delivered} deliveries checked: 0 lost, 0 doubled, all in order;"
        f" {made.repeated} publishes repeated, {made.joined} joins,"
        f" slow ones resumed {made.slow_resumed} times,"
        f" connections ended with {dict(made.closes)}; {time.monotonic() - begin:.0f} s"
    )


if __name__ == "__main__":
    main()
