"""Rooms over Redis or Valkey: `RedisBroker`, with a connection of our own."""

from .broker import RedisBroker

__all__ = ["RedisBroker"]
