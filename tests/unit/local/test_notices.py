"""Whom a run could not tell."""

from __future__ import annotations

import json
from pathlib import Path

from kfp_suite.local.notices import failed_notices


def leave(folder: Path, task: str, content: str) -> None:
    file = folder / task / "run_record" / "notices.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)


def test_what_was_not_sent_is_said_with_its_reason(tmp_path: Path) -> None:
    assert failed_notices(tmp_path) == []
    told = [
        {"channel": "slack", "sent": True, "why": ""},
        {"channel": "mlflow", "sent": False, "why": "no server"},
    ]
    leave(tmp_path, "record", json.dumps(told))
    leave(tmp_path, "evaluate", json.dumps([{"channel": "no", "sent": False, "why": "notice"}]))
    assert failed_notices(tmp_path) == ["mlflow: no server"]


def test_notices_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    leave(tmp_path, "record", "[1")
    (line,) = failed_notices(tmp_path)
    assert "notices.json: not valid JSON" in line
