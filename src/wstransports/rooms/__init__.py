"""Rooms: messages to all members of a room, in order, in one process or over a broker."""

from .broker import Broker, BrokerLost, History, Keep, Publication, Subscriber
from .joining import Joined
from .position import Position
from .redis import RedisBroker
from .room import Room
from .rooms import Rooms

__all__ = [
    "Broker",
    "BrokerLost",
    "History",
    "Joined",
    "Keep",
    "Position",
    "Publication",
    "RedisBroker",
    "Room",
    "Rooms",
    "Subscriber",
]
