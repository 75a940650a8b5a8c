"""What connecting through a SOCKS proxy can raise, whatever the loop."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ..runtime import CredentialsRefused


@contextmanager
def through_proxy() -> Iterator[None]:
    """Connect through a SOCKS proxy in this block: python-socks knows their protocols.

    Raises ImportError if python-socks is not installed, ConnectionError if the proxy refuses.
    """
    try:
        from python_socks import ProxyError
    except ImportError:
        raise _proxies_missing() from None
    try:
        yield
    except (ProxyError, ValueError) as error:  # a refusal; an answer that makes no sense
        # Its text is the proxy's, unescaped, and a traceback would show it.
        raise _refused_by_proxy(error) from (error if str(error).isprintable() else None)


def proxies(library: str) -> Any:
    """The class Proxy of python-socks for a loop."""
    return import_module(f"python_socks.async_.{library}").Proxy


def _proxies_missing() -> ImportError:
    """The error for a proxy without python-socks installed."""
    return ImportError(
        "a SOCKS proxy, given or the environment's, needs python-socks: "
        "pip install 'wstransports[proxy]', or give connect() proxy=None"
    )


# python-socks has no error code for rejected SOCKS 5 credentials, only these messages.
_CREDENTIALS_REFUSED = (
    "No acceptable authentication methods were offered",
    "Username and password authentication failure",
)


def _refused_by_proxy(error: Exception) -> ConnectionError:
    """The error for a proxy's refusal, which quotes at most 200 characters of the proxy's."""
    words = "".join([one if one.isprintable() else "?" for one in str(error)[:200]])
    refused = words in _CREDENTIALS_REFUSED
    return (CredentialsRefused if refused else ConnectionError)(f"the proxy refused: {words}")
