"""Fixtures of this folder."""

import logging
import ssl
from collections.abc import Iterator

import pytest
import trustme

from kit.certificates import client_context, server_context
from kit.log import Log


@pytest.fixture(autouse=True)
def log() -> Iterator[Log]:
    """What was logged; nothing may be left that the test did not take."""
    log = Log()
    logging.getLogger().addHandler(log)
    yield log
    logging.getLogger().removeHandler(log)
    left = [record.getMessage() for record in log.records]
    assert not left, f"{len(left)} logged: {left[:3]}"


@pytest.fixture(scope="session")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's, and that of a client that trusts it."""
    authority = trustme.CA()
    return server_context(authority, "127.0.0.1"), client_context(authority)
