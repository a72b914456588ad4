"""A run in a terminal: what its user sees while it goes on, and when it ends."""

from __future__ import annotations

from pathlib import Path

from tests.terminal import COMMAND, terminal


def test_a_run_shows_its_steps_in_a_narrow_terminal(tmp_path: Path) -> None:
    run = (
        COMMAND,
        "run",
        "train_and_deploy",
        "--params",
        "penguins",
        "--param",
        "sql=SELECT spices FROM penguins",
    )
    with terminal(*run, cwd=tmp_path, columns=40) as shown:
        assert shown.wait() == 2
    screen = shown.screen
    assert "✓ resolve          done" in screen
    assert "✗ ingest           failed" in screen
    assert "- not run: validate, transform" in screen
    assert "running" not in screen
    assert "error: ingest: sql:" in shown.text
    assert "defect" not in screen
