"""Mistakes of the user: each raises where it is made, and says what is wrong and what to do."""

import asyncio
import errno
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from kit.blocking_peer import BlockingPeer, connected
from kit.certificates import certificate_files
from kit.frames import BINARY, FIN, TEXT, Frame
from kit.in_thread import BOTH_LOOPS, NewLoop, serving
from wstransports import Buffer, Client, ConnectionClosed, WebSocketReader, WebSocketServer


def server(**keywords: Any) -> WebSocketServer:
    """A server with whatever arguments, right or wrong."""
    arguments: dict[str, Any] = {"addr": "127.0.0.1", "port": 0, **keywords}
    return WebSocketServer(**arguments)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that does not run."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


# --- Arguments


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"port": -1}, ValueError, r"port must be 1 to 65535, or 0 for a free one, not -1"),
        ({"port": 65536}, ValueError, r"port must be 1 to 65535, or 0 for a free one, not 65536"),
        ({"port": "8080"}, ValueError, "port must be .* not '8080'"),
        ({"port": 8080.0}, ValueError, r"port must be .* not 8080\.0"),
        ({"port": None}, ValueError, "port must be .* not None"),
        (
            {"addr": 2130706433},
            TypeError,
            "addr must be a host name or address as str, not 2130706433",
        ),
        ({"addr": b"127.0.0.1"}, TypeError, "addr must be .* str, not b'127.0.0.1'"),
        ({"timeout": -1}, ValueError, "timeout must be in seconds, 0 for never, not -1"),
        ({"timeout": None}, ValueError, "timeout must be in seconds, 0 for never, not None"),
        ({"timeout": "120"}, ValueError, "timeout must be in seconds, .* not '120'"),
        ({"timeout": float("inf")}, ValueError, "timeout must be .* 0 for never, not inf"),
        ({"timeout": float("nan")}, ValueError, "timeout must be .* 0 for never, not nan"),
        ({"open_timeout": -0.1}, ValueError, "open_timeout must be .* 0 for never, not -0.1"),
        ({"close_timeout": None}, ValueError, "close_timeout must be .* 0 for never, not None"),
        ({"max_message_size": 0}, ValueError, "max_message_size must be .* 1 or None, not 0"),
        ({"max_message_size": 1e6}, ValueError, "max_message_size must be an int .* 1000000.0"),
        ({"read_limit": 0}, ValueError, "read_limit must be an int of at least 1, not 0"),
        ({"read_limit": None}, ValueError, "read_limit must be .* at least 1, not None"),
        ({"max_connections": 0}, ValueError, "max_connections must be .* 1 or None, not 0"),
        ({"concurrent_messages": 0}, ValueError, "concurrent_messages must be .* 1, not 0"),
        ({"subprotocols": "chat"}, TypeError, "subprotocols must be a list .* put it in a list"),
        ({"subprotocols": b"chat"}, TypeError, "subprotocols must be a list"),
        ({"subprotocols": [b"chat"]}, TypeError, "subprotocols must be a list of str, but b'chat'"),
        ({"subprotocols": ["my chat"]}, ValueError, "'my chat' .* use letters"),
        ({"subprotocols": ["a", "b", "a"]}, ValueError, "subprotocols must be different"),
        (
            {"origins": "https://example.com"},
            TypeError,
            "origins must be a list .* put it in a list",
        ),
        ({"origins": [b"https://example.com"]}, TypeError, "origins must be a list of str or None"),
        (
            {"process_request": "/health"},
            TypeError,
            "process_request must be a function that takes a",
        ),
        ({"loop": 5}, TypeError, r"loop must be .* not 5: .*new_event_loop\(\)"),
        (
            {"loop": asyncio.new_event_loop},
            TypeError,
            "loop must be an event loop, not <function",
        ),
        ({"sock": 5}, TypeError, "sock must be a socket.socket, not 5"),
        ({"unix_path": 5}, TypeError, "unix_path must be a path, not 5"),
        ({"compresion": None}, TypeError, "unexpected keyword argument 'compresion'"),
    ],
)
def test_arguments(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        server(**arguments)


def test_a_socket_and_a_path_at_once() -> None:
    with socket.socket() as sock, pytest.raises(ValueError, match="exclude each other: pass one"):
        server(sock=sock, unix_path="/nowhere")


def test_a_socket_that_cannot_listen() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        with pytest.raises(ValueError, match="sock must be an open stream socket, not <socket"):
            server(sock=datagrams)
    with pytest.raises(ValueError, match=r"sock must be an open stream socket, not <.*\[closed\]"):
        server(sock=datagrams)


# --- Certificates


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key."""
    return write_certs(tmp_path_factory.mktemp("certs"))


def write_certs(folder: Path) -> tuple[Path, Path]:
    """A certificate and its key, made for this call."""
    return certificate_files(trustme.CA(), folder, "localhost")


@pytest.mark.parametrize("as_type", [str, Path])
@pytest.mark.parametrize(("missing", "kind"), [(0, "certificate"), (1, "key")])
def test_a_certificate_or_key_that_is_not_there(
    missing: int, kind: str, as_type: Callable[[Path], Any], certs: tuple[Path, Path]
) -> None:
    given = [as_type(path) for path in certs]
    given[missing] = as_type(Path("nowhere.pem"))
    with pytest.raises(FileNotFoundError, match=rf"there is no {kind} file 'nowhere\.pem'"):
        server(certs=tuple(given))


def test_a_key_that_does_not_fit(certs: tuple[Path, Path], tmp_path: Path) -> None:
    _, other_key = write_certs(tmp_path)
    with pytest.raises(ValueError, match="are not a certificate and its key") as caught:
        server(certs=(certs[0], other_key))
    assert str(certs[0]) in str(caught.value)
    assert str(other_key) in str(caught.value)


@pytest.mark.parametrize("content", ["", "no PEM at all", "-----BEGIN CERTIFICATE-----\nAA\n"])
def test_what_is_not_pem(content: str, certs: tuple[Path, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text(content)
    for pair in ((broken, certs[1]), (certs[0], broken), certs[::-1]):
        with pytest.raises(ValueError, match="are not a certificate and its key"):
            server(certs=pair)


def test_a_key_with_a_pass_phrase_is_not_asked_for_at_the_terminal(
    certs: tuple[Path, Path], tmp_path: Path
) -> None:
    key = tmp_path / "encrypted.pem"
    key.write_bytes(
        load_pem_private_key(certs[1].read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
    )
    with pytest.raises(ValueError, match="has a passphrase: .*SSLContext"):
        server(certs=(certs[0], key))


@pytest.mark.parametrize(
    "given",
    ["cert.pem", ("cert.pem",), ("cert.pem", None), ("a", "b", "c"), 5, ("a", 5), (b"a", b"b")],
)
def test_what_is_neither_a_pair_of_paths_nor_a_context(given: Any) -> None:
    with pytest.raises(
        TypeError, match=r"certs must be \(certfile, keyfile\) or an ssl.SSLContext"
    ):
        server(certs=given)


def test_a_context_for_clients() -> None:
    with pytest.raises(ValueError, match="for clients: .*PROTOCOL_TLS_SERVER"):
        server(certs=ssl.create_default_context())


# --- Listening


@BOTH_LOOPS
def test_an_address_in_use(new_loop: NewLoop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = (
            rf"cannot listen on 127\.0\.0\.1:{port} \(.*\): another program listens there;"
            " stop it, or use port 0"
        )
        loop = new_loop()
        with pytest.raises(OSError, match=words) as caught, server(port=port, loop=loop):
            pytest.fail("not reached")
        assert caught.value.errno == errno.EADDRINUSE
        loop.close()

        async def main() -> None:
            with pytest.raises(OSError, match=words):
                await server(port=port).__aenter__()
            with pytest.raises(OSError, match=words):
                await server(port=port).serve_forever()

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())


@BOTH_LOOPS
@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"addr": "no such host"}, "cannot listen on no such host:0 "),
        ({"addr": "192.0.2.1"}, r"cannot listen on 192\.0\.2\.1:0 "),  # RFC 5737: nobody's
        ({"unix_path": "/nowhere/at/all"}, "cannot listen on /nowhere/at/all "),
        ({"unix_path": "/" + "x" * 200}, "cannot listen on /xxx.* too long"),
    ],
)
def test_where_nobody_can_listen(where: dict[str, Any], words: str, new_loop: NewLoop) -> None:
    loop = new_loop()
    with pytest.raises(OSError, match=words), server(loop=loop, **where):
        pytest.fail("not reached")
    loop.close()


def test_a_server_that_could_not_listen_may_try_again(loop: asyncio.AbstractEventLoop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        again = server(port=port, loop=loop)
        with pytest.raises(OSError, match="another program listens"), again:
            pytest.fail("not reached")
    with again:
        assert again.port == port


# --- The forms


async def in_a_running_loop(use: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError, match=r"use `async with server:` or .*serve_forever\(\)`"):
        use()


@BOTH_LOOPS
def test_with_inside_of_a_running_loop(new_loop: NewLoop) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(in_a_running_loop(server().__enter__))
        runner.run(in_a_running_loop(server().run))
        runner.run(in_a_running_loop(server(loop=runner.get_loop()).run))


@BOTH_LOOPS
def test_a_loop_that_runs_already(new_loop: NewLoop) -> None:
    def use(loop: asyncio.AbstractEventLoop) -> None:
        words = "the server's loop runs already: use `async with"
        with pytest.raises(RuntimeError, match=words), server(loop=loop):
            pytest.fail("not reached")

    async def main() -> None:
        # In another thread, where no loop runs.
        await asyncio.to_thread(use, asyncio.get_running_loop())

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@BOTH_LOOPS
def test_a_loop_that_is_closed(new_loop: NewLoop) -> None:
    loop = new_loop()
    loop.close()
    closed = server(loop=loop)
    words = r"the server's loop is closed: .*new_event_loop\(\)"
    with pytest.raises(RuntimeError, match=words), closed:
        pytest.fail("not reached")
    with pytest.raises(RuntimeError, match=words):
        closed.run()


@pytest.mark.parametrize("given", [True, False])
def test_entering_twice(given: bool, loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(None)  # so that, where none is given, the block makes one
    words = "this server listens already: create another"
    twice = server(loop=loop if given else None)
    with twice:
        with pytest.raises(RuntimeError, match=words):
            twice.__enter__()
        with pytest.raises(RuntimeError, match=words):
            twice.run()
        with pytest.raises(RuntimeError, match=words):
            twice.loop.run_until_complete(twice.__aenter__())
        with pytest.raises(RuntimeError, match=words):
            twice.loop.run_until_complete(twice.serve_forever())
        assert twice.port != 0
    with twice:  # one block after the other is fine
        assert twice.port != 0
    assert twice.port == 0


@BOTH_LOOPS
def test_entering_twice_at_the_same_time(new_loop: NewLoop) -> None:
    async def main() -> None:
        twice = server()
        outcomes = await asyncio.gather(
            twice.__aenter__(), twice.__aenter__(), return_exceptions=True
        )
        [error] = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert isinstance(error, RuntimeError)
        assert "this server listens already" in str(error)
        assert twice.port != 0
        await twice.__aexit__(None, None, None)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def test_leaving_without_entering(loop: asyncio.AbstractEventLoop) -> None:
    left = server(loop=loop)
    words = "this server does not listen: enter the block first"
    for _ in range(2):
        with pytest.raises(RuntimeError, match=words):
            left.__exit__(None, None, None)
        with pytest.raises(RuntimeError, match=words):
            loop.run_until_complete(left.__aexit__(None, None, None))
        with left:
            assert left.port != 0


# --- Callbacks


def plain(*arguments: object) -> None:
    """Not `async def`."""


async def generator(*arguments: object) -> AsyncIterator[None]:
    """`async def`, but no coroutine function."""
    yield


async def proper(*arguments: object) -> None:
    """As it should be."""


class Callable_:
    """An object that can be called like an `async def` function."""

    async def __call__(self, *arguments: object) -> None:
        """As it should be."""

    async def method(self, *arguments: object) -> None:
        """As it should be, too."""


NOT_ASYNC = [
    pytest.param(plain, "'plain'", id="a plain function"),
    pytest.param(lambda *arguments: None, "'<lambda>'", id="a lambda"),
    pytest.param(functools.partial(plain, 1), "plain", id="a partial"),
    pytest.param(generator, "'generator'", id="an asynchronous generator"),
    pytest.param(Callable_, "'Callable_'", id="a class of asynchronous callables"),
    pytest.param(None, "None", id="None"),
    pytest.param(5, "5", id="a number"),
]

ASYNC = [
    pytest.param(proper, id="a function"),
    pytest.param(functools.partial(proper, 1), id="a partial"),
    pytest.param(functools.partial(functools.partial(proper, 1), 2), id="a partial of a partial"),
    pytest.param(Callable_(), id="an object"),
    pytest.param(Callable_().method, id="a method"),
]

DECORATORS = ["message", "ping", "pong", "closed"]


@pytest.mark.parametrize(("callback", "name"), NOT_ASYNC)
def test_on_connection_that_is_not_async(callback: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"on_connection must be `async def`, but .*{name}"):
        server().connection(callback)


@pytest.mark.parametrize("callback", ASYNC)
def test_on_connection_that_is_async(callback: Any) -> None:
    assert server().connection(callback) is callback


def in_on_connection(use: Callable[[Client], Awaitable[object]]) -> None:
    """Use a client in on_connection; then it must still work."""
    serve = server()

    @serve.connection
    async def on_connection(client: Client) -> None:
        await use(client)
        await client.writer.send("fine")

    with serving(serve) as port, connected(port) as peer:
        assert peer.frame() == Frame(FIN | TEXT, b"fine")
        peer.finish()


@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize(("callback", "name"), NOT_ASYNC)
def test_callbacks_of_a_client_that_are_not_async(callback: Any, name: str, decorator: str) -> None:
    async def use(client: Client) -> None:
        with pytest.raises(TypeError, match=f"on_{decorator} must be `async def`.*{name}"):
            getattr(client, decorator)(callback)

    in_on_connection(use)


@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize("callback", ASYNC)
def test_callbacks_of_a_client_that_are_async(callback: Any, decorator: str) -> None:
    async def use(client: Client) -> None:
        assert getattr(client, decorator)(callback) is callback

    in_on_connection(use)


# --- Sending


@pytest.mark.parametrize(
    ("misuse", "error", "words"),
    [
        (lambda client: client.writer.send(5), TypeError, "str .* or bytes-like .*, not int"),
        (lambda client: client.writer.send(None), TypeError, "or bytes-like .*, not NoneType"),
        (lambda client: client.writer.send(["a"]), TypeError, "or bytes-like .*, not list"),
        (lambda client: client.writer.send(Buffer()), TypeError, "or bytes-like .*, not Buffer"),
        (lambda client: client.writer.feed(5), TypeError, "Buffer or an iterable, .*, not int"),
        (lambda client: client.writer.feed("text"), TypeError, r"use send\(\) for one piece"),
        (lambda client: client.writer.feed(b"bytes"), TypeError, r"use send\(\) for one piece"),
        (
            lambda client: client.writer.feed([], 5),
            TypeError,
            "op_code must be DataType.TEXT, BINARY",
        ),
        (
            lambda client: client.writer.feed([], chunksize=0),
            ValueError,
            "chunksize .* at least 1 byte",
        ),
        (lambda client: client.writer.ping(bytes(126)), ValueError, "at most 125 .* 126: shorten"),
        (lambda client: client.writer.ping("text"), TypeError, "ping .* bytes-like, not str"),
        (
            lambda client: client.writer.pong(126, bytes(126)),
            ValueError,
            "at most 125 bytes, but this one has 126: shorten",
        ),
        (
            lambda client: client.writer.pong(3, b"four"),
            ValueError,
            r"has 4 bytes, not 3: write pong\(len\(payload\), payload\)",
        ),
        (lambda client: client.writer.pong(4, "four"), TypeError, "payload .* bytes-like"),
        (lambda client: client.writer.pong(b"four", 4), TypeError, r"pong\(len\(payload\), pa"),
        (lambda client: client.writer.fragment().send("a"), RuntimeError, "inside `async with`"),
        (lambda client: client.close(reason="x" * 124), ValueError, "123 bytes .* 124: shorten"),
        (lambda client: client.close(reason="é" * 62), ValueError, "123 bytes .* 124: shorten"),
        (lambda client: client.writer.close(1000, "x" * 124), ValueError, "123 bytes .* 124"),
        (
            lambda client: client.close(1000, b"reason"),
            TypeError,
            "reason must be a str, not bytes",
        ),
        (lambda client: client.close("1000"), ValueError, "1000 must not be sent in a Close: use "),
        (lambda client: client.close(1000.0), ValueError, "1000.0 must not be sent in a Close: "),
    ],
)
def test_sending(
    misuse: Callable[[Any], Awaitable[object]], error: type[Exception], words: str
) -> None:
    async def use(client: Client) -> None:
        with pytest.raises(error, match=words):
            await misuse(client)

    in_on_connection(use)


@pytest.mark.parametrize(
    "code", [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, 2**70]
)
def test_close_codes_that_may_not_be_sent(code: int) -> None:
    async def use(client: Client) -> None:
        words = f"{code} must not be sent in a Close: use 1000 to 1003, 1007 to 1014 or 3000 to 49"
        with pytest.raises(ValueError, match=words):
            await client.close(code)
        with pytest.raises(ValueError, match=words):
            await client.writer.close(code)

    in_on_connection(use)


def test_the_parts_of_a_message_are_of_one_type() -> None:
    async def use(client: Client) -> None:
        async with client.writer.fragment() as stream:
            with pytest.raises(TypeError, match="or bytes-like .*, not int"):
                await stream.send(5)  # type: ignore[arg-type]
            await stream.send("all ")
            with pytest.raises(TypeError, match="all str or all bytes: this one began with str"):
                await stream.send(b"bytes")
            with pytest.raises(RuntimeError, match="send its parts with stream.send"):
                await client.writer.send("another message")
            await stream.send("str")
        with pytest.raises(RuntimeError, match="inside `async with`"):
            await stream.send("more")

    serve = server()
    serve.connection(use)
    with serving(serve) as port, connected(port) as peer:
        assert [peer.frame(), peer.frame()] == [Frame(TEXT, b"all "), Frame(FIN, b"str")]
        peer.finish()


AFTER_CLOSE: list[Callable[[Client], Awaitable[object]]] = [
    lambda client: client.writer.send("text"),
    lambda client: client.writer.send(b"bytes"),
    lambda client: client.writer.send("text", force=True),
    lambda client: client.writer.ping(),
    lambda client: client.writer.pong(0, b""),
    lambda client: client.writer.feed(["text"]),
    lambda client: client.writer.fragment().__aenter__(),
    lambda client: client.receive(),
]


@pytest.mark.parametrize("use", AFTER_CLOSE)
def test_sending_after_a_close_of_ours(use: Callable[[Client], Awaitable[object]]) -> None:
    caught = used_after_close(use, lambda peer: peer.closed(), close=True)
    assert (caught.code, caught.reason) == (3000, "enough")  # the peer's answer (RFC 6455 7.1.6)
    assert str(caught) == "3000 (private code): enough"


@pytest.mark.parametrize("use", AFTER_CLOSE)
def test_sending_after_a_close_of_the_peers(use: Callable[[Client], Awaitable[object]]) -> None:
    caught = used_after_close(use, lambda peer: peer.finish(1001), close=False)
    assert (caught.code, caught.reason) == (1001, "")
    assert str(caught) == "1001 (going away)"


@pytest.mark.parametrize("use", AFTER_CLOSE)
def test_sending_after_a_loss(use: Callable[[Client], Awaitable[object]]) -> None:
    caught = used_after_close(use, lambda peer: peer.reset(), close=False)
    assert caught.code == 1006
    assert "1006 (connection lost without a Close)" in str(caught)


def used_after_close(
    use: Callable[[Client], Awaitable[object]], end: Callable[[BlockingPeer], object], close: bool
) -> ConnectionClosed:
    """What a use of a client raises once its connection is over."""
    serve = server()
    raised: Future[ConnectionClosed] = Future()

    @serve.connection
    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            assert client.writer.closed
            try:
                await use(client)
            except ConnectionClosed as error:
                assert error.client is client
                raised.set_result(error)

        if close:
            await client.close(3000, "enough")

    with serving(serve) as port, connected(port) as peer:
        end(peer)
        return raised.result()


# --- Reading


def test_a_callback_and_receive_exclude_each_other() -> None:
    async def callback_first(client: Client) -> None:
        client.message(proper)
        with pytest.raises(RuntimeError, match=r"use either that or receive\(\)"):
            await client.receive()
        with pytest.raises(RuntimeError, match=r"use either that or receive\(\)"):
            await anext(client)

    async def receive_first(client: Client) -> None:
        receiving = asyncio.create_task(client.receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="use either that or a callback"):
            client.message(proper)
        with pytest.raises(RuntimeError, match="another task is waiting in this client"):
            await client.receive()
        receiving.cancel()

    in_on_connection(callback_first)
    in_on_connection(receive_first)


def test_what_a_message_can_be_read_as() -> None:
    serve = server()

    @serve.connection
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            with pytest.raises(TypeError, match="kind must be str or bytes, .* not <class 'int'>"):
                await reader.get(int)  # type: ignore[arg-type]
            await client.writer.send(await reader.get(bytes))

    with serving(serve) as port, connected(port) as peer:
        peer.send("text")
        assert peer.frame() == Frame(FIN | BINARY, b"text")
        peer.finish()
