"""Every snippet of the README and of docs/ is run: those with a server against a real peer."""

import json
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import pytest
import trustme
from running import (
    ASYNC_MAIN,
    CALLBACKS,
    IN_ON_CONNECTION,
    PATIENCE,
    PORT,
    SCRIPT,
    SOCKET,
    SOCKET_AND_CALLBACKS,
    Running,
    printed_by,
    program,
    running,
)
from snippets import PAGES, ROOT, SNIPPETS

from kit.blocking_peer import connected
from kit.frames import CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, Frame
from wscore import Deflate

BY_NAME = {snippet.name: snippet for snippet in SNIPPETS}

Play = Callable[[Running], None]

LOGGING = "import logging\nlogging.basicConfig(level=logging.INFO)\n"
SCENES: dict[str, tuple[str, Play]] = {}


def scene(name: str, around: str) -> Callable[[Play], Play]:
    """Register what a peer does with the server of a snippet, and what it expects."""

    def register(play: Play) -> Play:
        assert name not in SCENES
        SCENES[name] = around, play
        return play

    return register


# "Getting started" shows one program in parts: these surround the others.
FRAME = ["start-imports", "start-server", "start-run-forever"]
_IMPORTS, _SERVER, _RUN = (BY_NAME[name].code for name in FRAME)

# Snippets that others import, by the name that their page gives them.
FILES = {"adapter-streams": "stream_adapter.py", "adapters-hypercorn": "hypercorn_stream.py"}

# Snippets that start themselves again, which only a file can do.
WORKERS = ["scaling-systemd", "server-workers"]

# Snippets that pytest runs, and how many tests each has.
TESTS = {"testing-pytest": 3}
STARTED = f"{_IMPORTS}{_SERVER}{{}}\n{_RUN}loop.close()\n"
STARTED_CLIENT = STARTED.replace(
    "{}\n", "@socket.connection\nasync def on_connection(client):\n    {}\n"
)


# The servers of the snippets that connect to one.
ECHO = (SCRIPT, BY_NAME["readme-echo"].code)
PEERS = {
    "connecting-refused": (
        SOCKET,
        """
from wstransports import Request, Response, WebSocketServer

def process_request(request: Request) -> Response:
    return Response(503, {"Retry-After": "1"}, "come back later")

socket = WebSocketServer("127.0.0.1", 8765, process_request=process_request)
""",
    ),
    "connecting-again": (
        CALLBACKS,
        """
came = []

@socket.connection
async def on_connection(client: Client) -> None:
    came.append(client)
    if len(came) == 1:
        await client.close(1012)
    else:
        await client.writer.send(await client.receive())
""",
    ),
    "rooms-client": (
        SCRIPT,
        BY_NAME["rooms-resume"].code.partition("@socket.connection")[0]
        + """
@socket.connection
async def on_connection(client: Client) -> None:
    since = client.request.query_params.get("since")
    joined = await rooms["news"].join(client, since=since)
    if joined.resumed:
        await rooms.publish("news", "Goodbye")
        await client.close()
    else:
        await rooms.publish("news", "Hello")
        await client.close(1012)
        await rooms.publish("news", "What you missed")

socket.run()
""",
    ),
    "closing-wait": (
        CALLBACKS,
        """
@socket.connection
async def on_connection(client: Client) -> None:
    await client.writer.send("Hello")
    await client.close(1012)
""",
    ),
    "connecting-fresh": (
        CALLBACKS,
        """
@socket.connection
async def on_connection(client: Client) -> None:
    await client.receive()
""",
    ),
}


PEERS["closing-cleanly"] = PEERS["closing-wait"]
PEERS["sync-again"] = PEERS["connecting-again"]


def test_every_snippet_is_run_by_exactly_one_way() -> None:
    names = [snippet.name for snippet in SNIPPETS]
    printing = [snippet.name for snippet in SNIPPETS if snippet.output is not None]
    assert sorted(names) == sorted([*printing, *SCENES, *FRAME, *FILES, *TESTS, *WORKERS])
    assert len(PAGES) > 5  # the pages were found


