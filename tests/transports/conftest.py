"""Fixtures of this folder."""

import ssl

import pytest
import trustme

from kit.certificates import client_context, server_context
from kit.log import Log


@pytest.fixture(autouse=True)
def _all_logs_are_expected(log: Log) -> None:
    """Each test takes what is logged."""


@pytest.fixture(scope="session")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's, and that of a client that trusts it."""
    authority = trustme.CA()
    return server_context(authority, "127.0.0.1"), client_context(authority)
