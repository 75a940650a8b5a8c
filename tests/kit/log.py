"""What was logged while a test ran."""

import logging
import re

import pytest


class Log(logging.Handler):
    """The warnings and errors that were logged. A test takes those that it expects."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """As a Handler."""
        self.records.append(record)

    def lines(self) -> list[str]:
        """All that was logged, each a single line about a client, without the client."""
        found = []
        for record in self.taken():
            assert record.name == "wstransports", record
            assert record.exc_info is None, record
            found.append(_about_client(record))
        return found

    def tracebacks(self) -> list[tuple[str, BaseException]]:
        """All that was logged, each a line about a client and an exception."""
        found = []
        for record in self.taken():
            assert record.name == "wstransports", record
            assert record.exc_info, record
            assert record.exc_info[1] is not None
            found.append((_about_client(record), record.exc_info[1]))
        return found

    def taken(self) -> list[logging.LogRecord]:
        """All that was logged, without the counts of lines that are at INFO."""
        taken, self.records = self.records, []
        return [one for one in taken if not one.getMessage().endswith(" were logged at INFO")]


def _about_client(record: logging.LogRecord) -> str:
    message = record.getMessage()
    found = re.fullmatch(r"#\d+(?: 127\.0\.0\.1:\d+)?: (.+)", message)
    assert found is not None, message
    return found[1]


def one_line(caplog: pytest.LogCaptureFixture) -> str:
    """The only line that was logged, without the connection's id; ours, and no traceback."""
    [record] = caplog.records
    assert record.name == "wstransports"
    assert record.exc_info is None
    message = record.getMessage()
    assert message == record.message  # a handler may format it after the connection is closed
    assert message.isprintable()
    return re.sub(r"^#\d+ ", "", message)