@pytest.mark.slow
@pytest.mark.parametrize("name", [s.name for s in SNIPPETS if s.output is not None])
def test_it_prints_what_the_page_says(name: str, tmp_path: Path) -> None:
    snippet = BY_NAME[name]
    leave_out(name)
    for imported, file in FILES.items():
        (tmp_path / file).write_text(BY_NAME[imported].code)
    if PORT not in snippet.code:
        assert printed_by(snippet.code, tmp_path) == snippet.output
        return
    with running(program(*PEERS.get(name, ECHO)), tmp_path) as server:
        code = snippet.code.replace(PORT, str(server.port))
        assert printed_by(code, tmp_path).replace(str(server.port), PORT) == snippet.output


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTS)
def test_its_tests_pass(name: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(BY_NAME[name].code)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        cwd=tmp_path,
        check=False,
    )
    assert f"{TESTS[name]} passed" in run.stdout, run.stdout + run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_it_serves_as_the_page_says(name: str, tmp_path: Path) -> None:
    around, play = SCENES[name]
    leave_out(name)
    write_files(tmp_path)
    with running(program(around, BY_NAME[name].code), tmp_path) as server:
        play(server)


@pytest.mark.slow
def test_its_workers_serve_at_the_socket_of_systemd(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(BY_NAME["scaling-systemd"].code)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # As systemd does: descriptor 3, and then the program in the same process.
        start = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.executable, sys.argv[2:])"
        )
        given = [str(listening.fileno()), sys.executable, "-W", "error", str(file)]
        command = [sys.executable, "-c", start, *given]
        with subprocess.Popen(command, pass_fds=[listening.fileno()]) as process:
            with connected(listening.getsockname()[1]) as peer:
                peer.send("Hello")
                assert peer.message() == "Hello"
                process.terminate()
                assert peer.closed() == (1012, "")
    assert process.returncode == 0


