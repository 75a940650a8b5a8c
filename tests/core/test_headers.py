"""Header fields, the list grammars, and the two values made of them: Request and Response."""

from collections import OrderedDict
from enum import Enum
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wscore.headers import (
    Headers,
    MalformedHeader,
    _known_extensions,
    checked_tokens,
    extension_list,
    token_list,
    upgrade_list,
)
from wscore.request import Request
from wscore.response import Response

TOKENS = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8)
VALUES = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=12)


class Name(str, Enum):  # noqa: UP042  # a StrEnum formats as its value
    """Formats as what it is called, not as the str that it is."""

    HOST = "Host"


class TestHeaders:
    def test_names_have_no_case_and_repeats_are_joined(self) -> None:
        headers = Headers([("Via", "a"), ("HOST", "example.com"), ("via", "b")])
        assert headers["via"] == headers["VIA"] == "a, b"
        assert headers.get_all("Via") == ["a", "b"]
        assert headers["Host"] == "example.com"
        assert "hOST" in headers
        assert "cookie" not in headers
        assert headers.get("cookie") is None
        assert headers.get_all("cookie") == []
        with pytest.raises(KeyError):
            headers["cookie"]

    def test_members_of_an_enumeration_are_the_str_that_they_are(self) -> None:
        headers = Headers([(Name.HOST, Name.HOST)])
        assert headers.encode() == b"Host: Host\r\n"
        assert headers.pairs == (("Host", "Host"),)
        assert headers["host"] == "Host"

    def test_is_a_mapping_in_order_of_first_appearance(self) -> None:
        headers = Headers([("Via", "a"), ("Host", "h"), ("via", "b")])
        assert list(headers) == ["via", "host"]
        assert len(headers) == 2
        assert dict(headers) == {"via": "a, b", "host": "h"}
        assert headers.pairs == (("Via", "a"), ("Host", "h"), ("via", "b"))

    def test_what_get_all_returns_is_the_callers_own(self) -> None:
        headers = Headers({"Via": "a"})
        headers.get_all("via").append("b")
        assert headers.get_all("via") == ["a"]

    def test_made_from_mappings_pairs_and_itself(self) -> None:
        pairs = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        assert Headers(OrderedDict(A="1", B="2")).pairs == (("A", "1"), ("B", "2"))
        assert Headers(iter(pairs)).pairs == tuple(pairs)
        assert Headers(Headers(pairs)).pairs == tuple(pairs)
        assert Headers().pairs == ()

    def test_blanks_around_values_are_dropped(self) -> None:
        assert Headers({"A": " \tb c\t "})["a"] == "b c"
        assert Headers({"A": "\xa0b\x85"})["a"] == "\xa0b\x85"

    def test_equality_knows_no_case_of_names(self) -> None:
        assert Headers({"A": "1"}) == Headers({"a": "1"})
        assert Headers({"A": "1"}) != Headers({"a": "2"})
        assert Headers({"A": "b"}) != Headers({"A": "B"})
        assert Headers([("A", "1"), ("A", "2")]) != Headers([("A", "2"), ("A", "1")])
        assert Headers({"A": "1"}) != {"A": "1"}
        with pytest.raises(TypeError):
            hash(Headers())

    def test_repr(self) -> None:
        assert repr(Headers({"A": "1"})) == "Headers([('A', '1')])"

    @given(st.lists(st.tuples(TOKENS, VALUES)))
    def test_decode_undoes_encode(self, pairs: list[tuple[str, str]]) -> None:
        headers = Headers(pairs)
        assert Headers.decode(headers.encode()).pairs == headers.pairs

    def test_encode(self) -> None:
        assert Headers([("A", "1"), ("B", "\xe9")]).encode() == b"A: 1\r\nB: \xe9\r\n"

    @pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "\xe9", "a\0", " a", "(a)"])
    def test_a_name_is_a_token(self, name: str) -> None:
        with pytest.raises(ValueError, match="is not a header name: use letters"):
            Headers([(name, "x")])

    @pytest.mark.parametrize("value", ["a\r\nB: c", "\n", "\r", "a\0b", "\x7f", "\x0b", "\u20ac"])
    def test_a_value_stays_in_its_line(self, value: str) -> None:
        with pytest.raises(ValueError, match="the value of header A has line breaks"):
            Headers([("A", value)])

    @pytest.mark.parametrize(
        "headers",
        ["Host", b"Host", [("A", 1)], [(b"A", b"1")], [("A",)], {"A": 1}, [None]],
        ids=repr,
    )
    def test_a_field_is_a_pair_of_str(self, headers: Any) -> None:
        with pytest.raises(TypeError, match=r"a header must be a pair \(name, value\) of str"):
            Headers(headers)


