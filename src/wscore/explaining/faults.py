"""What can be wrong with a frame, in the parser's words, and the clause that says so."""

CLAUSES = {
    "unknown opcode": "RFC 6455, 5.2",
    "reserved bits are set": "RFC 6455, 5.2",
    "a client must mask its frames": "RFC 6455, 5.1",
    "a server must not mask its frames": "RFC 6455, 5.1",
    "some frames are masked, others are not": "RFC 6455, 5.1",
    "a control frame is longer than 125 bytes or fragmented": "RFC 6455, 5.5",
    "a payload length is not in its shortest form": "RFC 6455, 5.2",
    "a payload length has its most significant bit set": "RFC 6455, 5.2",
    "a continuation frame without a message to continue": "RFC 6455, 5.4",
    "a new message before the end of a fragmented one": "RFC 6455, 5.4",
    "a data frame after a Close": "RFC 6455, 5.5.1",
    "a text message is not valid UTF-8": "RFC 6455, 8.1",
    "a Close with a payload of one byte": "RFC 6455, 5.5.1",
    "a Close with the invalid code": "RFC 6455, 7.4",
    "a close reason is not valid UTF-8": "RFC 6455, 5.5.1",
    "a compressed message": "RFC 7692, 7.2.2",
}


def fault(what: str, detail: str = "") -> str:
    """The fault `what`, one of CLAUSES, with its detail and its clause."""
    return f"{what}{detail and ' ' + detail} ({CLAUSES[what]})"
