"""Calls in threads of their own, for tests that block."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def background(function: Callable[[], T]) -> Future[T]:
    """Call a function in a thread, a daemon: one that hangs cannot outlive the test's limit."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001  # raised where the outcome is asked for
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome
