"""Close codes, as RFC 6455 section 7.4 and IANA's registry define them, and reasons as text."""

from enum import IntEnum
from typing import Self


class Reasons(IntEnum):
    """The registered close codes.

    Each has a `description`. `may_send` and `may_receive` say whether our Close frame and the
    peer's may carry it (RFC 6455 section 7.4.1).
    """

    description: str
    may_send: bool
    may_receive: bool

    def __new__(cls, code: int, description: str, may_send: bool, may_receive: bool) -> Self:
        member = int.__new__(cls, code)
        member._value_ = code
        member.description = description
        member.may_send = may_send
        member.may_receive = may_receive
        return member

    # fmt: off
    #                        code  description                             send   receive
    NORMAL =                (1000, "normal closure",                       True,  True)
    GOING_AWAY =            (1001, "going away",                           True,  True)
    PROTOCOL_ERROR =        (1002, "protocol error",                       True,  True)
    UNACCEPTABLE_DATA =     (1003, "unacceptable kind of data",            True,  True)
    RESERVED =              (1004, "reserved",                             False, False)
    NO_STATUS =             (1005, "no status code was given",             False, False)
    ABNORMAL_CLOSE =        (1006, "connection lost without a Close",      False, False)
    INCONSISTENT_DATA =     (1007, "data inconsistent with its type",      True,  True)
    POLICY_VIOLATION =      (1008, "policy violation",                     True,  True)
    MESSAGE_TOO_BIG =       (1009, "message too big",                      True,  True)
    EXTENSION_NOT_PRESENT = (1010, "extension not present",                True,  True)
    UNEXPECTED_CONDITION =  (1011, "unexpected condition",                 True,  True)
    SERVICE_RESTART =       (1012, "service restart",                      True,  True)
    TRY_AGAIN_LATER =       (1013, "try again later",                      True,  True)
    BAD_GATEWAY =           (1014, "bad gateway",                          True,  True)
    TLS_HANDSHAKE_FAILURE = (1015, "TLS handshake failure",                False, False)
    # fmt: on


# Codes of libraries and frameworks (3000) and of applications (4000), RFC 6455 section 7.4.2.
PRIVATE = range(3000, 5000)

_BY_CODE = {int(member): member for member in Reasons}


def reason_for(code: int) -> Reasons | int:
    """The `Reasons` member for a code, or the int itself if the code is not registered."""
    return _BY_CODE.get(code, code)


def may_receive(code: int) -> bool:
    """Whether a peer's Close frame may carry `code` (RFC 6455 sections 7.4.1 and 7.4.2)."""
    member = _BY_CODE.get(code)
    return member.may_receive if member is not None else code in PRIVATE


def may_send(code: int) -> bool:
    """Whether our Close frame may carry `code` (RFC 6455 sections 7.4.1 and 7.4.2)."""
    member = _BY_CODE.get(code)
    return member.may_send if member is not None else code in PRIVATE


def printable(text: str, most: int = 200) -> str:
    """`text` on one line of at most `most` characters, those that do not print escaped.

    Reasons are logged: a peer's line break would forge a log line.
    """
    text = text[:most]
    if not text.isprintable():
        text = "".join(
            [c if c.isprintable() else c.encode("unicode_escape").decode() for c in text]
        )
    return text[:most]
