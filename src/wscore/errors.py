"""The exception for a caller's mistakes. What the peer does never raises one."""


class LocalProtocolError(Exception):
    """The caller asked for something that the connection's state does not allow.

    The message says what to do instead. The connection has not changed.
    """
