"""Rooms: messages to all members of a room, in order, in one process or over a broker."""

from .broker import Broker, BrokerLost, History, Keep, Publication, Subscriber
from .position import Position
from .redis import RedisBroker

__all__ = [
    "Broker",
    "BrokerLost",
    "History",
    "Keep",
    "Position",
    "Publication",
    "RedisBroker",
    "Subscriber",
]
