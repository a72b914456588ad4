"""A run in a terminal: what its user sees while it goes on, and when it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.terminal import COMMAND, terminal


@pytest.mark.parametrize(("columns", "term"), [(40, "xterm-256color"), (80, "dumb")])
def test_a_run_shows_its_steps_in_a_terminal(columns: int, term: str, tmp_path: Path) -> None:
    run = (COMMAND, "run", "train_and_deploy", "--params", "penguins", "--param", "sql=SELECT 1 +")
    with terminal(*run, cwd=tmp_path, columns=columns, term=term) as shown:
        assert shown.wait() == 2
    screen = shown.screen
    assert "✓ resolve          done" in screen
    assert "✗ ingest           failed" in screen
    assert "running" not in screen
    assert "error: ingest: sql:" in screen
    assert "defect" not in screen
