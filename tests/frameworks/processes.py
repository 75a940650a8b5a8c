"""Applications under uvicorn, in processes of their own, as users start them."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OUR_CLASS = "wstransports.uvicorn:WebSocketProtocol"

# Where the applications are.
APPS = Path(__file__).parent / "apps"

# How long a server may take to start or to end, in seconds.
PATIENCE = 25

_LISTENS = re.compile(r"(?:running on|Listening at:) https?://127\.0\.0\.1:(\d+)")


class Served:
    """A running server; `log` is what it has logged so far."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-m", *command],
            cwd=APPS,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = ""
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self.logs(_LISTENS)[1])

    def logs(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """Wait until it has logged this."""
        with self._changed:
            self._changed.wait_for(lambda: re.search(pattern, self.log) or self._ended, PATIENCE)
            found = re.search(pattern, self.log)
        if found is None:
            self.kill()
            raise AssertionError(f"it has not logged {pattern!r}:\n{self.log}")
        return found

    def stop(self) -> None:
        """Have it end."""
        self._process.send_signal(signal.SIGTERM)

    def terminate(self) -> None:
        """Have it end, and wait until it has."""
        self.stop()
        self.wait()

    def wait(self) -> None:
        """Wait until it has ended."""
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)

    def kill(self) -> None:
        """End it in any case."""
        if self._process.poll() is None:
            self._process.kill()
        self.wait()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                with self._changed:
                    self.log += line
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextmanager
def served(command: list[str]) -> Iterator[Served]:
    """Run a server for the time of the block."""
    server = Served(command)
    try:
        yield server
    finally:
        server.kill()


def under_uvicorn(app: str, *options: str) -> list[str]:
    """The command for an application, such as "on_quart"."""
    return ["uvicorn", f"{app}:app", "--ws", OUR_CLASS, "--port=0", "--no-use-colors", *options]
