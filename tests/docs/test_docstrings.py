"""Every public name says what it is: units, what is raised, and the clause of the RFC.

Public is what `wscore` and `wstransports` export, and the public methods and properties of those
classes, inherited ones from our own bases included.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from itertools import pairwise
from types import FunctionType
from typing import Any, NamedTuple

import pytest

import wscore
import wstransports
import wstransports.sync

# Parameters and properties that are durations or moments, and those that are sizes.
SECONDS = {"now", "timeout", "open_timeout", "close_timeout", "shutdown_timeout", "latency"}
BYTES = {
    "limit", "n", "offset", "length", "max_size", "max_message_size", "read_limit", "write_limit",
    "chunksize", "drain_every", "taken", "waiting", "unsent",
}  # fmt: skip

# Classes of which neither RFC 6455 nor RFC 7692 says anything.
OUTSIDE_THE_RFC = {
    "BroadcastReport": "many connections: the RFCs know one",
    "Buffer": "bytes inside the process",
    "ConnectionClosed": "our exception",
    "ConnectionKeywords": "the keywords of a class that has the clauses",
    "Event": "the base of the events, each of which has its clause",
    "Headers": "HTTP: RFC 9110",
    "IncompleteReadError": "our exception",
    "LocalProtocolError": "our exception",
    "Response": "HTTP",
    "ServerKeywords": "the keywords of a class that has the clauses",
    "Statistics": "counters",
    "State": "the names of the WebSocket API of browsers",
}


class Public(NamedTuple):
    """A public name."""

    name: str
    thing: Any
    owner: type | None = None  # whose method or property it is

    @property
    def functions(self) -> list[FunctionType]:
        """The functions that implement it."""
        thing = self.thing
        if isinstance(thing, property):
            return [f for f in (thing.fget, thing.fset) if isinstance(f, FunctionType)]
        if isinstance(thing, classmethod | staticmethod):
            thing = thing.__func__
        if isinstance(thing, type):
            thing = init_of(thing)
        return [thing] if isinstance(thing, FunctionType) else []

    @property
    def docs(self) -> str:
        """Its own docstring, followed by that of its class."""
        owner = "" if self.owner is None else inspect.getdoc(self.owner) or ""
        return f"{inspect.getdoc(self.thing) or ''}\n{owner}"


def init_of(cls: type) -> FunctionType | None:
    """What is written to make an instance."""
    return vars(cls).get("__post_init__" if is_dataclass(cls) else "__init__")


def ours(thing: Any) -> bool:
    return getattr(thing, "__module__", "").partition(".")[0] in ("wscore", "wstransports")


def members_of(cls: type) -> Iterator[tuple[str, Any, type]]:
    """The public methods and properties that are written in src, and the class they stand in."""
    seen = set()
    for base in cls.__mro__:
        if ours(base):
            for name, member in vars(base).items():
                described = isinstance(member, FunctionType | property | classmethod)
                if described and not name.startswith("_") and name not in seen:
                    seen.add(name)
                    yield name, member, base


def public_names() -> Iterator[Public]:
    for package in wscore, wstransports, wstransports.sync:
        for name in package.__all__:
            thing = getattr(package, name)
            if package is wstransports and thing in vars(wscore).values():
                continue  # the same, met already
            yield Public(f"{package.__name__}.{name}", thing)
            if isinstance(thing, type):
                for member_name, member, owner in members_of(thing):
                    yield Public(f"{package.__name__}.{name}.{member_name}", member, owner)


NAMES = list(public_names())
CLASSES = [public for public in NAMES if isinstance(public.thing, type)]


def named(publics: list[Public]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("public", publics, ids=lambda public: public.name)


def test_the_names_were_found() -> None:
    found = {public.name for public in NAMES}
    assert "wscore.ServerConnection.receive_data" in found  # inherited
    assert "wstransports.Client.latency" in found  # a property
    assert "wscore.Headers.decode" in found  # a class method


@named(NAMES)
def test_it_has_a_docstring_of_its_own_that_begins_with_a_sentence(public: Public) -> None:
    thing = public.thing
    doc = vars(thing).get("__doc__") if isinstance(thing, type) else thing.__doc__
    assert doc, "no docstring"
    assert doc.splitlines()[0].endswith((".", ":", "?")), doc.splitlines()[0]


@named(CLASSES)
def test_it_names_its_attributes(public: Public) -> None:
    """In its docstring, or by a string after the assignment."""
    docs = "".join(docs_of(public.thing))
    members = {name for name, _, _ in members_of(public.thing)}
    unnamed = {
        attribute
        for base in public.thing.__mro__
        if ours(base)
        for attribute in undescribed_attributes(base)
        if f"`{attribute}`" not in docs
    }
    assert unnamed - members == set()


def undescribed_attributes(cls: type) -> Iterator[str]:
    """The public attributes set in `__init__`, and a dataclass's fields, that no string follows."""
    written = cls if is_dataclass(cls) else init_of(cls)
    if written is None:
        return
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(written))).body
    assert isinstance(tree, ast.FunctionDef | ast.ClassDef)
    for statement, after in pairwise([*tree.body, ast.Pass()]):
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            continue
        for node in ast.walk(statement):
            match node:
                case (
                    ast.Attribute(attr=name, ctx=ast.Store())
                    | ast.AnnAssign(target=ast.Name(id=name))
                ) if not name.startswith("_"):
                    yield name


def docs_of(cls: type) -> Iterator[str]:
    """The docstrings of a class, of its bases and of their members."""
    yield from (inspect.getdoc(base) or "" for base in cls.__mro__ if ours(base))
    yield from (member.__doc__ or "" for _, member, _ in members_of(cls))


@named(NAMES)
def test_it_names_its_units(public: Public) -> None:
    words = {parameter for f in public.functions for parameter in inspect.signature(f).parameters}
    if isinstance(public.thing, property):
        words.add(public.name.rpartition(".")[2])
    for word in words & SECONDS:
        assert has_unit(public, word, "second"), word
    for word in words & BYTES:
        assert has_unit(public, word, "byte"), word


def has_unit(public: Public, word: str, unit: str) -> bool:
    """Whether a method's docstring has the unit, or its class's has it in a sentence on `word`."""
    described = re.compile(rf"(?i)\b{unit}s?\b")
    if public.owner is None:
        about = inspect.getdoc(public.thing) or ""
    elif described.search(inspect.getdoc(public.thing) or ""):
        return True
    else:
        about = inspect.getdoc(public.owner) or ""
    sentences = re.split(r"(?<=\.)\s", about)
    return any(f"`{word}`" in one and described.search(one) for one in sentences)


@named(NAMES)
def test_it_names_what_it_raises(public: Public) -> None:
    raised = {name for function in public.functions for name in raised_by(function)}
    assert [name for name in sorted(raised) if name not in public.docs] == []


def raised_by(function: FunctionType) -> Iterator[str]:
    """The exceptions that a function itself raises by name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name))):
                yield name


@named(CLASSES)
def test_its_class_names_the_clause(public: Public) -> None:
    """Somewhere in the class: its docstring or one of its members'."""
    clause = any(
        re.search(r"RFC (6455|7692),? (section )?\d", doc) for doc in docs_of(public.thing)
    )
    assert clause is (public.thing.__name__ not in OUTSIDE_THE_RFC)
