"""A pytest plugin for uvicorn's own tests: they run with our protocol class.

Of all tests it keeps those that take uvicorn's fixture `ws_protocol_cls`, and gives them the class
of `--protocol` in place of uvicorn's. A test that `inapplicable` lists must fail or be skipped: if
it passes, the run fails. So it does if another test is skipped, and if a listed test is missing.
"""

from collections import Counter
from collections.abc import Generator
from importlib import import_module

import pytest
from inapplicable import INAPPLICABLE

FIXTURE = "ws_protocol_cls"

_expected: Counter[str] = Counter()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--protocol", required=True, help="the protocol class, as module:name")


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # A parameter of the test takes precedence over those of the fixture.
    if FIXTURE in metafunc.fixturenames:
        module, _, name = metafunc.config.getoption("protocol").partition(":")
        protocol = getattr(import_module(module), name)
        metafunc.definition.add_marker(pytest.mark.parametrize(FIXTURE, [protocol], ids=["ours"]))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = [one for one in items if FIXTURE in getattr(one, "fixturenames", ())]
    config.hook.pytest_deselected(items=[one for one in items if one not in chosen])
    items[:] = chosen
    if unknown := [
        key for key in INAPPLICABLE if not any(one.name.startswith(key) for one in items)
    ]:
        raise pytest.UsageError(f"inapplicable.py lists tests that do not exist: {unknown}")


def inapplicable(item: pytest.Item) -> str | None:
    """Why a test does not apply; None where it does."""
    return next((why for key, why in INAPPLICABLE.items() if item.name.startswith(key)), None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    reason = inapplicable(item)
    if reason is None:
        if report.skipped:
            report.outcome, report.longrepr = "failed", f"skipped: {report.longreprtext}"
    elif not report.passed:
        report.outcome, report.longrepr = "passed", None
        _expected[reason] += 1
    elif call.when == "call":
        report.outcome, report.longrepr = "failed", f"passes, and it is listed: {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _expected:
        terminalreporter.write_line("Do not apply, and do not pass:")
        for reason, count in _expected.items():
            terminalreporter.write_line(f"{count:4} {reason}")
