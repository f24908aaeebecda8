"""A plug-in of pytest: each test's outcome is a line in ``--rows FILE`` as soon as it is known."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.gpu_check.place import Row, RowFile


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--rows``."""
    parser.addoption("--rows", required=True, help="file of lines of JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to listen."""
    config.pluginmanager.register(_Kept(RowFile(Path(config.getoption("--rows")))))


class _Kept:
    def __init__(self, file: RowFile) -> None:
        self._file = file
        self._rows: dict[str, Row] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._file.begin(nodeid)
        self._rows[nodeid] = Row(state="done")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        before = self._rows[report.nodeid]
        seconds = before.seconds + report.duration
        if before.state == "done" and report.outcome != "passed":
            state = "failed" if report.failed else "skipped"
            self._rows[report.nodeid] = Row.model_validate(
                {"state": state, "reason": _reason(report), "seconds": seconds}
            )
        else:
            self._rows[report.nodeid] = before.model_copy(update={"seconds": seconds})

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._file.end(nodeid, self._rows.pop(nodeid))

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        """A file that cannot be collected is a failed row."""
        report: Any = yield
        if report.failed:
            self._file.end(report.nodeid, Row(state="failed", reason=_reason(report)))
        return report


def _reason(report: Any) -> str:
    """The line that says what is wrong."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[-1])
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return text[:2000]
