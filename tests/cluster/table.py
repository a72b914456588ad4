"""The table that the exam ends with: an entry a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.installation import Installation
from tests.cluster.versions import read_versions

MARKER = "entry"
_ENTRY = "exam entry"
_HEADER = ("exam entry", "result", "seconds", "figures")
_MAX_REASON = 300


@dataclass
class Row:
    """An entry of the exam.

    Attributes:
        outcomes: The outcome of each of its tests: passed, failed or skipped.
        seconds: How long they took.
        figures: What they measured.
        reasons: Why they failed or were skipped.
    """

    outcomes: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    figures: dict[str, object] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    @property
    def result(self) -> str:
        """`passed`, `FAILED` or `skipped`; for several tests, how many of them."""
        total, counts = len(self.outcomes), Counter(self.outcomes.values())
        if failed := counts["failed"]:
            return "FAILED" if total == 1 else f"FAILED: {failed} of {total}"
        if not counts["passed"]:
            return "skipped"
        return "passed" if total == 1 else f"passed: {counts['passed']} of {total}"

    def cells(self, title: str) -> tuple[str, ...]:
        """The row's cells, for Markdown."""
        told = [f"{name} {value}" for name, value in self.figures.items()]
        text = "; ".join([*told, *dict.fromkeys(self.reasons)])
        return title, self.result, f"{self.seconds:.0f}", text.replace("|", "\\|")


class Table:
    """A pytest plug-in: collects the tests that are marked as entries, and writes the table.

    Args:
        file: The Markdown file to write.
        versions: The versions that stand above the table; None: the installation's.
    """

    def __init__(self, file: Path, versions: Mapping[str, str] | None = None) -> None:
        self._file, self._versions = file, versions
        self._rows: dict[str, Row] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Let each report name its entry."""
        for item in items:
            if marker := item.get_closest_marker(MARKER):
                item.user_properties.append((_ENTRY, marker.args[0]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a phase of a test to its entry."""
        properties = dict(report.user_properties)
        title = properties.pop(_ENTRY, None)
        if title is None:
            return
        row = self._rows.setdefault(str(title), Row())
        row.seconds += report.duration
        row.figures.update(properties)
        ended = report.when == "call" or report.outcome != "passed"
        if ended and row.outcomes.get(report.nodeid) != "failed":
            row.outcomes[report.nodeid] = report.outcome
        if report.skipped and isinstance(report.longrepr, tuple):
            row.reasons.append(str(report.longrepr[2]).removeprefix("Skipped: "))
        elif report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            message = crash.message if crash else report.longreprtext
            row.reasons.append(" ".join(message.split())[:_MAX_REASON])
        if report.when == "teardown":
            self._write()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table."""
        terminalreporter.section("the exam")
        terminalreporter.write_line(self._write())
        terminalreporter.write_line(f"written to {self._file}")

    def _write(self) -> str:
        """Write the table as it is now, for sessions that are killed, too."""
        if self._versions is None:
            self._versions = read_versions(Installation.from_environment())
        text = render(self._rows, self._versions, datetime.now(UTC))
        self._file.write_text(text)
        return text


def render(rows: Mapping[str, Row], versions: Mapping[str, str], at: datetime) -> str:
    """The table as Markdown, below the date and the versions."""
    on = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [_HEADER, ("---",) * len(_HEADER), *(row.cells(title) for title, row in rows.items())]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"Run on {at:%Y-%m-%d}: {on}.\n\n{table}\n"
