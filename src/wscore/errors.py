"""What the core raises: only ever the caller's fault, never the peer's."""


class LocalProtocolError(Exception):
    """The caller asked for what the connection's state does not allow.

    The message names the mistake and the mend; nothing has changed.
    """
