"""What connecting through a proxy can raise, whatever the loop."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..options import proxies_missing, refused_by_proxy


@contextmanager
def through_proxy() -> Iterator[None]:
    """Connect through a proxy in this block: python-socks knows their protocols.

    Raises ImportError if python-socks is not installed, ConnectionError if the proxy refuses.
    """
    try:
        from python_socks import ProxyError
    except ImportError:
        raise proxies_missing() from None
    try:
        yield
    except (ProxyError, ValueError) as error:  # a refusal; an answer that makes no sense
        raise refused_by_proxy(error) from error
