"""WebSocket addresses: what is one, and where redirects lead (RFC 6455 section 3)."""

import sys
from base64 import b64decode
from typing import Any

import pytest

from wscore import Headers, Request, Response
from wstransports import connect
from wstransports.address import Address
from wstransports.connecting.uri import URI, shown


@pytest.mark.parametrize(
    ("text", "secure", "host", "port", "target", "authority"),
    [
        ("ws://example.com", False, "example.com", 80, "/", "example.com"),
        ("wss://example.com/", True, "example.com", 443, "/", "example.com"),
        ("ws://example.com:80/", False, "example.com", 80, "/", "example.com"),
        ("ws://example.com:443/", False, "example.com", 443, "/", "example.com:443"),
        ("wss://example.com:80/", True, "example.com", 80, "/", "example.com:80"),
        ("ws://example.com:/", False, "example.com", 80, "/", "example.com"),
        ("WSS://EXAMPLE.com/Path", True, "example.com", 443, "/Path", "example.com"),
        ("ws://example.com?a=b", False, "example.com", 80, "/?a=b", "example.com"),
        ("ws://h/a/b;c=1?d=/e?f&g=%20", False, "h", 80, "/a/b;c=1?d=/e?f&g=%20", "h"),
        ("ws://h//a", False, "h", 80, "//a", "h"),
        ("ws://h/%e4?%e4", False, "h", 80, "/%e4?%e4", "h"),
        ('ws://h/ä"<>?ö=^', False, "h", 80, "/%C3%A4%22%3C%3E?%C3%B6=%5E", "h"),
        ("ws://127.0.0.1:8080/", False, "127.0.0.1", 8080, "/", "127.0.0.1:8080"),
        ("ws://[::1]/", False, "::1", 80, "/", "[::1]"),
        ("wss://[2001:DB8::1]:444/x", True, "2001:db8::1", 444, "/x", "[2001:db8::1]:444"),
        ("ws://bücher.example/", False, "xn--bcher-kva.example", 80, "/", "xn--bcher-kva.example"),
        ("ws://under_score.example/", False, "under_score.example", 80, "/", "under_score.example"),
        ("ws://user:pass@h:81/x", False, "h", 81, "/x", "h:81"),
    ],
)
def test_an_address_is_taken_apart(
    text: str, secure: bool, host: str, port: int, target: str, authority: str
) -> None:
    uri = URI.parse(text)
    assert (uri.secure, uri.host.name, uri.port, uri.target) == (secure, host, port, target)
    assert uri.authority == authority
    assert str(uri) == f"{'wss' if secure else 'ws'}://{authority}{target.partition('?')[0]}"
    connect(text)  # which builds the request too


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example."),
        # Other hosts by IDNA 2003: fass.example and βολοσ.example.
        ("faß.example", "xn--fa-hia.example"),
        ("βόλος.example", "xn--nxasmm1c.example"),
        ("ｅｘａｍｐｌｅ。com", "example.com"),
        ("日本語。jp", "xn--wgv71a119e.jp"),
    ],
)
def test_a_host_that_is_not_ascii_is_what_browsers_take_it_for(host: str, name: str) -> None:
    assert URI.parse(f"ws://{host}/").host.name == name


@pytest.mark.parametrize(
    "host", ["☃.example", "a\u200db.example", "\u0300a.example", "xn--ü.example"]
)
def test_a_host_that_is_not_a_domain_name_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="its host is not a domain name"):
        connect(f"ws://{host}/")


def test_without_the_package_a_host_is_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "idna", None)
    with pytest.raises(ValueError, match=r"pip install 'wstransports\[idna\]'.*xn--"):
        connect("ws://bücher.example/")
    connect("ws://xn--bcher-kva.example/")


@pytest.mark.parametrize(
    ("text", "dialled", "authority", "certified"),
    [
        ("wss://example.com./", "example.com.", "example.com.", "example.com"),
        ("wss://[fe80::1%25eth0]/", "fe80::1%eth0", "[fe80::1]", "fe80::1"),
        ("wss://[fe80::1%eth0]:80/", "fe80::1%eth0", "[fe80::1]:80", "fe80::1"),
        ("wss://[FE80::1%25Eth0]/", "fe80::1%Eth0", "[fe80::1]", "fe80::1"),
        ("wss://[fe80::1%252]/", "fe80::1%2", "[fe80::1]", "fe80::1"),
    ],
)
def test_a_host_as_each_wants_it(text: str, dialled: str, authority: str, certified: str) -> None:
    uri = URI.parse(text)
    assert (uri.host.dialled, uri.authority, uri.host.certified) == (dialled, authority, certified)
    assert uri.redirected("/x").host == uri.host
    assert uri.redirected("//other/x").host.dialled == "other"


