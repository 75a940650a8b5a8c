"""Chromium, headless, driven over its DevTools protocol: a WebSocket that `wscore` speaks here."""

import json
import re
import socket
import subprocess
import threading
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wscore import Accepted, ClientConnection, MessagePiece

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

_LISTENING = re.compile(r"DevTools listening on ws://([^/]+)(/\S+)")

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

    def __init__(self, host: str, target: str) -> None:
        name, _, port = host.partition(":")
        self._socket = socket.create_connection((name, int(port)), PATIENCE)
        self._connection = ClientConnection(host, target, max_message_size=None)
        self._message = ""
        self._received: deque[dict[str, Any]] = deque()
        self._commands = 0
        self._flush()
        accepted = self._connection.receive_data(self._socket.recv(65536))
        assert isinstance(accepted[0], Accepted), accepted

    def command(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Have the browser, or the page of a session, do something; returns its result."""
        self._commands += 1
        command: dict[str, Any] = {"id": self._commands, "method": method, "params": params}
        if session is not None:
            command["sessionId"] = session
        self._connection.send_message(json.dumps(command))
        self._flush()
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
        self._socket.close()

    def _flush(self) -> None:
        self._socket.sendall(self._connection.data_to_send())

    def _receive(self) -> dict[str, Any]:
        """The next message, whatever it is."""
        while not self._received:
            data = self._socket.recv(65536)
            assert data, "the browser has hung up"
            events = self._connection.receive_data(data)
            while self._connection.more:
                events += self._connection.receive_data(b"")
            for event in events:
                assert isinstance(event, MessagePiece), event
                self._message += event.text or ""
                if event.last:
                    self._received.append(json.loads(self._message))
                    self._message = ""
        return self._received.popleft()


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
    """The browser; `profile` is an empty folder for what it leaves behind."""

    _tools: DevTools

    def __init__(self, program: str, profile: Path) -> None:
        self._process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}"],
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
                self._tools = DevTools(*listening.groups())
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
