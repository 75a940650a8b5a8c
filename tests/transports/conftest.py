"""Fixtures of this folder."""

import ssl

import pytest
import trustme

from kit.certificates import client_context, server_context
from kit.log import Log
from wstransports import batch
from wstransports.connection import session
from wstransports.sending import outbox


@pytest.fixture(autouse=True)
def _all_logs_are_expected(log: Log) -> None:
    """Each test takes what is logged."""


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output never leaves because it is old, so slow machines and coverage split no write."""
    for module in (outbox, session):
        monkeypatch.setattr(module, "GATHER_SECONDS", 60)
    monkeypatch.setattr(batch, "WORK_AT_ONCE", 60)


@pytest.fixture(scope="session")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's, and that of a client that trusts it."""
    authority = trustme.CA()
    return server_context(authority, "127.0.0.1"), client_context(authority)
