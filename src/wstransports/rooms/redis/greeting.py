"""The first words with a server: which protocol, who we are, what it is."""

from dataclasses import dataclass

from ..broker import BrokerLost
from .link import Link
from .resp import Argument, ErrorReply, Reply
from .url import RedisURL

# The oldest release of Redis that serves; Valkey began with 7.2.
OLDEST = 7

# The errors that may be quoted: others repeat what they were sent, the password included.
_QUOTED = ("BUSY", "DENIED", "LOADING", "MASTERDOWN", "NOAUTH", "NOPERM", "WRONGPASS")

_NOBODY = b"0" * 40


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a server's process."""

    id: str
    """Names it; the next one has another."""
    keeps: bool
    """Whether it loses nothing that it has answered when it ends, and began with all that the run
    before it had, if that was one that keeps."""


async def greet(link: Link, url: RedisURL) -> None:
    """Say hello and log in. Raises BrokerLost, also if this server does not serve."""
    hello: list[Argument] = ["HELLO", 3]
    if url.password:
        hello += ["AUTH", url.user or "default", url.password]
    try:
        said = await link.ask(*hello, "SETNAME", "wstransports")
    except ErrorReply as error:
        raise BrokerLost(f"{url}: {_refusal(error, url)}") from None
    if not isinstance(said, dict) or said.get(b"proto") != 3:
        raise BrokerLost(f"{url} does not answer as Redis does")
    name, version = _text(said.get(b"server")), _text(said.get(b"version"))
    major = version.partition(".")[0]
    if not major.isdigit() or int(major) < OLDEST:
        raise BrokerLost(
            f"{url} is {name} {version}, which is too old: use Redis {OLDEST} or later, or Valkey"
        )
    if said.get(b"mode") != b"standalone":
        raise BrokerLost(f"{url} runs as a {_text(said.get(b'mode'))}: use a single server")
    if said.get(b"role") != b"master":
        raise BrokerLost(f"{url} is a replica, which takes no messages: use its primary")


async def look_around(link: Link, url: RedisURL) -> Run:
    """Choose the database, and see which run of the server this is. Raises BrokerLost."""
    try:
        if url.db:
            await link.ask("SELECT", url.db)
        info = await link.ask("INFO", "server", "persistence", "replication")
    except ErrorReply as error:
        raise BrokerLost(f"{url} answers with an error: {error}") from error
    fields = {name: value for name, _, value in (line.partition(b":") for line in _lines(info))}
    if fields.get(b"loading") == b"1":
        raise BrokerLost(f"{url} is still loading its data")
    run = _text(fields.get(b"run_id", b""))
    if not run.isalnum():
        raise BrokerLost(f"{url} does not say its run_id")
    # A replica that became a primary may lack what its primary had.
    promoted = fields.get(b"master_replid2", _NOBODY) != _NOBODY
    lasting = fields.get(b"aof_enabled") == b"1" and not promoted
    return Run(run, keeps=lasting and await _writes_at_once(link))


async def _writes_at_once(link: Link) -> bool:
    """Whether the server has on disk what it has answered; False if it may not say."""
    try:
        policy = await link.ask("CONFIG", "GET", "appendfsync")
    except ErrorReply:
        return False
    return bool(policy == {b"appendfsync": b"always"})


def _refusal(error: ErrorReply, url: RedisURL) -> str:
    if error.code == "NOAUTH":
        return "the server wants a password: write it as in redis://user:password@host"
    if error.code in _QUOTED:
        return f"the server refuses: {error}"
    if "unknown command" in str(error):
        return f"the server is too old: use Redis {OLDEST} or later, or Valkey"
    return f"the server refuses HELLO with {error.code}"


def _text(value: Reply) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else repr(value)[:40]


def _lines(info: Reply) -> list[bytes]:
    return info.splitlines() if isinstance(info, bytes) else []
