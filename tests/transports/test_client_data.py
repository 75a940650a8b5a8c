"""`client.data`: a typed place for what a program keeps for each peer."""

from dataclasses import dataclass
from typing import Any, assert_type

import pytest

from kit.connecting import connecting
from kit.loops import Loop, on_each_loop
from wstransports import Client, WebSocketReader


@dataclass
class User:
    name: str


@on_each_loop
async def test_what_on_connection_sets_the_others_see(loop: Loop) -> None:
    async def on_connection(client: Client[User]) -> None:
        client.data = User(client.request.path[1:])

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            assert_type(client.data, User)
            await client.writer.send(client.data.name)

    async with loop.serving(on_connection) as server:
        for name in "Ada", "Bob":
            peer = await loop.connect(server, target=f"/{name}")
            peer.send("who am I?")
            assert await peer.message() == name
        assert [client.data.name for client in server.clients.values()] == ["Ada", "Bob"]


@on_each_loop
async def test_reading_it_before_it_is_set_names_the_mend(loop: Loop) -> None:
    async with loop.serving() as server, connecting(server) as client:
        with pytest.raises(
            AttributeError,
            match=r"^<Client #\d+ .* OPEN> has no data yet: set client.data in on_connection$",
        ):
            assert_type(client.data, Any)
        assert getattr(client, "data", None) is None
        client.data = None
        assert client.data is None


@on_each_loop
async def test_other_attributes_work_but_type_checkers_do_not_know_them(loop: Loop) -> None:
    async with loop.serving() as server, connecting(server) as client:
        free: Any = client
        free.nickname = "Ada"
        assert free.nickname == "Ada"
        with pytest.raises(AttributeError, match="'Client' object has no attribute 'nick'"):
            assert free.nick
