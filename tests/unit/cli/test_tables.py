"""Tables on terminals of any width."""

from __future__ import annotations

import io
import re

import pytest
from rich.table import Table

from kfp_suite.cli.tables import print_whole

NAME = "train-and-deploy-2026-01-02-03-04-05-000000"


class Screen(io.StringIO):
    """A terminal or, if it is none, a pipe."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def printed(width: int, monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> str:
    screen = Screen(terminal=terminal)
    monkeypatch.setattr("sys.stdout", screen)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"COLUMNS": str(width), "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    table = Table("run", "outcome", "model", "metric", "why", box=None)
    table.add_row(NAME, "served", "plans/1", "accuracy 0.9", "")
    table.add_row(NAME, "not blessed", "plans", "-", "accuracy 0.5 is below the least, 0.9")
    print_whole(table)
    return re.sub(r"\x1b\[\d*m", "", screen.getvalue())


def test_a_narrow_terminal_has_a_block_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(50, monkeypatch, terminal=True).splitlines()
    assert all(len(line) <= 50 for line in lines)
    assert [line.rstrip() for line in lines if not line.startswith(" ")] == [NAME, NAME]
    told = " ".join(line.strip() for line in lines)
    assert "outcome: served, model: plans/1, metric: accuracy 0.9" in told
    assert "outcome: not blessed, model: plans, why: accuracy 0.5 is below the least, 0.9" in told


def test_a_wide_terminal_and_a_pipe_have_a_line_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    for width, terminal in ((200, True), (50, False)):
        header, *rows = printed(width, monkeypatch, terminal=terminal).splitlines()
        assert header.split() == ["run", "outcome", "model", "metric", "why"]
        assert [row.split()[0] for row in rows] == [NAME, NAME]
        assert rows[1].rstrip().endswith("accuracy 0.5 is below the least, 0.9")
