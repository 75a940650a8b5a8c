"""What `wstransports` offers: the names, the numbers, and what its exceptions say."""

import asyncio
from typing import assert_type

import pytest

import wscore
import wstransports
import wstransports.sync
from kit.frames import PING
from kit.in_thread import serving
from kit.loops import Loop, MemoryLoop, on, on_memory
from wstransports import (
    Accept,
    Buffer,
    Client,
    ConnectionClosed,
    DataType,
    IncompleteReadError,
    Instrument,
    ListeningServer,
    Reasons,
    Request,
    State,
    Statistics,
    WebSocketReader,
    WebSocketServer,
    connect,
)

REASONS = {
    "NORMAL": 1000,
    "GOING_AWAY": 1001,
    "PROTOCOL_ERROR": 1002,
    "UNACCEPTABLE_DATA": 1003,
    "RESERVED": 1004,
    "NO_STATUS": 1005,
    "ABNORMAL_CLOSE": 1006,
    "INCONSISTENT_DATA": 1007,
    "POLICY_VIOLATION": 1008,
    "MESSAGE_TOO_BIG": 1009,
    "EXTENSION_NOT_PRESENT": 1010,
    "UNEXPECTED_CONDITION": 1011,
    "SERVICE_RESTART": 1012,
    "TRY_AGAIN_LATER": 1013,
    "BAD_GATEWAY": 1014,
    "TLS_HANDSHAKE_FAILURE": 1015,
}

DATA_TYPES = {
    "NONE": -1,
    "CONTINUATION": 0,
    "TEXT": 1,
    "BINARY": 2,
    "CLOSE": 8,
    "PING": 9,
    "PONG": 10,
}


def test_reasons() -> None:
    assert {member.name: member.value for member in Reasons} == REASONS
    assert issubclass(Reasons, int)
    assert all(member.description for member in Reasons)


def test_data_types() -> None:
    assert {member.name: member.value for member in DataType} == DATA_TYPES


def test_states() -> None:
    assert [member.name for member in State] == ["CONNECTING", "OPEN", "CLOSING", "CLOSED"]


def test_names() -> None:
    documented = {
        *("WebSocketServer", "Client", "WebSocketReader", "WebSocketWriter", "Buffer"),
        *("State", "DataType", "Reasons", "Request", "Response"),
        *("ConnectionClosed", "IncompleteReadError"),
    }
    assert documented <= set(wstransports.__all__)
    assert all(hasattr(wstransports, name) for name in wstransports.__all__)


INSTRUMENT = {
    *("closed", "dropped", "message_received", "message_sent", "opened", "rejected", "waiting"),
}

LOW_LEVEL_READS = {
    *("at_eof", "empty", "feed_eof", "read", "read_into", "read_into_exactly"),
    *("set_exception", "write"),
}

# What users see of the objects they hold, and nothing else.
SHOWN = {
    "server": {
        *("addr", "certs", "clients", "connection", "disconnect_client", "drain", "loop", "port"),
        *("run", "serve", "serve_forever", "timeout"),
    },
    "listening": {
        *("address", "close", "is_serving", "serve_forever", "sockets", "start_serving"),
        *("stop_accepting", "wait_closed"),
    },
    "clients": {"get", "items", "keys", "values"},
    "client": {
        *("addr", "close", "close_code", "close_nowait", "close_reason", "closed", "data"),
        *("id", "info", "latency", "max_message_size", "message", "ping"),
        *("pong", "port", "receive", "receive_json", "request", "response", "state"),
        *("subprotocol", "wait_closed", "writer"),
    },
    "request": {
        *("client", "cookies", "headers", "id", "info", "is_upgrade", "method", "origin", "path"),
        *("query", "query_params", "scheme", "state", "subprotocols", "target", "username"),
    },
    "query_params": {"get", "get_all", "items", "keys", "values"},
    "accept": {"headers", "subprotocol"},
    "writer": {"close", "closed", "feed", "fragment", "ping", "pong", "send", "send_json"},
    "fragment": {"send"},
    "reader": {*LOW_LEVEL_READS, "data_type", "get", "json"},
    "buffer": LOW_LEVEL_READS,
    "connect": set(),
    "instrument": INSTRUMENT,
    "statistics": {
        *INSTRUMENT,
        *("bytes_received", "bytes_sent", "bytes_waiting", "wire_bytes_received"),
        *("connections_closed", "connections_open", "connections_opened"),
        *("connections_rejected", "messages_dropped", "messages_received", "messages_sent"),
        "wire_bytes_sent",
    },
}