@pytest.mark.slow
def test_its_workers_serve(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(LOGGING + BY_NAME["server-workers"].code.replace(PORT, "0"))
    with subprocess.Popen(
        [sys.executable, "-W", "error", file], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        listening = process.stderr.readline()
        found = re.search(r"listening on 127\.0\.0\.1:(\d+), workers: 2", listening)
        assert found, listening
        with connected(int(found[1])) as peer:
            greeting = peer.message()
            assert isinstance(greeting, str)
            assert re.fullmatch(r"served by \d+", greeting)
            assert greeting != f"served by {process.pid}"
            process.terminate()
            assert peer.closed() == (1012, "")
        process.communicate()
        assert process.returncode == 0


def leave_out(name: str) -> None:
    """Skip what cannot run here."""
    for prefix, needed in (
        ("asgi-", "uvicorn"),
        ("asgi-gunicorn", "uvicorn_worker"),
        ("streams-", "anyio"),
        ("trio-", "trio"),
        ("performance-uvloop", "uvloop"),
        ("counting-prometheus", "prometheus_client"),
        ("counting-opentelemetry", "opentelemetry.sdk"),
    ):
        if name.startswith(prefix):
            pytest.importorskip(needed, reason=f"{needed} is not installed")


def write_files(folder: Path) -> None:
    """The files that snippets name, and the certificate of the authority that signed theirs."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    (folder / "data.bin").write_bytes(bytes(100_000))


def test_the_example_is_the_echo_server_of_the_readme() -> None:
    example = (ROOT / "examples" / "echo.py").read_text()
    assert example.partition("\n\n")[2] == BY_NAME["readme-echo"].code


def end(server: Running) -> str:
    """Stop it; returns everything it printed."""
    server.interrupt()
    server.wait()
    return server.printed


# README.md


@scene("readme-echo", SCRIPT)
def _(server: Running) -> None:
    with server.connect() as peer:
        for message in "Hello ☺", b"\x00\xff", "":
            peer.send(message)
            assert peer.message() == message
        server.interrupt()
        assert peer.closed() == (1001, "")
    server.wait()


@scene("readme-callbacks", SCRIPT)
def _(server: Running) -> None:
    with server.connect() as one, server.connect() as two:
        one.send("to all")
        assert one.message() == two.message() == "to all"
        two.send(b"to all")
        assert one.message() == two.message() == b"to all"
        two.finish(4000, "enough")
        one.finish()
    came, gone = end(server).split("Gone", 1)
    assert came == "There were 0 before 127.0.0.1\nThere were 1 before 127.0.0.1\n"
    assert sorted(gone.split()) == ["1000", "4000", "Gone", "with", "with"]


@scene("readme-loop", CALLBACKS)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("one")
        peer.send("two")
        assert [peer.message(), peer.message()] == ["one", "two"]


@scene("readme-fragments", IN_ON_CONNECTION)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.part("no", last=False)
        assert peer.frame() == Frame(TEXT, b"Hello ")
        assert peer.frame() == Frame(FIN | CONTINUATION, b"World!")
        assert peer.frame().payload == b"no"  # sent on before its end is here
        peer.part("where", last=True)
        assert peer.frame().payload == b"where"


@scene("readme-broadcast", IN_ON_CONNECTION)
def _(server: Running) -> None:
    with server.connect() as one, server.connect() as two:
        one.send("to all")
        assert one.message() == two.message() == "to all"
    assert end(server) == "2 get it, 0 were too slow\n"


@scene("readme-async-with", ASYNC_MAIN)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("Hello")
        assert peer.message() == "Hello"
        server.interrupt()
        assert peer.closed() == (1001, "")
    server.wait()
    assert server.printed == f"Serving on port {server.port}\n"


@scene("readme-tls-and-http", SOCKET)
def _(server: Running) -> None:
    trusting = ssl.create_default_context(cafile=server.folder / "ca.pem")
    with server.connect(tls=trusting) as peer:
        peer.send("Hello")
        assert peer.message() == "Hello"
    health = server.refusal("/health", tls=trusting)
    assert (health.status, health.body) == (200, b"well\n")


# docs/getting-started.md


@scene("start-connection", STARTED)
def _(server: Running) -> None:
    with server.connect() as peer:
        server.interrupt()
        assert peer.closed() == (1001, "")
    server.wait()
    assert server.printed == (
        "We just got a new connection!\nThe server is going to close!\nThe server closed\n"
    )


@scene("start-with", f"{_IMPORTS}{_SERVER}{{}}loop.close()\n")
def _(server: Running) -> None:
    server.wait()
    assert server.printed == f"Serving on ('127.0.0.1', {server.port})\nThe server closed\n"


@scene("start-run", f"{_IMPORTS}{{}}")
def _(server: Running) -> None:
    with server.connect():
        pass


@scene("start-client", STARTED)
def _(server: Running) -> None:
    with server.connect() as peer:
        address = peer.name
        peer.finish()
    assert end(server).startswith(f"We just got a new connection from {address}!\n")


@scene("start-clients", STARTED)
def _(server: Running) -> None:
    with server.connect() as one, server.connect() as two:
        first, second = one.name, two.name
        two.finish()
        one.finish()
    assert end(server).startswith(f"Client {first} was here before {second}\n")


@scene("start-message", STARTED)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("Hello")
        peer.send(b"Hello")
        peer.finish()
    assert end(server).startswith(
        "The client sent the message 'Hello'.\nThe client sent the message b'Hello'.\n"
    )


@scene("start-send", STARTED)
def _(server: Running) -> None:
    with server.connect() as one, server.connect() as two:
        assert one.message() == "Somebody has joined."
        two.send(b"Hello")
        assert two.message() == "You just sent me the following message."
        assert two.message() == b"Hello"


@scene("start-fragments", STARTED_CLIENT)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("")
        assert [peer.frame().payload, peer.frame().payload] == [b"Hello ", b"World!"]


@scene("start-parts", STARTED_CLIENT)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.part("first ☺")
        peer.part("second", last=True)
        peer.finish()
    parts = re.findall("Here is some of it: '(.*)'", end(server))
    assert "".join(parts) == "first ☺second"


@scene("start-others", STARTED_CLIENT)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.ping(b"Are you there?")
        assert peer.frame() == Frame(FIN | PONG, b"Are you there?")
        peer.pong(b"unasked")
        peer.finish(1000, "bye")
    printed = end(server)
    assert "The client answered our ping b'unasked'.\n" in printed
    assert "The client is gone: <Reasons.NORMAL: 1000> bye\n" in printed


# docs/server.md


@scene("server-async-with", ASYNC_MAIN)
def _(server: Running) -> None:
    server.wait()
    assert server.printed == "Serving on 127.0.0.1\nThe server closed\n"


@scene("server-serve-forever", ASYNC_MAIN)
def _(server: Running) -> None:
    with server.connect() as peer:
        server.interrupt()
        assert peer.closed() == (1001, "")
    server.wait()


@scene("server-runner", ASYNC_MAIN)
def _(server: Running) -> None:
    with server.connect() as peer:
        server.interrupt()
        assert peer.closed() == (1001, "")
    server.wait()
    assert server.printed == "open a database here\nclose it here\n"


@scene("server-drain", ASYNC_MAIN)
def _(server: Running) -> None:
    with server.connect() as peer:
        server.interrupt()
        assert peer.closed() == (1012, "")
    server.wait()
    assert server.printed == "The server closed\n"


@scene("server-disconnect", IN_ON_CONNECTION)
def _(server: Running) -> None:
    with server.connect() as one, server.connect() as two:
        two.send("away")
        assert one.closed() == (1008, "away")
        two.finish()


@scene("server-process-request", SOCKET)
def _(server: Running) -> None:
    assert server.refusal("/health").status == 200
    assert server.refusal().status == 401
    with server.connect(headers={"Authorization": "Bearer sesame"}) as peer:
        peer.send("in")
        assert peer.message() == "in"


@scene("server-who-asks", SOCKET)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("let in")
        assert peer.message() == "let in"


@scene("server-accept", SOCKET)
def _(server: Running) -> None:
    for cookie, visits in (("visits=6", 7), ("visits=x", 1)):
        with server.connect(headers={"Cookie": cookie}) as peer:
            assert f"visits={visits};" in peer.answer().headers["Set-Cookie"]


@scene("server-select-subprotocol", SOCKET)
def _(server: Running) -> None:
    with server.connect(subprotocols=["chat.v1", "chat.v3", "other"]) as peer:
        assert peer.answer().headers["Sec-WebSocket-Protocol"] == "chat.v3"
    with server.connect(subprotocols=["other"]) as peer:
        assert "Sec-WebSocket-Protocol" not in peer.answer().headers


@scene("authentication-basic", SOCKET_AND_CALLBACKS)
def _(server: Running) -> None:
    refused = server.refusal()
    assert (refused.status, 'realm="chat"' in refused.headers["WWW-Authenticate"]) == (401, True)
    ann = {"Authorization": "Basic YW5uOmNvcnJlY3QgaG9yc2U="}
    with server.connect(headers=ann) as peer:
        assert peer.message() == "Hello ann"


@scene("authentication-bearer", SOCKET)
def _(server: Running) -> None:
    for value in ("Bearer", "Bearer x", "Basic sesame", "Bearer \xff"):
        assert server.refusal(headers={"Authorization": value}).status == 401
    with server.connect(headers={"Authorization": "bearer sesame"}) as peer:
        peer.send("let in")
        assert peer.message() == "let in"


@scene("authentication-cookies", SOCKET)
def _(server: Running) -> None:
    page = {"origin": "https://chat.example"}
    assert server.refusal(**page, headers={"Cookie": "session=x"}).status == 401
    with server.connect(**page, headers={"Cookie": "a=b; session=31d4d96e"}) as peer:
        peer.send("let in")
        assert peer.message() == "let in"


@scene("authentication-first-message", CALLBACKS)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("wrong")
        assert peer.closed() == (1008, "unknown token")
    with server.connect() as peer:
        peer.send("sesame")
        peer.send("let in")
        assert peer.message() == "let in"


@scene("server-origins", SOCKET)
def _(server: Running) -> None:
    server.logs = ".*: handshake failed: this origin is not allowed\n"
    assert server.refusal(origin="https://example.org").status == 403
    for origin in "https://example.com", None:
        with server.connect(origin=origin, subprotocols=["chat.v1", "chat.v2"]) as peer:
            assert peer.subprotocol == "chat.v2"


@scene("server-logging", CALLBACKS)
def _(server: Running) -> None:
    http = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    http.request("GET", "/")
    assert http.getresponse().status == 426
    http.close()
    server.logs = r"INFO:wstransports:#1 127\.0\.0\.1:\d+: .*\n"


@scene("logging-id", LOGGING + CALLBACKS)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("Hello")
        peer.finish()
    server.logs = r"INFO:root:#1 127\.0\.0\.1: 5 characters\n"


@scene("logging-adapter", LOGGING + SOCKET)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.raw(b"\xff\xff")
        assert peer.closed()[0] == 1002
    server.logs = r"WARNING:chat:\[chat\] #1 127\.0\.0\.1:\d+: failed with 1002, .*\n"


@scene("server-tls", SOCKET)
def _(server: Running) -> None:
    with server.connect(tls=ssl.create_default_context(cafile=server.folder / "ca.pem")):
        pass


# docs/client.md


@scene("client-concurrent", SOCKET_AND_CALLBACKS)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("slow")
        peer.send("fast")
        assert [peer.message(), peer.message()] == ["fast", "slow"]


@scene("client-data", CALLBACKS)
def _(server: Running) -> None:
    with server.connect("/?name=Ada") as ada, server.connect() as other:
        for number in range(2):
            ada.send("")
            assert ada.message() == f"Ada: {number + 1}"
        other.send("")
        assert other.message() == "Somebody: 1"
        ada.finish()
        other.finish()
    end(server)


@scene("client-loop", CALLBACKS)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("Ada")
        assert peer.message() == "Hello Ada"
        peer.send("it works")
        assert peer.message() == "Ada: it works"
        peer.finish()
    assert end(server) == "Ada has left\n"


# docs/reading.md


@scene("reading-get", IN_ON_CONNECTION)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("a")
        peer.send(b"b")
        peer.finish()
    assert end(server) == "text a\nbinary b'b'\n"


@scene("reading-json", IN_ON_CONNECTION)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send('{"count": 3}')
        assert peer.message() == "3 items"
        peer.send("three")
        assert peer.closed() == (1007, "not JSON: Expecting value: line 1 column 1 (char 0)")
    end(server)


@scene("reading-pieces", IN_ON_CONNECTION)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.part(bytes(100_000))
        peer.part(bytes(100_000), last=True)
        peer.finish()
    assert end(server) == "200000 characters or bytes\n"


@scene("reading-bytes", IN_ON_CONNECTION)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send(b"\x00\x03Adathe rest")
        peer.finish()
    assert end(server) == "b'Ada' b'the rest'\n"


# docs/sending.md


@scene("sending-to-all", IN_ON_CONNECTION)
def _(server: Running) -> None:
    with server.connect() as one, server.connect() as two:
        one.send("to all")
        assert one.message() == two.message() == "to all"
    assert end(server) == "2 0 0 0\n"


@scene("rooms", SCRIPT)
def _(server: Running) -> None:
    with server.connect() as one, server.connect() as two:
        for number in range(3):
            two.send(str(number))
            assert one.message() == two.message() == str(number)


@scene("rooms-resume", SCRIPT)
def _(server: Running) -> None:
    with server.connect() as one:
        welcome = json.loads(one.message())
        came = json.loads(one.message())
        assert (welcome["text"], came["text"]) == ("Welcome", "Somebody came")
        with server.connect(f"/?since={welcome['since']}") as two:
            assert json.loads(two.message()) == came
            assert json.loads(two.message())["text"] == "Somebody came"
            assert json.loads(one.message())["text"] == "Somebody came"


@scene("sending-ping", IN_ON_CONNECTION)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("how long?")
        ping = peer.frame()
        assert ping.first == FIN | PING
        peer.pong(ping.payload)
        assert peer.message() == "0 s"


@scene("sending-json", IN_ON_CONNECTION)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send('["a"]')
        assert peer.message() == '{"received": ["a"]}'


@scene("sending-nowait", CALLBACKS)
def _(server: Running) -> None:
    with server.connect() as peer:
        assert peer.message() == "127.0.0.1 is here"


@scene("sending-prepared", CALLBACKS)
def _(server: Running) -> None:
    for _ in range(2):
        with server.connect() as peer:
            assert peer.message() == "Welcome! " * 1000
        with server.connect(extensions=[Deflate()]) as peer:
            frame = peer.frame()
            assert frame.compressed
            assert len(frame.payload) < 100


@scene("sending-fragments", IN_ON_CONNECTION)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.part("a")
        peer.part("b")
        assert peer.frame().payload == b"a"
        peer.part("c", last=True)
        assert peer.rest() == b"bc"


@scene("sending-feed-reader", IN_ON_CONNECTION)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.part("a")
        assert peer.frame().payload == b"a"
        peer.part("b", last=True)
        assert peer.rest() == b"b"


@scene("sending-feed-iterable", IN_ON_CONNECTION)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("data.bin")
        assert peer.message() == bytes(100_000)


# docs/closing.md


@scene("closing-close", IN_ON_CONNECTION)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("stay")
        peer.send("bye")
        assert peer.closed() == (1000, "see you")
    assert end(server) == "<Reasons.NORMAL: 1000>, 'see you'\n"


@scene("closing-in-order", IN_ON_CONNECTION)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("What is it")
        peer.close(1000)
        assert peer.message() == "What is it: 42"
        assert peer.closed() == (1000, "")


# docs/compression.md


@scene("compression-settings", SOCKET_AND_CALLBACKS)
def _(server: Running) -> None:
    with server.connect(extensions=[Deflate(threshold=128)]) as peer:
        peer.send("x" * 1000)
        assert peer.message() == "x" * 1000
        assert peer.message() == b"a picture, already compressed"


# docs/performance.md


@scene("performance-uvloop", ASYNC_MAIN)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("Hello")
        assert peer.message() == "Hello"
        server.interrupt()
        assert peer.closed() == (1001, "")
    server.wait()


# docs/limits.md


@scene("limits-rates", SOCKET)
def _(server: Running) -> None:
    server.logs = r"#\d+ .*: closed with 1008, more messages a second than allowed\n"
    with server.connect() as peer:
        for number in range(90):
            peer.send(str(number))
        echoed = 0
        while (frame := peer.frame()).opcode == TEXT:
            echoed += 1
        assert (frame.opcode, frame.payload[:2]) == (CLOSE, (1008).to_bytes(2))
        assert echoed < 90
    with server.connect() as other:
        other.send("not too many")
        assert other.message() == "not too many"


@scene("limits-one-client", CALLBACKS)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("0123456789")
        assert peer.message() == "0123456789"
        peer.send("0123456789a")
        assert peer.closed()[0] == 1009
    server.logs = ".*: failed with 1009, .*\n"


@scene("limits-max-size", SOCKET_AND_CALLBACKS)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send(bytes(1_999_999))
        assert peer.message() == "1999999"
        peer.send(bytes(2_000_001))
        assert peer.closed()[0] == 1009


# docs/trio.md


@scene("trio-serve", SCRIPT)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("Hello")
        assert peer.message() == "Hello"
        server.interrupt()
        assert peer.closed() == (1001, "")
    server.wait()
    assert server.printed == f"Serving on port {server.port}\n"


# docs/streams.md


@scene("streams-serve", SCRIPT)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("Hello")
        assert peer.message() == "Hello"
        peer.finish()


@scene("streams-many", SCRIPT)
def _(server: Running) -> None:
    with server.connect() as one, server.connect() as two:
        one.send("one is set up")
        assert one.message() == "one is set up"
        two.send("to all")
        assert one.message() == "to all"
        assert two.message() in ("one is set up", "to all")


# docs/asgi.md


UNDER_UVICORN = BY_NAME["asgi-app"].code.replace(
    "ws=WebSocketProtocol", 'ws=Worker.CONFIG_KWARGS["ws"]'
)


@scene("asgi-gunicorn", f"{{}}\n{UNDER_UVICORN}")
@scene("asgi-app", SCRIPT)
def _(server: Running) -> None:
    server.logs = r"(INFO: .*\n)+"
    with server.connect() as peer:
        peer.send("Hello")
        assert peer.message() == "You sent Hello"
        server.interrupt()
        assert peer.closed() == (1012, "")
    server.wait()


# docs/counting.md


@scene("counting-prometheus", SCRIPT)
def _(server: Running) -> None:
    with server.connect() as peer:
        peer.send("Hello")
        assert peer.message() == "Hello"
        metrics = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        metrics.request("GET", "/metrics")
        lines = metrics.getresponse().read().decode().splitlines()
        metrics.close()
        assert "wstransports_messages_received_total 1.0" in lines


# docs/adapters.md


def test_the_adapter_on_the_page_has_about_a_hundred_lines() -> None:
    assert len(BY_NAME["adapter-streams"].code.splitlines()) < 100
