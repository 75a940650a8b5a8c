"""The `with` form on asyncio: a loop driven from outside."""

import asyncio
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any

from ..runtime import Served, register_block, register_runner
from .asyncio_signals import stop_signals

_STOPPED = "Event loop stopped before Future completed."


@contextmanager
def driven(server: Served) -> Iterator[Any]:
    """A block of a server, on a loop that does not run yet; yields the listener.

    While it lasts, signals stop the loop, so that what follows `run_forever()` is run.
    """
    with ExitStack() as undo:
        undo.callback(setattr, server, "loop", server.loop)
        loop = _thread_loop(undo) if server.loop is None else _checked(server.loop)
        server.loop = loop
        listener = loop.run_until_complete(server.__aenter__())
        signals = stop_signals(loop, loop.stop)
        signals.take_defaults()
        try:
            yield listener
        except RuntimeError as error:
            if not signals.came or str(error) != _STOPPED:
                raise
        finally:
            signals.give_back()
            # A stop that came while the loop did not run would end our closing: let it pass.
            loop.call_soon(loop.stop)
            loop.run_forever()
            loop.run_until_complete(server.__aexit__(None, None, None))


def _thread_loop(undo: ExitStack) -> asyncio.AbstractEventLoop:
    """The thread's loop, or a new one, which is the thread's until `undo`."""
    # Before Python 3.14, which raises where there is none, the main thread is warned. Warning
    # filters are the process's: other threads must not change them.
    is_main = threading.current_thread() is threading.main_thread()
    quiet = warnings.catch_warnings(action="ignore", category=DeprecationWarning)
    with suppress(RuntimeError), quiet if is_main else nullcontext():
        loop = asyncio.get_event_loop()
        if not loop.is_closed():
            return loop
    runner = asyncio.Runner()
    undo.callback(runner.close)
    return runner.get_loop()


def _checked(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    """The user's loop; RuntimeError unless it can be driven."""
    if loop.is_closed():
        raise RuntimeError("the server's loop is closed: pass loop=asyncio.new_event_loop()")
    if loop.is_running():
        raise RuntimeError(
            "the server's loop runs already: use `async with server:` or `await"
            " server.serve_forever()` inside it, because `with server:` drives the loop itself"
        )
    return loop


register_block(driven)
register_runner(lambda main: asyncio.run(main()))
