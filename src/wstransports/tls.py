"""TLS of connections: the default context of clients, and the causes of failures."""

import os
import ssl
import threading

# What ssl.create_default_context() reads of the environment.
_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")

_lock = threading.Lock()
_default: tuple[list[str | None], ssl.SSLContext] | None = None


def kept_default_context() -> ssl.SSLContext | None:
    """The context that `default_context` made, if the environment is the same."""
    default = _default
    if default is not None and default[0] == [os.environ.get(name) for name in _VARIABLES]:
        return default[1]
    return None


def default_context() -> ssl.SSLContext:
    """The context of clients that were given none: it trusts the system's authorities.

    It is made once in a process, for loading their certificates takes 40 ms: call this in a thread.
    """
    global _default
    with _lock:
        context = kept_default_context()
        if context is None:
            variables = [os.environ.get(name) for name in _VARIABLES]
            context = ssl.create_default_context()
            _default = variables, context
        return context


def tls_cause(error: ssl.SSLError) -> str:
    """Why TLS failed, in OpenSSL's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate was rejected: {error.verify_message}"
    return (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
