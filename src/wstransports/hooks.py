"""What the application decides about a request: `basic_auth`, `process_request`, `subprotocols`."""

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from inspect import isawaitable
from typing import Any

from wscore import Response

from .accept import Accept
from .basic_auth import credentials
from .options import ServerOptions
from .request import Request

Answer = Response | Accept

# A hook: its name for the log, and a call of it, whose result may be awaitable.
Hook = tuple[str, Callable[[], Any]]


class Hooks:
    """The hooks for one request, one after another: `resume` until it returns None."""

    def __init__(self, options: ServerOptions, request: Request) -> None:
        self.name: str = ""
        """The hook that was called last."""
        self.answer: Answer = Accept()
        """What answers the request, once they all have returned."""
        self._hooks = _hooks(options, request)

    def resume(
        self, returned: object, run: Callable[[Callable[[], object]], object]
    ) -> Awaitable[object] | None:
        """Pass on what the last hook returned, and call the next ones by `run`.

        Returns what the caller must await, and pass to the next `resume`. Raises what a hook
        raises, and TypeError or ValueError for what it must not return.
        """
        while True:
            try:
                self.name, call = self._hooks.send(returned)
            except StopIteration as end:
                self.answer = end.value
                return None
            returned = run(call)
            if isawaitable(returned):
                return returned


def _hooks(options: ServerOptions, request: Request) -> Generator[Hook, Any, Answer]:
    """Yield one hook after another, be sent what it has returned, and return the answer."""
    answer: Answer | None = None
    if options.authentication is not None:
        found = credentials(request.headers)
        check = options.authentication.check
        if found is None or not (yield "basic_auth", partial(check, *found)):
            return options.authentication.challenge
        request.username = found[0]
    if options.process_request is not None:
        answer = yield "process_request", partial(options.process_request, request)
    if answer is None:
        answer = Accept()
    if isinstance(answer, Response):
        if answer.status < 200:
            raise ValueError(f"a final status is at least 200, but {answer!r} has {answer.status}")
        return answer
    if not isinstance(answer, Accept):
        raise TypeError(f"process_request must return None, a Response or Accept, not {answer!r}")
    if not request.is_upgrade:
        return answer
    chosen = answer.subprotocol
    if chosen is None and callable(options.subprotocols):
        chosen = yield "subprotocols", partial(options.subprotocols, request.subprotocols, request)
        answer = Accept(answer.headers, chosen)
    if chosen is not None and chosen not in request.subprotocols:
        raise ValueError(
            f"the client did not offer the subprotocol {chosen!r}: choose from"
            f" {list(request.subprotocols)} or None"
        )
    return answer
