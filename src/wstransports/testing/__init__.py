"""For tests: an event loop in memory, and checks for adapters.

`MemoryRuntime` runs servers and clients without sockets, on a clock that the test turns. The
checks show whether an adapter keeps the contract of `wstransports.runtime`. Neither needs a test
framework.
"""

from .check_pipe import check_pipe, joined
from .check_runtime import check_runtime
from .host import Host
from .memory import MemoryEnd, MemoryRuntime
from .pairs import Join
from .rules import BrokenRule, Rule

__all__ = [
    "BrokenRule",
    "Host",
    "Join",
    "MemoryEnd",
    "MemoryRuntime",
    "Rule",
    "check_pipe",
    "check_runtime",
    "joined",
]
