"""Checks for whoever writes an adapter: does it keep the contract of `wstransports.runtime`?

They need no test framework, and run in the loop that the adapter is for.
"""

from .check_pipe import Join, check_pipe, joined
from .check_runtime import check_runtime
from .host import Host
from .rules import BrokenRule, Rule

__all__ = ["BrokenRule", "Host", "Join", "Rule", "check_pipe", "check_runtime", "joined"]
