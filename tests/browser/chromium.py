"""Chromium, headless, driven over its DevTools protocol: a WebSocket that `wscore` speaks here."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from kit.blocking_peer import BlockingPeer

# How long an answer of the browser, or a condition in a page, may take, in seconds.
PATIENCE = 20

_FLAGS = [
    "--headless",
    "--no-sandbox",  # Chromium refuses to run as root with one
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",
]

_LISTENING = re.compile(r"DevTools listening on ws://127\.0\.0\.1:(\d+)(/\S+)")

# Settles when the condition holds, looking again at each change of the page.
_WAIT = """new Promise(resolve => {
  const settle = holds => { observer.disconnect(); resolve(holds); };
  const look = () => { if (%s) settle(true); };
  const observer = new MutationObserver(look);
  observer.observe(document, {subtree: true, childList: true, characterData: true,
                              attributes: true});
  setTimeout(settle, %d, false);
  look();
})"""

# Where to click. Only what has been painted can be: hence the two frames.
_MIDDLE = """new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(() => {
  const box = document.getElementById("%s").getBoundingClientRect();
  resolve([box.x + box.width / 2, box.y + box.height / 2]);
})))"""


class DevTools:
    """A connection to the browser: commands, their answers, and events."""

    def __init__(self, port: int, target: str) -> None:
        self._peer = BlockingPeer(port, target, max_message_size=None)
        self._peer.connect()
        self._commands = 0

    def command(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Have the browser, or the page of a session, do something; returns its result."""
        self._commands += 1
        command: dict[str, Any] = {"id": self._commands, "method": method, "params": params}
        if session is not None:
            command["sessionId"] = session
        self._peer.send(json.dumps(command))
        while True:
            answer = self._receive()
            if answer.get("id") == self._commands:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def wait_for_event(self, method: str, session: str) -> None:
        """Wait for an event that has not come yet."""
        while True:
            event = self._receive()
            if event.get("method") == method and event.get("sessionId") == session:
                return

    def close(self) -> None:
        """Hang up."""
        self._peer.leave()

    def _receive(self) -> dict[str, Any]:
        """The next message, which is an answer or an event."""
        message: dict[str, Any] = json.loads(self._peer.message())
        return message


class Page:
    """A window of its own."""

    def __init__(self, tools: DevTools, url: str) -> None:
        self._tools = tools
        self._target: str = tools.command("Target.createTarget", url="about:blank", newWindow=True)[
            "targetId"
        ]
        self._session: str = tools.command(
            "Target.attachToTarget", targetId=self._target, flatten=True
        )["sessionId"]
        self.command("Page.enable")
        self.command("Page.navigate", url=url)
        tools.wait_for_event("Page.loadEventFired", self._session)

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        """A DevTools command for this page."""
        return self._tools.command(method, self._session, **params)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise."""
        answer = self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def wait_until(self, condition: str) -> None:
        """Wait until a JavaScript condition holds; fails with what the page shows."""
        if not self.evaluate(_WAIT % (condition, PATIENCE * 500)):
            shown = self.evaluate("document.body.innerText")
            raise AssertionError(f"not so: {condition}. The page shows:\n{shown}")

    def type(self, field: str, text: str) -> None:
        """Click into the field of that id, type, and press Enter."""
        x, y = self.evaluate(_MIDDLE % field)
        click: dict[str, Any] = {"x": x, "y": y, "button": "left", "clickCount": 1}
        self.command("Input.dispatchMouseEvent", type="mousePressed", **click)
        self.command("Input.dispatchMouseEvent", type="mouseReleased", **click)
        self.command("Input.insertText", text=text)
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        self.command("Input.dispatchKeyEvent", type="keyDown", **enter)
        self.command("Input.dispatchKeyEvent", type="keyUp", **enter)

    def close(self) -> None:
        """Close the window."""
        self._tools.command("Target.closeTarget", targetId=self._target)


class Chromium:
    """The browser; `profile` is an empty folder for its files.

    It trusts the certificates of one public key, named by the SHA-256 of it in base64.
    """

    _tools: DevTools

    def __init__(self, program: str, profile: Path, trusted: str = "") -> None:
        trust = f"--ignore-certificate-errors-spki-list={trusted}"
        self._process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}", *[trust] * bool(trusted)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        self._log = self._process.stderr

    def __enter__(self) -> Self:
        said = ""
        for line in self._log:
            said += line
            if listening := _LISTENING.search(line):
                # It talks on: a full pipe would stop it.
                threading.Thread(target=self._log.read, daemon=True).start()
                self._tools = DevTools(int(listening[1]), listening[2])
                return self
        self._process.wait()
        self._log.close()
        raise AssertionError(f"Chromium did not start: {said}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tools.close()
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def open(self, url: str) -> Page:
        """Open a window, and wait until it is loaded."""
        return Page(self._tools, url)


@contextmanager
def installed(profile: Path, left_out: str, trusted: str = "") -> Iterator[Chromium]:
    """Chromium, started once; without it the test is skipped: `left_out` says what did not run."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip(f"chromium is not installed, so {left_out}")
    with Chromium(program, profile, trusted) as browser:
        yield browser
