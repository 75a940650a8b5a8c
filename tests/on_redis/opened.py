"""Brokers on a server of the test's own, and what they report."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kit.fake_redis import FakeRedis
from kit.log import Log
from kit.redis_server import RedisServer
from wstransports.rooms import BrokerLost, Keep, Position, Publication
from wstransports.rooms.redis import RedisBroker
from wstransports.runtime import running

KEEP = Keep(history=100, seconds=300)


class Heard:
    """Notes what a broker reports, as a Subscriber."""

    def __init__(self) -> None:
        self.publications: list[Publication] = []
        self.events: list[str] = []
        self.fails = 0
        """So many calls of `recovered` raise."""
        self._news = running().signal()

    def published(self, publication: Publication) -> None:
        """As a Subscriber."""
        self.publications.append(publication)
        self._announce()

    def lost(self, error: Exception) -> None:
        """As a Subscriber."""
        self.events.append(f"lost: {error}")
        self._announce()

    def recovered(self) -> None:
        """As a Subscriber."""
        if self.fails:
            self.fails -= 1
            raise KeyError("a mistake")
        self.events.append("recovered")
        self._announce()

    def data(self) -> list[str | bytes]:
        """What was published."""
        return [publication.data for publication in self.publications]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds, which what is reported changes."""
        while not condition():
            await self._news.wait()

    def _announce(self) -> None:
        news, self._news = self._news, running().signal()
        news.set()


@asynccontextmanager
async def opened(
    server: FakeRedis | RedisServer, path: str = "", **options: Any
) -> AsyncIterator[tuple[RedisBroker, Heard]]:
    """A broker on this server."""
    heard = Heard()
    made = RedisBroker(server.url + path, **options)
    async with running().task_group() as group:
        await made.open(running(), group, heard)
        try:
            yield made, heard
        finally:
            await made.close()


def warnings(log: Log) -> list[str]:
    """What was logged, without tracebacks."""
    return [record.getMessage() for record in log.taken()]


def position(offset: int) -> Position:
    """A position in the server's only epoch."""
    return Position("e", offset)


async def refused(server: FakeRedis, path: str = "") -> str:
    """Why a broker does not open."""
    with pytest.raises(BrokerLost) as raised:
        async with opened(server, path):
            pass
    assert server.ends == []
    return str(raised.value).replace(f":{server.port}/", ":PORT/")
