"""The files of examples/deploy: nginx and HAProxy run with theirs, systemd understands its own."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from kit.certificates import client_context
from kit.frames import FIN, TEXT, masked, parse
from kit.handshake import REQUEST
from kit.in_thread import serving
from wscore import Request, Response
from wstransports import Client, WebSocketServer
from wstransports.server import RUNNER_TIME

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

DEPLOY = Path(__file__).parents[2] / "examples" / "deploy"


def installed(program: str) -> str:
    """The path of a program; skips the test without it."""
    path = shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """What signs the proxy's certificate, which is in cert.pem, key.pem and chat.pem."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "chat.pem")
    return authority


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server that says who a message comes from, by the proxy."""

    async def process_request(request: Request) -> Response | None:
        return Response(200) if request.path == "/health" else None

    server = WebSocketServer("127.0.0.1", 0, process_request=process_request)

    @server.connection
    async def on_connection(client: Client) -> None:
        async for message in client:
            assert isinstance(message, str)
            forwarded = "X-Forwarded-For" in client.request.headers
            await client.writer.send(f"{message} {client.request.headers['Host']} {forwarded}")

    with serving(server) as port:
        yield port


@contextmanager
def proxy(command: list[str], ready: str) -> Iterator[None]:
    """A proxy that runs; it says on stderr when it is ready."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said: list[str] = []
            while ready not in "".join(said[-1:]):
                said.append(process.stderr.readline())
                assert said[-1], "".join(said)
            yield
        finally:
            process.terminate()
            process.communicate()


def conversation(path: Path, authority: trustme.CA) -> bytes:
    """What a client gets for "Hello", through the proxy that listens at a path."""
    with socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(20)
        plain.connect(str(path))
        tls: ssl.SSLContext = client_context(authority)
        with tls.wrap_socket(plain, server_hostname="localhost") as stream:
            stream.sendall(REQUEST)
            data = b""
            while b"\r\n\r\n" not in data:
                data += stream.recv(4096)
            head, _, data = data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 "), head
            stream.sendall(masked(FIN | TEXT, b"Hello"))
            while (parsed := parse(data)) is None:
                data += stream.recv(4096)
            return parsed.frame.payload


def adapted(name: str, folder: Path, replaced: dict[str, str]) -> Path:
    """A file of examples/deploy with other addresses and paths, in a folder."""
    text = (DEPLOY / name).read_text()
    for old, new in {"/etc/chat": str(folder), **replaced}.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text)
    return path


def test_nginx(tmp_path: Path, port: int, authority: trustme.CA) -> None:
    kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    paths = "".join(f"{kind}_temp_path {tmp_path}/{kind}; " for kind in kinds)
    replaced = {
        "worker_rlimit_nofile 200000;": "",
        "100000": "100",
        "http {": f"http {{ access_log off; {paths}",
        "listen 443": f"listen unix:{tmp_path}/socket",
        "10.0.0.1:8765": f"127.0.0.1:{port}",
        "server 10.0.0.2:8765;": "",
    }
    config = adapted("nginx.conf", tmp_path, replaced)
    directives = f"daemon off; pid {tmp_path}/pid; error_log stderr notice;"
    command = [installed("nginx"), "-c", str(config), "-e", "stderr", "-g", directives]
    with proxy(command, "start worker process "):
        assert conversation(tmp_path / "socket", authority) == b"Hello localhost True"


def test_haproxy(tmp_path: Path, port: int, authority: trustme.CA) -> None:
    server = f"127.0.0.1:{port}"
    replaced = {
        "100000": "100",
        "bind :443": f"bind unix@{tmp_path}/socket",
        "10.0.0.1:8765": server,
        "10.0.0.2:8765": server,
    }
    config = adapted("haproxy.cfg", tmp_path, replaced)
    with proxy([installed("haproxy"), "-W", "-f", str(config)], "Loading success"):
        # A client of a Unix socket has no address to be forwarded.
        assert conversation(tmp_path / "socket", authority).startswith(b"Hello localhost ")


def test_systemd(tmp_path: Path) -> None:
    for name in ("chat.service", "chat.socket"):
        text = (DEPLOY / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/chat/venv/bin/python", "/bin/true"))
    command = [installed("systemd-analyze"), "verify", "--man=no"]
    units = [str(tmp_path / name) for name in ("chat.service", "chat.socket")]
    verified = subprocess.run([*command, *units], capture_output=True, text=True, check=False)
    assert "chat" not in verified.stderr, verified.stderr


def test_systemd_gives_workers_the_time_that_they_may_take() -> None:
    """By default, with a drain of 30 seconds, as the service's comment says."""
    service = RawConfigParser(strict=False)
    service.read(DEPLOY / "chat.service")
    server = WebSocketServer("127.0.0.1", 0)
    leave_time = server._acceptor.leave_time(30) + RUNNER_TIME
    assert leave_time == 61  # as docs/scaling.md says, too
    assert int(service["Service"]["TimeoutStopSec"]) > leave_time
    assert service["Service"]["KillMode"] == "mixed"
    assert "-HUP $MAINPID" in service["Service"]["ExecReload"]