class TestTokenLists:
    @pytest.mark.parametrize(
        ("values", "tokens"),
        [
            ([], []),
            ([""], []),
            ([", ,\t,"], []),
            (["Upgrade"], ["Upgrade"]),
            (["keep-alive, Upgrade"], ["keep-alive", "Upgrade"]),
            (["a,b ,\tc\t,"], ["a", "b", "c"]),
            (["keep-alive", "Upgrade, x"], ["keep-alive", "Upgrade", "x"]),
            (["!#$%&'*+-.^_`|~09azAZ"], ["!#$%&'*+-.^_`|~09azAZ"]),
        ],
    )
    def test_tokens(self, values: list[str], tokens: list[str]) -> None:
        headers = Headers([("Connection", value) for value in values])
        assert token_list(headers, "connection") == tokens

    @pytest.mark.parametrize("value", [";", "a b", "a;q=1", '"a"', "a, \xe9", "a/b", "a,,;;"])
    def test_malformed(self, value: str) -> None:
        with pytest.raises(MalformedHeader, match="malformed Connection header: .* is not a token"):
            token_list(Headers({"Connection": value}), "Connection")

    def test_the_message_is_short_however_long_the_header(self) -> None:
        with pytest.raises(MalformedHeader) as caught:
            token_list(Headers({"Connection": ";" * 16_000}), "Connection")
        assert len(str(caught.value)) < 100

    def test_upgrade_has_versions_too(self) -> None:
        headers = Headers([("Upgrade", "h2c, HTTP/2.0"), ("Upgrade", "WebSocket")])
        assert upgrade_list(headers) == ["h2c", "http/2.0", "websocket"]

    @pytest.mark.parametrize("value", ["a/", "/a", "a/b/c", "a;b", "web socket"])
    def test_malformed_upgrade(self, value: str) -> None:
        with pytest.raises(MalformedHeader, match="malformed Upgrade header"):
            upgrade_list(Headers({"Upgrade": value}))


class TestExtensionList:
    @pytest.mark.parametrize(
        ("values", "extensions"),
        [
            ([], []),
            ([", ,", "foo"], [("foo", [])]),
            (["foo"], [("foo", [])]),
            (["foo; bar; baz=2"], [("foo", [("bar", None), ("baz", "2")])]),
            (["foo;bar\t; baz = 2 , x"], [("foo", [("bar", None), ("baz", "2")]), ("x", [])]),
            (['foo; bar="2"'], [("foo", [("bar", "2")])]),
            (['foo; bar= "2" ;x'], [("foo", [("bar", "2"), ("x", None)])]),
            ([r'foo; bar="\2\a"'], [("foo", [("bar", "2a")])]),
            (["foo", "foo; a"], [("foo", []), ("foo", [("a", None)])]),
            (["foo; a; a=1"], [("foo", [("a", None), ("a", "1")])]),
        ],
    )
    def test_extensions(self, values: list[str], extensions: list[Any]) -> None:
        headers = Headers([("Sec-WebSocket-Extensions", value) for value in values])
        assert extension_list(headers) == extensions

    @pytest.mark.parametrize(
        "value",
        [
            "",
            ", ,",
            ";",
            "foo;",
            "; bar",
            "foo bar",
            "foo; bar=",
            "foo; =2",
            "foo; bar baz",
            "foo; bar=1=2",
            "foo=1",
            'foo; bar="',
            'foo; bar=""',
            'foo; bar="2',
            'foo; bar=2"',
            'foo; bar="a"b"',
            'foo; bar=" 2"',
            'foo; bar="a,b"',
            'foo; bar="a;b"',
            r'foo; bar="a\,b"',
            r'foo; bar="a\"',
            '"foo"',
            "foo, b\xe9r",
        ],
    )
    def test_malformed(self, value: str) -> None:
        with pytest.raises(MalformedHeader, match="malformed Sec-WebSocket-Extensions header"):
            extension_list(Headers({"Sec-WebSocket-Extensions": value}))

    def test_changing_one_list_changes_no_other(self) -> None:
        headers = Headers({"Sec-WebSocket-Extensions": "foo; bar"})
        extension_list(headers)[0][1].clear()
        assert extension_list(headers) == [("foo", [("bar", None)])]

    @pytest.mark.parametrize(("size", "kept"), [(100, 1), (10_000, 0)])
    def test_a_long_line_is_not_kept(self, size: int, kept: int) -> None:
        value = "a" * size
        before = _known_extensions.cache_info().misses
        for _ in range(2):
            assert extension_list(Headers({"Sec-WebSocket-Extensions": value})) == [(value, [])]
        assert _known_extensions.cache_info().misses - before == kept

    @given(st.text('ab"\\,;= \t', max_size=30))
    def test_any_text_is_a_list_or_malformed(self, value: str) -> None:
        headers = Headers({"Sec-WebSocket-Extensions": value})
        try:
            extensions = extension_list(headers)
        except MalformedHeader:
            return
        written = ", ".join(
            "; ".join([name] + [key if text is None else f'{key}="{text}"' for key, text in rest])
            for name, rest in extensions
        )
        assert extension_list(Headers({"Sec-WebSocket-Extensions": written})) == extensions


