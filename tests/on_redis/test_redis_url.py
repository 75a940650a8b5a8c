"""Addresses of Redis servers: what they mean, and what is wrong with those that mean nothing."""

import ssl

import pytest

from wstransports.rooms.redis import RedisBroker
from wstransports.rooms.redis.url import RedisURL

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def test_all_parts() -> None:
    url = RedisURL.parse("rediss://ada:s%40%3Asame@Example.ORG:7000/12")
    assert (url.user, url.password, url.port, url.db) == ("ada", "s@:same", 7000, 12)
    address = url.address(CONTEXT, 5)
    assert (address.host, address.port) == ("example.org", 7000)
    assert (address.tls, address.server_hostname) == (CONTEXT, "example.org")
    assert address.handshake_timeout == 5


def test_defaults() -> None:
    url = RedisURL.parse("redis://localhost")
    assert (url.user, url.password, url.port, url.db) == ("", "", 6379, 0)
    address = url.address(None, 5)
    assert (address.tls, address.server_hostname) == (None, None)
    assert RedisURL.parse("redis://localhost/").db == 0


@pytest.mark.parametrize(
    "text", ["redis://:sesame@localhost/3", "redis://localhost?db=3&password=sesame"]
)
def test_a_password_alone_is_that_of_the_default_user(text: str) -> None:
    url = RedisURL.parse(text)
    assert (url.user, url.password, url.db) == ("", "sesame", 3)


def test_a_unix_socket() -> None:
    url = RedisURL.parse("unix://ada:sesame@/run/my%20redis.sock?db=2")
    assert (url.user, url.password, url.db) == ("ada", "sesame", 2)
    assert url.address(None, 5).unix_path == "/run/my redis.sock"
    assert str(url) == "unix:///run/my redis.sock?db=2"
    assert str(RedisURL.parse("unix:///run/redis.sock")) == "unix:///run/redis.sock"


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_shown_without_user_and_password(scheme: str) -> None:
    text = f"{scheme}://ada:sesame@[::1]:7000/1"
    assert str(RedisURL.parse(text)) == f"{scheme}://[::1]:7000/1"
    assert repr(RedisURL.parse(text)) == f"RedisURL('{scheme}://[::1]:7000/1')"
    assert repr(RedisBroker(text)) == f"RedisBroker('{scheme}://[::1]:7000/1')"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://localhost", "write redis://user:password@host:6379/0, rediss:// for TLS"),
        ("localhost:6379", "write redis://"),
        ("redis:localhost", "write redis://"),
        ("", "write redis://"),
        ("redis:///0", "it has no host: write redis://host"),
        ("redis://host:99999", "its host or port is malformed"),
        ("redis://host:0", "port 0 cannot be connected to"),
        ("redis://[::1", "its host or port is malformed"),
        ("redis://ho st", "its host or port is malformed"),
        ("redis://host/news", "the database is a number, as in redis://host/0, not 'news'"),
        ("redis://host?db=-1", "the database is a number"),
        ("redis://host/1?db=1", "it has two databases"),
        ("redis://host?ssl_cert_reqs=none", "'ssl_cert_reqs' is not an option: there are db,"),
        ("redis://ada:se#same@host", "percent-encode # in a password as %23"),
        ("redis://ada@host", "it has a user without a password"),
        ("unix://run/redis.sock", "write three slashes before the path"),
        ("unix:///", "write three slashes before the path"),
    ],
)
def test_an_error_names_the_mistake(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="is not a Redis address") as raised:
        RedisBroker(text)
    assert why in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "http://ada:sesame@localhost",
        "redis://ada:sesame@host:99999",
        "redis://ada:sesame@host/news",
        "redis://ada:ses#ame@host",
        "redis://ada:ses/ame@host",
        "redis://ada:ses?ame@host",
        "redis://host?password=sesame&x=1",
        "unix://ada:sesame@run/x",
    ],
)
def test_no_error_shows_the_password(text: str) -> None:
    with pytest.raises(ValueError) as raised:
        RedisBroker(text)
    assert "ses" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_wrong_arguments() -> None:
    def mistakes() -> list[tuple[type[Exception], str, dict[str, object]]]:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        return [
            (TypeError, "must be a str, not 7", {"url": 7}),
            (TypeError, "ssl must be an ssl.SSLContext, not True", {"ssl": True}),
            (ValueError, "ssl is for rediss:// addresses", {"ssl": CONTEXT}),
            (ValueError, "for servers", {"ssl": server, "url": "rediss://host"}),
            (ValueError, "timeout must be a number of seconds above 0, not 0", {"timeout": 0}),
            (ValueError, "timeout must be", {"timeout": "5"}),
            (ValueError, "prefix must be a str", {"prefix": ""}),
            (ValueError, "prefix must be a str", {"prefix": "{x}"}),
            (TypeError, "logger must be", {"logger": print}),
        ]

    for kind, why, options in mistakes():
        with pytest.raises(kind, match=why):
            RedisBroker(**{"url": "redis://host", **options})  # type: ignore[arg-type]
