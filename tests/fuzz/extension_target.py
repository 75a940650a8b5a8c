"""Fuzzes how Sec-WebSocket-Extensions is read."""

from extension_reference import Element, Malformed
from extension_reference import extension_lists as read_slowly

from wscore.headers import Headers, MalformedHeader, extension_list


def extensions(data: bytes) -> None:
    """Any value of the field, in one or two fields."""
    values = data.decode("latin-1").split("\n")[:2]
    try:
        headers = Headers([("Sec-WebSocket-Extensions", value) for value in values])
    except ValueError:
        return  # no value of a field at all
    expected: list[Element] | None
    try:
        expected = read_slowly([value.strip(" \t") for value in values])
    except Malformed:
        expected = None
    expected = expected or None  # the list has one element at least
    found: list[Element] | None
    try:
        found = extension_list(headers)
    except MalformedHeader as error:
        assert str(error).isprintable()
        found = None
    assert found == expected, (values, found, expected)
