"""The notebook's helpers: runs that fail, are interrupted, or have no such report."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from markupsafe import Markup

from kfp_suite.contracts.errors import InputError, MissingError
from kfp_suite.contracts.run_record import RunRecord
from kfp_suite.local.events import (
    Cached,
    Event,
    Finished,
    Refused,
    Retried,
    Said,
    Started,
)
from kfp_suite.local.history import Step, find_run
from kfp_suite.local.local import LocalRun
from kfp_suite.notebook import html
from kfp_suite.notebook.live import Live
from kfp_suite.notebook.running import Result, _Progress, run

AT = "2026-02-03T04:05:06+00:00"
WHY = "accuracy 0.5 is below <0.999>"


@pytest.fixture
def result(tmp_path: Path) -> Result:
    """A run that published nothing, with one report."""
    folder = tmp_path / "train-and-deploy-1"
    (folder / "evaluate").mkdir(parents=True)
    (folder / "evaluate" / "evaluation_report").write_text('<!doctype html>\n<p>it\'s "good"</p>\n')
    evaluation = {"blessed": False, "reasons": [WHY], "metrics": {"accuracy": {"value": 0.5}}}
    record = RunRecord(folder.name, "1", "train_and_deploy", "SUCCEEDED", evaluation=evaluation)
    steps = (Step("ingest", "cached", 0.0), Step("evaluate", "succeeded", 1.25))
    return Result(LocalRun(folder, True, steps, record, {}, AT, AT))


def test_a_failed_run_is_the_step_s_line_and_is_in_the_history(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"label.*specie") as failed:
        run("train_and_deploy", "penguins", root=tmp_path, label="specie")
    assert "did you mean 'species'?" in str(failed.value)
    _, past = find_run(tmp_path, "latest")
    assert past.record.status == "FAILED"
    assert past.steps[-1].name == "record"
    assert {step.state for step in past.steps} == {"succeeded", "failed"}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_step_behind(how: signal.Signals, tmp_path: Path) -> None:
    """As Jupyter interrupts a cell, or its kernel dies: the kernel's process alone is told."""
    module, begun = tmp_path / "module.py", tmp_path / "begun"
    module.write_text(
        "import pathlib, time\n\n\ndef fit(training):\n"
        f"    pathlib.Path({str(begun)!r}).touch()\n    time.sleep(600)\n"
    )
    code = (
        "from kfp_suite.notebook.running import run; "
        f"run('train_and_deploy', 'penguins', root={str(tmp_path)!r}, module_file={str(module)!r})"
    )
    kernel = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    steps: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 200
        while not begun.exists():
            assert kernel.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        steps = psutil.Process(kernel.pid).children(recursive=True)
        assert len(steps) >= 2  # kfp's runner and the step
        kernel.send_signal(how)
        _, said = kernel.communicate(timeout=60)
        told = f"RunInterrupted: the run was interrupted; its record is in {tmp_path}/train-and-"
        assert how == signal.SIGKILL or told in said.splitlines()[-1]
        assert psutil.wait_procs(steps, timeout=20)[1] == []
        assert list(tmp_path.glob("*/evaluate")) == []
    finally:
        for process in steps:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        kernel.kill()
        kernel.wait()


def test_a_report_that_is_not_there_is_named(result: Result) -> None:
    with pytest.raises(MissingError, match=r"no report of 'evalaute'; .*did you mean 'evaluate'"):
        result.report("evalaute")
    shown = result.report("evaluate", height=99)._repr_html_()
    assert 'sandbox=""' in shown and 'height="99"' in shown
    assert "<p>" not in shown and "&lt;p&gt;it&#39;s &#34;good&#34;" in shown


def test_what_was_not_deployed_is_not_served(result: Result) -> None:
    with (
        pytest.raises(MissingError, match=r"the run deployed nothing; got accuracy 0\.5"),
        result.serve(),
    ):
        pytest.fail("served")


def test_a_result_shows_why_there_is_no_version(result: Result) -> None:
    shown = result._repr_html_()
    assert "accuracy 0.5 is below &lt;0.999&gt;" in shown
    assert "<b>accuracy</b>" in shown and "0.5" in shown
    assert "✓ succeeded" in shown and "· cached" in shown and "1.2 s" in shown
    assert "<b>model</b>" not in shown and "<b>digest</b>" not in shown


def test_progress_is_of_the_last_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(Live, "show", lambda _, content: shown.append(str(content)))
    progress = _Progress("All of <it>")
    events: list[Event] = [
        Started("push"), Finished("push", True), Started("push"), Said("push", "a word"),
        Retried("push", 2), Finished("push", False), Cached("record"),
        Started("evaluate"), Finished("evaluate", True), Refused("evaluate"),
    ]  # fmt: skip
    for event in events:
        progress(event)
    assert progress._steps == [
        ("push", "succeeded"),
        ("push", "failed"),
        ("record", "cached"),
        ("evaluate", "refused"),
    ]
    assert len(shown) == len(events) - 1
    assert shown[-1].startswith("<i>All of &lt;it&gt;</i><table>")


def test_outside_of_a_notebook_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Live().show(Markup("<b>here</b>"))
    assert capsys.readouterr() == ("", "")


def test_pieces_are_escaped_and_marked() -> None:
    table = html.table([["<a>", 1]], ["<h>"])
    assert "<th" in table and "&lt;h&gt;" in table and "&lt;a&gt;" in table
    assert html.facts({"a": None, "b": "", "c": 0}).count("<tr>") == 1
    assert "✗ failed" in html.state("FAILED")
    assert html.pretty({"é": "<"}) == "<pre>{\n  &#34;é&#34;: &#34;&lt;&#34;\n}</pre>"
