"""The `with` form on asyncio: a loop driven from outside, and the signals that end it."""

import asyncio
import signal
import threading
import warnings
from types import FrameType
from typing import Any

from ..runtime import Served, register_block

_STOPPED = "Event loop stopped before Future completed."


class AsyncioBlock:
    """Enters and leaves a server on a loop that does not run yet.

    While the block lasts, in the main thread and where the process still has Python's default
    handlers, SIGINT and SIGTERM stop the loop, so that what follows `run_forever()` is run. The
    first of them puts the handlers back: a second one interrupts at once.
    """

    def __init__(self, server: Served) -> None:
        self._server = server
        self._given = server.loop
        self._loop: asyncio.AbstractEventLoop
        self._runner: asyncio.Runner | None = None  # where the loop is ours to close
        self._handlers: dict[int, Any] = {}  # what was there before us
        self._stopped = False

    def enter(self) -> Any:
        """Listen, and take the signals."""
        self._loop = self._thread_loop() if self._given is None else _checked(self._given)
        self._server.loop = self._loop
        try:
            listener = self._loop.run_until_complete(self._server.__aenter__())
        except BaseException:
            self._let_go_of_loop()
            raise
        self._take_signals()
        return listener

    def run_forever(self) -> None:
        """Drive the loop until a signal stops it."""
        self._loop.run_forever()

    def exit(self, error: BaseException | None) -> bool:
        """Give the signals back, and close the server."""
        self._give_signals_back()
        try:
            # A stop that came while the loop did not run would end our closing: let it pass.
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()
            self._loop.run_until_complete(self._server.__aexit__(None, None, None))
        finally:
            self._let_go_of_loop()
        return self._stopped and isinstance(error, RuntimeError) and str(error) == _STOPPED

    def _thread_loop(self) -> asyncio.AbstractEventLoop:
        """The thread's loop, or a new one, which is the thread's as long as the block lasts."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                loop = asyncio.get_event_loop()
        except RuntimeError:  # there is none, and Python 3.14 makes none
            pass
        else:
            if not loop.is_closed():
                return loop
        self._runner = asyncio.Runner()
        return self._runner.get_loop()

    def _let_go_of_loop(self) -> None:
        self._server.loop = self._given
        if self._runner is not None:
            self._runner.close()

    def _take_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number, default in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGTERM, signal.SIG_DFL),
        ):
            if signal.getsignal(number) is default:
                self._handlers[number] = signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopped = True
        self._give_signals_back()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _give_signals_back(self) -> None:
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._stop:  # else the user has set another meanwhile
                signal.signal(number, handler)
        self._handlers.clear()


def _checked(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    """The user's loop; RuntimeError unless it can be driven."""
    if loop.is_closed():
        raise RuntimeError(
            "the server's loop is closed: give it loop=asyncio.new_event_loop(), or none at all"
        )
    if loop.is_running():
        raise RuntimeError(
            "the server's loop runs already: use `async with socket:` or `await"
            " socket.serve_forever()` inside of it, for `with socket:` drives the loop itself"
        )
    return loop


register_block(AsyncioBlock)
