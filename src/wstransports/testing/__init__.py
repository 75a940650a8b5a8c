"""For tests: an event loop in memory, and checks for adapters.

`MemoryRuntime` runs servers and clients without sockets, on a clock that the test controls.
`connected_to`, `connected_pair` and `serving_in_thread` connect them in one line, and a `Wire`
disturbs them. The checks show whether an adapter keeps the contract of `wstransports.runtime`. None
of these needs a test framework.
"""

from .check_pipe import check_pipe, joined
from .check_runtime import check_runtime
from .connected import connected_pair, connected_to, serving_in_thread
from .host import Host
from .memory import MemoryEnd, MemoryRuntime
from .pairs import Join
from .rules import BrokenRule, Rule
from .wire import Wire

__all__ = [
    "BrokenRule",
    "Host",
    "Join",
    "MemoryEnd",
    "MemoryRuntime",
    "Rule",
    "Wire",
    "check_pipe",
    "check_runtime",
    "connected_pair",
    "connected_to",
    "joined",
    "serving_in_thread",
]
