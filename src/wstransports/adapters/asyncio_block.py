"""The `with` form on asyncio: a loop driven from outside."""

import asyncio
import sys
import threading
import warnings
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from ..runtime import Main, Served, register_block, register_runner
from .asyncio_signals import AsyncioSignals

_STOPPED = "Event loop stopped before Future completed."


class AsyncioBlock:
    """Enters and leaves a server on a loop that does not run yet.

    While the block lasts, signals stop the loop, so that what follows `run_forever()` is run.
    """

    def __init__(self, server: Served) -> None:
        self._server = server
        self._given = server.loop
        self._loop: asyncio.AbstractEventLoop
        self._runner: asyncio.Runner | None = None  # where the loop is ours to close
        self._signals: AsyncioSignals

    def enter(self) -> Any:
        """Listen, and take the signals."""
        self._loop = self._thread_loop() if self._given is None else _checked(self._given)
        self._server.loop = self._loop
        try:
            listener = self._loop.run_until_complete(self._server.__aenter__())
        except BaseException:
            self._let_go_of_loop()
            raise
        self._signals = AsyncioSignals(self._loop, self._loop.stop)
        self._signals.take_defaults()
        return listener

    def exit(self, error: BaseException | None) -> bool:
        """Give the signals back, and close the server."""
        self._signals.give_back()
        try:
            # A stop that came while the loop did not run would end our closing: let it pass.
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()
            self._loop.run_until_complete(self._server.__aexit__(None, None, None))
        finally:
            self._let_go_of_loop()
        return self._signals.came and isinstance(error, RuntimeError) and str(error) == _STOPPED

    def _thread_loop(self) -> asyncio.AbstractEventLoop:
        """The thread's loop, or a new one, which is the thread's as long as the block lasts."""
        with suppress(RuntimeError), _quiet():  # Python 3.14 raises where there is none
            loop = asyncio.get_event_loop()
            if not loop.is_closed():
                return loop
        self._runner = asyncio.Runner()
        return self._runner.get_loop()

    def _let_go_of_loop(self) -> None:
        self._server.loop = self._given
        if self._runner is not None:
            self._runner.close()


def _quiet() -> AbstractContextManager[object]:
    """A block in which `get_event_loop` does not warn.

    Warning filters are the process's, so that threads must not change them. Only the main thread
    is warned, and only before Python 3.14.
    """
    if sys.version_info >= (3, 14) or threading.current_thread() is not threading.main_thread():
        return nullcontext()
    return warnings.catch_warnings(action="ignore", category=DeprecationWarning)


def _checked(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    """The user's loop; RuntimeError unless it can be driven."""
    if loop.is_closed():
        raise RuntimeError("the server's loop is closed: pass loop=asyncio.new_event_loop()")
    if loop.is_running():
        raise RuntimeError(
            "the server's loop runs already: use `async with socket:` or `await"
            " socket.serve_forever()` inside it, because `with socket:` drives the loop itself"
        )
    return loop


def run(main: Main) -> None:
    """Run an async function in a loop of its own."""
    asyncio.run(main())


register_block(AsyncioBlock)
register_runner(run)
