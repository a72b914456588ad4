"""The lines of a run's steps, as they are shown where nothing is live."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from kfp_suite.cli.progress import Progress
from kfp_suite.local.events import Cached, Event, Finished, Refused, Said, Started


def shown(*events: Event) -> list[str]:
    text = io.StringIO()
    with Progress(Console(file=text)) as progress:
        for event in events:
            progress(event)
    lines = re.sub(r" +", " ", text.getvalue())
    return re.sub(r"\d+\.\d s", "… s", lines).splitlines()


def test_a_step_that_refused_is_not_shown_as_done() -> None:
    assert shown(
        Cached("ingest"),
        Started("validate"),
        Said("validate", "7 anomalies"),
        Finished("validate", True),
        Refused("validate"),
        Started("record"),
        Finished("record", True),
    ) == ["· ingest cached", "! validate refused … s", "✓ record done … s"]


def test_the_last_line_is_shown_whatever_comes_after_it() -> None:
    assert shown(Started("train"), Finished("train", False)) == ["✗ train failed … s"]


def test_the_step_that_was_interrupted_is_shown() -> None:
    text = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Progress(Console(file=text)) as progress:
        progress(Started("train"))
        raise KeyboardInterrupt
    assert re.fullmatch(r"✗ train +interrupted +0\.\d s\n", text.getvalue())