@pytest.mark.parametrize(
    ("userinfo", "credentials"),
    [
        ("", None),
        ("user:pass@", "user:pass"),
        ("user@", "user:"),
        ("user:@", "user:"),
        (":pass@", ":pass"),
        ("us%65r:p%40ss%3a%2f@", "user:p@ss:/"),
        ("%C3%A9:%E2%82%AC@", "é:€"),
        ("a:b:c@", "a:b:c"),
    ],
)
def test_user_and_password(userinfo: str, credentials: str | None) -> None:
    """RFC 7617: in UTF-8, and decoded first."""
    authorization = URI.parse(f"ws://{userinfo}h/").authorization
    if credentials is None:
        assert authorization is None
    else:
        assert authorization is not None
        scheme, _, encoded = authorization.partition(" ")
        assert scheme == "Basic"
        assert b64decode(encoded).decode() == credentials


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "must begin with ws:// or wss://"),
        ("example.com", "must begin with ws:// or wss://"),
        ("http://example.com/", "must begin with ws:// or wss://"),
        ("//example.com/", "must begin with ws:// or wss://"),
        ("ws:/example.com", "has no host"),
        ("ws://", "has no host"),
        ("ws:///path", "has no host"),
        ("ws://:80/", "has no host"),
        ("ws://user@/", "has no host"),
        ("ws://h/#part", "its fragment"),
        ("ws://h/#", "its fragment"),
        ("ws://h:0/", "port 0"),
        ("ws://h:65536/", "host or port is malformed"),
        ("ws://h:http/", "host or port is malformed"),
        ("ws://h:-1/", "host or port is malformed"),
        ("ws://[::1/", "host or port is malformed"),
        ("ws://h<st/", "host or port is malformed"),
        ('ws://h"/', "host or port is malformed"),
        ("ws://h/a b", "percent-encode"),
        (" ws://h/", "percent-encode"),
        ("ws://h/\r\nX: y", "percent-encode"),
        ("ws://h/\0", "percent-encode"),
        (f"ws://{'a' * 64}.example/", "label"),
        ("ws://a..example/", "label"),
        ("ws://./", "label"),
        ("ws://" + "a." * 130 + "example/", "label"),
        ("ws://[fe80::1%25]/", "zone"),
        ("ws://[v1.a:b]/", "host or port is malformed"),
        ("ws://a%3Ab:c@h/", "colon"),
    ],
)
def test_what_is_not_an_address_is_refused_at_the_call(text: str, mistake: str) -> None:
    with pytest.raises(ValueError, match=mistake) as caught:
        connect(text)
    assert "is not a WebSocket address" in str(caught.value)


@pytest.mark.parametrize("uri", [None, b"ws://h/", 7])
def test_an_address_is_a_str(uri: object) -> None:
    with pytest.raises(TypeError, match="must be a str, not"):
        connect(uri)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "http://user:hunter2@h/",
        "ws://user:hunter2@h/#",
        "ws://user:hunter2@h:x/",
        "ws://user:hunter2@/",
        # not encoded as they must be, so that the password ends elsewhere, or not at all
        "ws://user:hunter2/@h/",
        "ws://user:hunter2#@h/",
        "ws://user:hunter2?@h:x/",
        "ws://user:hunter2@x@[h/",
        "ws://user:hunter2 @h/",
        "ws://user:hunter2@h\u2100/",
        "ws://us%3Aer:hunter2@h/",
        # without the slashes, without the scheme, with the @ encoded too, without the host
        "ws:user:hunter2@h/",
        "ws:/user:hunter2@h/",
        "user:hunter2@h/",
        "hunter2:@h/",
        "ws:\\\\user:hunter2@h/",
        "ws://user:hunter2%40h/",
        "ws://user:hunter2",
        "ws://user:hunter2/",
        "ws://user:1hunter2/",
        "ws://h:1/#hunter2",
        "ws://h:x/?hunter2",
    ],
)
def test_no_message_shows_a_password(text: str) -> None:
    with pytest.raises(ValueError, match="is not a WebSocket address") as caught:
        connect(text)
    assert "hunter2" not in str(caught.value)


def test_nothing_that_may_be_secret_is_printed() -> None:
    uri = URI.parse("wss://user:hunter2@example.com:444/chat?token=s3cret")
    assert str(uri) == "wss://example.com:444/chat"
    assert repr(uri) == "URI('wss://example.com:444/chat')"


def test_what_remains_of_an_address_helps_to_find_the_mistake() -> None:
    for text, rest in [
        ("http://h:80/x", "http://h:80/x"),
        ("h:80", "h:80"),
        ("ws:user:hunter2@h:80/x", "ws:h:80/x"),
        ("user:hunter2@h:80/x", "h:80/x"),
        ("ws://[::1:80/x", "ws://[::1:80/x"),
        ("ws://h:http/x", "ws://h:.../x"),
    ]:
        assert shown(text) == rest


