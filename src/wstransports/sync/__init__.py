"""Connections without async: `from wstransports.sync import connect`."""

from .client import Client
from .connect import connect

__all__ = ["Client", "connect"]
