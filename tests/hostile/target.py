"""The server's process as its attackers and their judge see it: `with Target(...) as target`."""

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme

from kit.certificates import certificate_files, client_context

VICTIM = Path(__file__).with_name("victim.py")

# Seconds.
START_LIMIT = 20
STOP_LIMIT = 30
SAMPLE_EVERY = 0.05


class Target:
    """A running server: `loop` is its event loop, `options` those of the WebSocketServer.

    Its log goes into `folder`. The block's end kills it if it still runs.
    """

    def __init__(
        self,
        loop: str,
        folder: Path,
        *,
        tls: bool = False,
        logging_raises: bool = False,
        **options: Any,
    ) -> None:
        self.loop = loop
        self.context = None
        certs = None
        if tls:
            authority = trustme.CA()
            certs = [str(file) for file in certificate_files(authority, folder, "localhost")]
            self.context = client_context(authority)
        settings = {
            "loop": loop,
            "certs": certs,
            "logging_raises": logging_raises,
            "options": options,
        }
        self.log = folder / "log"
        with self.log.open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, str(VICTIM), json.dumps(settings)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self._output = self._process.stdout
        ready, _, _ = select.select([self._output], [], [], START_LIMIT)
        line = self._output.readline().strip() if ready else ""
        assert line.isdigit(), f"the server did not start: {self.log.read_text()[-2000:]}"
        self.port = int(line)
        # What the first request makes is not a consequence of an attack.
        before = self.descriptors()
        self.stats()
        self.wait(lambda: self.descriptors() <= before, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._process:
            self._process.kill()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    def stats(self, collect: bool = False) -> dict[str, int]:
        """What the server says of itself: tasks, clients, and messages begun and answered.

        With `collect` it collects garbage before.
        """
        if self.context is None:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=STOP_LIMIT)
        else:
            connection = HTTPSConnection(
                "localhost", self.port, timeout=STOP_LIMIT, context=self.context
            )
        try:
            connection.request("GET", "/stats?collect" if collect else "/stats")
            stats: dict[str, int] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return stats

    def memory(self) -> int:
        """Its memory, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        [kilobytes] = [line.split()[1] for line in status.splitlines() if "RssAnon" in line]
        return int(kilobytes) * 1024

    def descriptors(self) -> int:
        """How many descriptors it has."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def limit_descriptors(self, most: int) -> None:
        """Let it open no more than so many; they include those that it has."""
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (most, most))

    def log_lines(self) -> list[str]:
        """What it logged."""
        return self.log.read_text(errors="replace").splitlines()

    def stop(self) -> dict[str, int]:
        """Ask it to end; returns what its callbacks have seen."""
        self._process.send_signal(signal.SIGTERM)
        rest, _ = self._process.communicate(timeout=STOP_LIMIT)
        stats: dict[str, int] = json.loads(rest.splitlines()[-1])
        return stats

    @contextmanager
    def watched(self, figure: Callable[[], int]) -> Iterator[list[int]]:
        """Sample a figure while the block lasts: a list whose first entry is from before it."""
        samples = [figure()]
        over = threading.Event()

        def watch() -> None:
            while not over.wait(SAMPLE_EVERY):
                samples.append(figure())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield samples
        finally:
            over.set()
            thread.join()
            samples.append(figure())

    def wait(self, condition: Callable[[], bool], seconds: float) -> float:
        """Wait for a condition; returns how long that took, `seconds` if it never held."""
        start = time.monotonic()
        while time.monotonic() < start + seconds:
            if condition():
                return time.monotonic() - start
            time.sleep(SAMPLE_EVERY)
        return seconds

    def dial(self, receive_buffer: int | None = None) -> socket.socket:
        """A TCP connection to it; no TLS yet."""
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(STOP_LIMIT)
        connection.connect(("127.0.0.1", self.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