def test_requests_hide_credentials_in_their_repr() -> None:
    """They are logged more often than it is thought about."""
    headers = {"Authorization": "hunter2", "COOKIE": "id=hunter2", "X": "shown"}
    proxied = [("Proxy-Authorization", "hunter2"), ("Set-Cookie", "id=hunter2")]
    for one in (
        Request("GET", "/", headers),
        Response(200, proxied),
        Headers(headers),
        Headers(proxied),
    ):
        assert "hunter2" not in repr(one)
    assert "('Authorization', '...'), ('COOKIE', '...'), ('X', 'shown')" in repr(Headers(headers))
    assert "hunter2" not in repr(Address("h", 1, proxy="http://user:hunter2@h:1"))


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": b"hunter2"},
        {"Authorization": ["hunter2"]},
        {"Authorization": "hunter2\n"},
        {"Authorization: hunter2": ""},
        ["Authorization: hunter2"],
        [("Authorization", "Bearer", "hunter2")],
        [("Authorization", 7)],
        [(b"hunter2", "")],
    ],
)
def test_no_error_about_a_header_shows_its_value(headers: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="header") as caught:
        connect("ws://h/", headers=headers)
    assert "hunter2" not in str(caught.value)


def test_a_long_address_is_cut_in_the_message() -> None:
    with pytest.raises(ValueError, match="begin with") as caught:
        URI.parse("x" * 10_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("start", "location", "target"),
    [
        ("ws://h/a/b?c", "d", "ws://h/a/d"),
        ("ws://h/a/b?c", "/d?e", "ws://h/d?e"),
        ("ws://h/a/b?c", "?e", "ws://h/a/b?e"),
        ("ws://h/a/b", "../x", "ws://h/x"),
        ("ws://h/a/b", "", "ws://h/a/b"),
        ("ws://h:81/a", "//other:82/x", "ws://other:82/x"),
        ("wss://h/a", "//other/x", "wss://other/x"),
        ("ws://h/a", "http://other/x", "ws://other/x"),
        ("ws://h/a", "https://h/x", "wss://h/x"),
        ("wss://h/a", "https://other/x", "wss://other/x"),
        ("ws://h/a", "WS://Other/x", "ws://other/x"),
        ("ws://h/a", "wss://other/x", "wss://other/x"),
        ("ws://h/a", "/x#part", "ws://h/x"),
        # As its UTF-8 comes out of a header.
        ("ws://h/a", "/caf\u00c3\u00a9?\u00e9", "ws://h/caf%C3%A9?%E9"),
        ("ws://[::1]:81/a", "x", "ws://[::1]:81/x"),
    ],
)
def test_where_a_redirect_leads(start: str, location: str, target: str) -> None:
    assert URI.parse(start).redirected(location) == URI.parse(target)


@pytest.mark.parametrize(
    ("start", "location", "mistake"),
    [
        ("wss://h/", "http://h/", "gives up encryption"),
        ("wss://h/", "ws://h/", "gives up encryption"),
        ("wss://h/", "WS://h/", "gives up encryption"),
        ("ws://h/", "ftp://h/", "not a WebSocket address"),
        ("ws://h/", "javascript:alert(1)", "not a WebSocket address"),
        ("ws://h/", "https://", "has no host"),
        ("ws://h/", "http://[/", "malformed"),
        ("ws://h/", "/a b", "percent-encode"),
        ("ws://h/", "//h:99999/", "malformed"),
    ],
)
def test_where_no_redirect_leads(start: str, location: str, mistake: str) -> None:
    with pytest.raises(ValueError, match=mistake):
        URI.parse(start).redirected(location)


@pytest.mark.parametrize("other", ["wss://h:81/a", "ws://h:82/a", "ws://g:81/a"])
def test_an_origin_is_scheme_host_and_port(other: str) -> None:
    origin = URI.parse("ws://user@h:81/a").origin
    assert origin == URI.parse("ws://h:81/b?c").origin
    assert origin != URI.parse(other).origin


@pytest.mark.parametrize(
    "location",
    [
        "ws://user:hunter2@h/",
        "ws:user:hunter2@h/",
        "user:hunter2@h/",
        "//user:hunter2@[",
        "wss:user:hunter2@h/",
    ],
)
def test_a_redirects_password_is_not_shown_either(location: str) -> None:
    with pytest.raises(ValueError, match="redirect|address") as caught:
        URI.parse("wss://h/").redirected(location)
    assert "hunter2" not in str(caught.value)