class TestCheckedTokens:
    def test_good(self) -> None:
        assert checked_tokens("subprotocols", ["chat", "v2.chat"]) == ("chat", "v2.chat")
        assert checked_tokens("subprotocols", ()) == ()

    @pytest.mark.parametrize(
        ("tokens", "error", "words"),
        [
            ("chat", TypeError, r"must be a list of str, not 'chat': write \['chat'\]"),
            (b"chat", TypeError, "must be a list of str"),
            ([1], TypeError, "1 is not a str"),
            (["a b"], ValueError, "'a b' is not allowed in subprotocols"),
            ([""], ValueError, "'' is not allowed in subprotocols"),
            (["a", "b", "a"], ValueError, "subprotocols must be different"),
        ],
    )
    def test_bad(self, tokens: Any, error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            checked_tokens("subprotocols", tokens)


class TestRequest:
    @pytest.mark.parametrize(
        ("target", "path", "query"),
        [
            ("/", "/", ""),
            ("/chat", "/chat", ""),
            ("/chat?room=1", "/chat", "room=1"),
            ("/a%2Fb?c?d/e", "/a%2Fb", "c?d/e"),
            ("//x/y?", "//x/y", ""),
            ("/go?to=http://x/y", "/go", "to=http://x/y"),
            ("http://host", "/", ""),
            ("http://host?q=/", "/", "q=/"),
            ("ws://host:1/chat?room=1", "/chat", "room=1"),
            ("http://host/go?to=http://x/y", "/go", "to=http://x/y"),
        ],
    )
    def test_path_and_query(self, target: str, path: str, query: str) -> None:
        request = Request("GET", target)
        assert (request.path, request.query) == (path, query)

    def test_what_it_has(self) -> None:
        headers = [
            ("Host", "example.com"),
            ("Upgrade", "foo/1, WebSocket"),
            ("Origin", "http://a"),
            ("Sec-WebSocket-Protocol", "chat"),
            ("Sec-WebSocket-Protocol", "v2, v1"),
        ]
        request = Request("GET", "/", headers)
        assert request.method == "GET"
        assert request.target == "/"
        assert request.is_upgrade
        assert request.subprotocols == ("chat", "v2", "v1")
        assert request.origin == "http://a"
        assert request.headers.pairs == tuple(headers)
        assert Request("GET", "/", request.headers) == request

    def test_an_ordinary_one(self) -> None:
        request = Request("GET", "/", {"Upgrade": "websocket/13"})
        assert not request.is_upgrade
        assert request.subprotocols == ()
        assert request.origin is None

    @pytest.mark.parametrize("name", ["Upgrade", "Sec-WebSocket-Protocol"])
    def test_malformed_lists(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"malformed {name} header"):
            Request("GET", "/", {name: ";;"})

    def test_state_is_made_once(self) -> None:
        request = Request("GET", "/")
        request.state.user = "ada"
        assert request.state == SimpleNamespace(user="ada")

    def test_equality_and_repr(self) -> None:
        request = Request("GET", "/", {"A": "1"})
        assert request == Request("GET", "/", {"a": "1"})
        assert request != Request("HEAD", "/", {"a": "1"})
        assert request != Request("GET", "/b", {"a": "1"})
        assert request != Request("GET", "/", {"a": "2"})
        assert request != "GET /"
        assert repr(request) == "Request('GET', '/', [('A', '1')])"
        with pytest.raises(TypeError):
            hash(request)


class TestResponse:
    def test_what_it_has(self) -> None:
        response = Response(HTTPStatus.NOT_FOUND, {"A": "1"}, "n\xf6")
        assert response.status == 404
        assert type(response.status) is int
        assert response.headers == Headers({"A": "1"})
        assert response.body == b"n\xc3\xb6"
        assert Response(200).body == b""
        assert Response(200, response.headers).headers is response.headers

    @pytest.mark.parametrize(
        "body",
        [b"ab", bytearray(b"ab"), memoryview(b"ab"), "ab"],
        ids=lambda body: type(body).__name__,
    )
    def test_bodies(self, body: Any) -> None:
        assert Response(200, (), body).body == b"ab"

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            (("404",), TypeError, "status must be an int such as 404, not '404'"),
            ((True,), TypeError, "status must be an int"),
            ((99,), ValueError, "status must be from 100 to 999, not 99"),
            ((1000,), ValueError, "status must be from 100 to 999, not 1000"),
            ((200, (), 5), TypeError, "body must be str or bytes, not int"),
            ((200, "text"), TypeError, "a header must be a pair"),
            ((200, {"A": "b\r\n"}), ValueError, "the value of header A has line breaks"),
        ],
    )
    def test_mistakes(self, arguments: Any, error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            Response(*arguments)

    def test_equality_and_repr(self) -> None:
        response = Response(200, {"A": "1"}, b"x")
        assert response == Response(200, [("a", "1")], "x")
        assert response != Response(201, {"A": "1"}, b"x")
        assert response != Response(200, {"A": "2"}, b"x")
        assert response != Response(200, {"A": "1"}, b"y")
        assert response != 200
        assert repr(response) == "Response(200, [('A', '1')], <1 bytes>)"
        with pytest.raises(TypeError):
            hash(response)