SHOWN_WITHOUT_ASYNC = {
    "connect": {"open"},
    "client": {
        *("addr", "close", "close_code", "close_reason", "fragment", "id", "info", "latency"),
        *("max_message_size", "ping", "port"),
        *("receive", "receive_json", "request", "response", "send", "send_json", "state"),
        *("subprotocol", "wait_closed"),
    },
    "fragment": {"send"},
}


@on_memory
async def test_what_users_hold_shows_the_documented_api_alone(loop: MemoryLoop) -> None:
    """In `help()`, and where an editor completes."""
    held: dict[str, object] = {
        "buffer": Buffer(),
        "connect": connect("ws://localhost"),
        "accept": Accept(),
        "instrument": Instrument(),
        "statistics": Statistics(),
    }

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            held["reader"] = reader
            held["client"] = client
            held["request"] = client.request
            held["query_params"] = client.request.query_params
            held["writer"] = client.writer
            async with client.writer.fragment() as held["fragment"]:
                await client.writer.ping()

    async with loop.serving(on_connection) as server:
        held["server"] = server
        held["listening"] = server._listener
        held["clients"] = server.clients
        peer = await loop.connect(server)
        peer.send("message")
        assert (await peer.frame()).opcode == PING
    shown = {
        name: {member for member in dir(one) if not member.startswith("_")}
        for name, one in held.items()
    }
    assert shown == SHOWN


def test_what_users_without_async_hold_shows_the_documented_api_alone() -> None:
    with serving(WebSocketServer("127.0.0.1", 0)) as port:
        connection = wstransports.sync.connect(f"ws://127.0.0.1:{port}")
        with connection as client:
            held = {"connect": connection, "client": client, "fragment": client.fragment()}
            shown = {
                name: {member for member in dir(one) if not member.startswith("_")}
                for name, one in held.items()
            }
    assert shown == SHOWN_WITHOUT_ASYNC


@on_memory
async def test_what_a_block_in_memory_yields_has_no_sockets(loop: MemoryLoop) -> None:
    async with loop.server() as listening:
        assert listening.sockets == ()


@on("asyncio", "trio")
async def test_what_a_block_on_sockets_yields_shows_the_methods_of_asyncios_server(
    loop: Loop,
) -> None:
    async with loop.server() as listening:
        shown = {name for name in dir(listening) if not name.startswith("_")}
    of_asyncio = {"get_loop", "close_clients", "abort_clients"}
    assert shown - of_asyncio == SHOWN["listening"]
    assert_type(listening, ListeningServer)
    assert isinstance(listening, asyncio.AbstractServer) == (loop.name == "asyncio")


@pytest.mark.parametrize("name", ["DataType", "PreparedMessage", "Reasons", "Response", "State"])
def test_what_the_core_owns_is_the_same_object(name: str) -> None:
    assert getattr(wstransports, name) is getattr(wscore, name)


def test_a_request_is_the_cores_and_more() -> None:
    request = Request("GET", "/chat?room=1", {"Upgrade": "websocket"})
    assert isinstance(request, wscore.Request)
    assert request == wscore.Request("GET", "/chat?room=1", {"Upgrade": "websocket"})
    assert request.client is None
    assert (request.scheme, request.username) == ("ws", None)
    assert request.info("peercert", "none") == "none"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionClosed(Reasons.NORMAL, ""), "1000 (normal closure)"),
        (ConnectionClosed(Reasons.NORMAL, "bye"), "1000 (normal closure): bye"),
        (ConnectionClosed(4000, "see you"), "4000 (private code): see you"),
        (
            ConnectionClosed(4000, "x\n#1 forged\x1b[2J\u2028\u202e\x9b"),
            "4000 (private code): x\\n#1 forged\\x1b[2J\\u2028\\u202e\\x9b",
        ),
        (IncompleteReadError(2, 4), "the data ended after 2 of 4 bytes"),
    ],
)
def test_what_exceptions_say(error: Exception, text: str) -> None:
    assert str(error) == text
    assert repr(error).isprintable()
