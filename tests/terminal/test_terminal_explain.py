"""`explain`: bytes in any form, and what the exit status says of them."""

import runpy
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pseudo import run

from wscore import build_frame
from wstransports.terminal.octets import octets
from wstransports.terminal.program import main

HELLO = build_frame(1, "Hello")
LINE = '     0 frame: FIN=1 RSV=000 opcode=1(text) MASK=0 length=5 text="Hello"\n'

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    "words", [["810548656c6c6f"], ["81", "05", "48656c6c6f"], ["81:05:48:65:6C:6C:6F"]]
)
def test_hex_as_arguments(words: list[str], capsys: Capture) -> None:
    assert main(["explain", *words]) == 0
    assert capsys.readouterr().out == LINE


def test_bytes_with_a_fault(capsys: Capture) -> None:
    assert main(["explain", "--sender", "client", HELLO.hex()]) == 1
    assert capsys.readouterr().out == (
        LINE.rstrip("\n") + "  WRONG: a client must mask its frames (RFC 6455, 5.1)\n"
    )


def test_a_file(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "capture").write_bytes(HELLO * 2)
    assert main(["explain", "--file", str(tmp_path / "capture")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == LINE.rstrip("\n")


def test_stdin(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert run(["explain", "--format", "base64"], b64encode(HELLO), monkeypatch) == 0
    assert capsys.readouterr().out == LINE


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["8"], "this is not hex: write two digits for each byte"),
        (["--file", "/nowhere"], "No such file or directory: '/nowhere'"),
        (["81", "--file", "x"], "HEX and --file exclude each other"),
    ],
)
def test_what_cannot_be_read(arguments: list[str], complaint: str, capsys: Capture) -> None:
    assert main(["explain", *arguments]) == 2
    assert complaint in capsys.readouterr().err


XXD = """\
00000000: 8105 4865 6c6c 6f81 0548 656c 6c6f 8105  ..Hello..Hello..
00000010: 4865 6c6c 6f                             Hello
"""
HEXDUMP = """\
00000000  81 05 48 65 6c 6c 6f 81  05 48 65 6c 6c 6f 81 05  |..Hello..Hello..|
00000010  48 65 6c 6c 6f                                    |Hello|
00000015
"""


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("810548656c6c6f\n", HELLO),
        ("0x81, 0x05, 0x48,0x65,0x6c,0x6c,0x6f", HELLO),
        (r"\x81\x05\x48\x65\x6C\x6C\x6f", HELLO),
        (XXD, HELLO * 3),
        (HEXDUMP, HELLO * 3),
        ("gQVIZWxs\nbw==\n", HELLO),
        (r"b'\x81\x05Hello'", HELLO),
        ('b"\\x81\\x05Hello"\n', HELLO),
        ("", b""),
        ("GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n"),
        ("what is this?", b"what is this?"),
    ],
)
def test_forms_are_recognised(text: str, data: bytes) -> None:
    assert octets(text.encode()) == data


@given(st.binary())
def test_any_bytes_are_found_in_their_forms(data: bytes) -> None:
    assert octets(data.hex().encode()) == octets(data.hex(" ").encode(), "hex") == data
    assert octets(b64encode(data), "base64") == octets(data, "raw") == data
    assert octets(repr(data).encode()) == data


@given(st.binary())
def test_any_bytes_have_some_form(data: bytes) -> None:
    try:
        octets(data)
    except ValueError as error:
        assert "this is not a bytes literal" in str(error)  # only what looks like one
        assert data.lstrip().startswith(b"b")


@pytest.mark.parametrize(
    ("text", "form", "complaint"),
    [
        ("8g", "hex", "this is not hex"),
        ("abc", "base64", "this is not base64: "),
        (r"b'\x8'", "auto", "this is not a Python bytes literal"),
        ("b''+b''", "auto", "this is not a Python bytes literal"),
    ],
)
def test_forms_that_are_not_kept(text: str, form: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        octets(text.encode(), form)


def test_the_package_is_a_program(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("sys.argv", ["wstransports", "explain", "810548656c6c6f"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("wstransports", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out == LINE
