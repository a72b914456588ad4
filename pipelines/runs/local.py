"""Run a pipeline on this machine, in a child process, and keep what it said."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kfp_suite.components.contracts.digests import PREFIX
from kfp_suite.components.contracts.environment import code_digest
from kfp_suite.components.contracts.errors import (
    InputError,
    KfpSuiteError,
    ParameterError,
    RunError,
    store_error,
)
from kfp_suite.components.contracts.run_record import RECORD, RunRecord, read_record
from kfp_suite.pipelines.runs.events import Cached, Event, Finished, LogReader, Started
from kfp_suite.pipelines.runs.history import PastRun, Step, write_run
from kfp_suite.pipelines.runs.staging import with_originals
from kfp_suite.pipelines.runs.worker import Job

RECORD_TASK = "record"
LOG = "run.log"
PARAMETERS = "parameters.json"


@dataclass(frozen=True)
class LocalRun:
    """A finished run: its folder, its steps, and the record that its exit handler wrote.

    `started_at` and `finished_at` are ISO 8601 times with a zone.
    """

    folder: Path
    succeeded: bool
    steps: tuple[Step, ...]
    record: RunRecord
    parameters: dict[str, Any] = field(repr=False)
    started_at: str
    finished_at: str

    @property
    def manifest(self) -> str:
        """The manifest of the endpoint to start on this machine; empty where there is none."""
        endpoint = self.record.endpoint or {}
        here = self.succeeded and endpoint.get("target", "local") == "local"
        return str(endpoint.get("manifest") or "") if here else ""

    @property
    def failure(self) -> KfpSuiteError | None:
        """The error of a run that failed: the step's own line, with the step's own exit code."""
        if self.succeeded:
            return None
        log, data = self.folder / LOG, Root(self.folder.parent).data
        if not self.record.errors:
            failed = [step.name for step in self.steps if step.state == "failed"]
            what = f"step {', '.join(failed) or '?'} failed without a word"
            return RunError(what, fix=f"read {log}")
        first = self.record.errors[0]
        where = f"{first['step']}: {first['where']}" if first["where"] else first["step"]
        kind = InputError if first["exit_code"] == InputError.exit_code else RunError
        return kind(
            first["what"],
            where=with_originals(where, data),
            got=None if first["got"] is None else with_originals(first["got"], data),
            expected=first["expected"],
            fix=first["fix"] or f"read {log}",
        )

    def keep(self, endpoint: dict[str, Any] | None) -> None:
        """Write `run.json` into its folder, with what came of the check of its endpoint."""
        past = PastRun(
            record=self.record,
            parameters=self.parameters,
            steps=self.steps,
            started_at=self.started_at,
            finished_at=self.finished_at,
            endpoint=endpoint,
        )
        write_run(self.folder, past)


@dataclass(frozen=True)
class Root:
    """A folder for runs: `data/`, `cache/`, `models/` and one folder a run."""

    path: Path

    @property
    def data(self) -> Path:
        """Staged sources, named by content."""
        return self.path / "data"

    @property
    def models(self) -> Path:
        """The default store."""
        return self.path / "models"

    @property
    def cache(self) -> Path:
        """KFP's local cache, per version of our code: its key never sees installed code."""
        return self.path / "cache" / code_digest().removeprefix(PREFIX)[:16]


def open_root(path: Path) -> Root:
    """A root for runs, created where it is not there.

    Raises:
        ParameterError: the path holds `python3`, which kfp's runner replaces in arguments.
        StoreError: it is not writable.
    """
    path = path.absolute()
    if "python3" in str(path):
        raise ParameterError(
            "kfp's local runner replaces 'python3' in every path",
            where="--root",
            got=str(path),
            fix="choose a folder whose path does not contain 'python3'",
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise store_error(error, path) from error
    return Root(path)


def run_locally(
    pipeline: str,
    arguments: dict[str, Any],
    root: Root,
    *,
    runner: str = "subprocess",
    network: str = "",
    caching: bool = True,
    on_event: Callable[[Event], None],
) -> LocalRun:
    """Run `pipeline` to its end and return what it made.

    Args:
        pipeline: The name of a pipeline of the suite.
        arguments: Its complete parameters.
        root: Where the run's folder is made.
        runner: `subprocess` or `docker`.
        network: The Docker network of the containers; empty: Docker's own.
        caching: Reuse the outputs of cached steps.
        on_event: Called with each event as it happens.

    Raises:
        RunError: the pipeline ended without a run record.
    """
    started_at = _now()
    job = Job(pipeline, arguments, str(root.path), runner, network, caching, str(root.cache))
    follower = _Follower(root, on_event)
    child = subprocess.Popen(
        [sys.executable, "-u", "-m", "kfp_suite.pipelines.runs.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # with its steps: they end together
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        with child.stdin as stdin:
            json.dump(asdict(job), stdin)
        for line in child.stdout:
            follower.read(line)
        succeeded = child.wait() == 0
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        child.stdout.close()
    folder = follower.close(arguments)
    record_file = folder / RECORD_TASK / "run_record" / RECORD
    if not record_file.is_file():
        raise RunError(
            "the pipeline ended without a run record",
            where=folder,
            got=follower.last_line,
            fix=f"read {folder / LOG}",
        )
    record, steps = read_record(record_file), tuple(follower.steps)
    return LocalRun(folder, succeeded, steps, record, arguments, started_at, _now())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class _Follower:
    """Keeps the log, the run's folder and the time of each step."""

    def __init__(self, root: Root, on_event: Callable[[Event], None]) -> None:
        self.steps: list[Step] = []
        self.last_line = ""
        self._on_event = on_event
        self._reader = LogReader()
        self._started = time.monotonic()
        self._log = tempfile.NamedTemporaryFile(  # noqa: SIM115 - renamed when the run ends
            "w", dir=root.path, prefix=".run-", suffix=".log", delete=False
        )
        self._root = root.path
        self._run_name: str | None = None
        self._name_pattern = re.compile(
            re.escape(str(root.path)) + r"/([a-z0-9-]+-\d{4}(?:-\d+){6})/"
        )

    def read(self, line: str) -> None:
        self._log.write(line)
        if line.strip():
            self.last_line = line.strip()
        if self._run_name is None and (match := self._name_pattern.search(line)):
            self._run_name = match.group(1)
        event = self._reader.read(line)
        if event is None:
            return
        seconds = round(time.monotonic() - self._started, 2)
        match event:
            case Started():
                self._started = time.monotonic()
            case Finished(task, succeeded):
                self._add(Step(task, "succeeded" if succeeded else "failed", seconds))
            case Cached(task):
                self._add(Step(task, "cached", 0.0))
        self._on_event(event)

    def _add(self, step: Step) -> None:
        """A retried step replaces its earlier try."""
        if self.steps and self.steps[-1].name == step.name:
            self.steps.pop()
        self.steps.append(step)

    def close(self, arguments: dict[str, Any]) -> Path:
        """Move the log into the run's folder, and return that folder.

        Raises:
            RunError: the run died before its first step.
        """
        self._log.close()
        log = Path(self._log.name)
        if self._run_name is None:
            kept = log.with_name("failed-run.log")
            log.replace(kept)
            raise RunError(
                "the run ended before its first step", got=self.last_line, fix=f"read {kept}"
            )
        folder = self._root / self._run_name
        folder.mkdir(exist_ok=True)
        log.replace(folder / LOG)
        (folder / LOG).chmod(0o644)
        (folder / PARAMETERS).write_text(json.dumps(arguments, indent=2, sort_keys=True) + "\n")
        return folder
