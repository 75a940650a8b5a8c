"""The user chooses the engine that compresses. What engines do is tested in the other files."""

import copy
import pickle
import zlib
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from deflated import SENTENCE, agreed, deflated
from wire import ROLES, binary, encode, merged, receive, sent_frames

from kit.frames import BINARY, FIN, RSV1, Frame
from wscore import Deflate, PreparedMessage


def engine(asked: list[str]) -> Any:
    """zlib under another name, which writes down what it is asked for."""

    def compressobj(*arguments: Any) -> object:
        asked.append("compressobj")
        return zlib.compressobj(*arguments)

    def decompressobj(*arguments: Any) -> object:
        asked.append("decompressobj")
        return zlib.decompressobj(*arguments)

    made = ModuleType("counted")
    vars(made).update(
        compressobj=compressobj, decompressobj=decompressobj, error=zlib.error, asked=asked
    )
    return made


def test_it_is_zlib_unless_something_else_is_said() -> None:
    pytest.importorskip("zlib_ng.zlib_ng")
    assert Deflate().engine is zlib


@pytest.mark.parametrize("role", ROLES)
def test_it_does_the_work(role: str) -> None:
    asked: list[str] = []
    connection = agreed(role, extensions=[Deflate(engine=engine(asked))])
    frame = encode([Frame(FIN | RSV1 | BINARY, deflated(SENTENCE))], role)
    asked.clear()
    connection.send_message(SENTENCE)
    assert asked == ["compressobj"]
    [(first, _)] = sent_frames(connection.data_to_send(), role)
    assert first == FIN | RSV1 | BINARY
    assert merged(receive(connection, frame)) == [binary(SENTENCE)]
    assert asked == ["compressobj", "decompressobj"]


def test_each_compresses_what_many_get() -> None:
    """They may give different bytes."""
    first, second = engine([]), engine([])
    message = PreparedMessage(SENTENCE)
    for one in (first, second, first):
        settings = Deflate(engine=one)
        one.asked.clear()
        agreed("server", extensions=[settings]).send_prepared(message)
    assert (first.asked, second.asked) == ([], ["compressobj"])


def lacking(name: str) -> ModuleType:
    """An engine without that."""
    made: ModuleType = engine([])
    delattr(made, name)
    return made


def unable_to_copy() -> ModuleType:
    """As isal's decompressors are."""
    made: ModuleType = engine([])
    vars(made)["decompressobj"] = lambda bits: object()
    return made


def with_error(error: object) -> ModuleType:
    """An engine that raises that, it says."""
    made: ModuleType = engine([])
    vars(made)["error"] = error
    return made


WRONG = [
    None,
    "zlib_ng",
    lacking("compressobj"),
    lacking("decompressobj"),
    lacking("error"),
    with_error("zlib.error"),
    with_error(int),
    with_error(BaseException),
    unable_to_copy(),
    SimpleNamespace(**vars(engine([]))),  # nothing to look up by
]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_none(wrong: Any) -> None:
    with pytest.raises(TypeError, match="^engine must be zlib or a module like it, not "):
        Deflate(engine=wrong)


@dataclass(frozen=True)
class Labelled(Deflate):
    """Settings with one more."""

    label: str = ""


class Counting:
    """An engine that is not a module."""

    error = zlib.error
    compressobj = staticmethod(zlib.compressobj)
    decompressobj = staticmethod(zlib.decompressobj)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counting)

    def __hash__(self) -> int:
        return 1


@pytest.mark.parametrize(
    "settings",
    [
        Deflate(),
        Deflate(level=9, window_bits=15, takeover=False, threshold=0),
        Deflate(engine=Counting()),
        Labelled(label="x"),
    ],
)
def test_deflate_can_be_pickled_and_copied(settings: Deflate) -> None:
    settings.answer([])  # which it remembers
    others = [pickle.loads(pickle.dumps(settings, form)) for form in range(2, 6)]
    for other in (*others, copy.deepcopy(settings)):
        assert type(other) is type(settings)
        assert other == settings
        assert (other.engine is zlib) is (settings.engine is zlib)
        assert other.answer([]) is not None
