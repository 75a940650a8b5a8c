"""What the log must look like."""

import re

import pytest


def one_line(caplog: pytest.LogCaptureFixture) -> str:
    """The one line that was logged, by us, without a traceback, and without the connection's id."""
    [record] = caplog.records
    assert record.name == "wstransports"
    assert record.exc_info is None
    message = record.getMessage()
    assert message == record.message  # handlers may format later, when the connection is over
    assert message.isprintable()
    return re.sub(r"^#\d+ ", "", message)
