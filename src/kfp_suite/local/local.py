"""Run a pipeline on this machine, in a child process, and keep what it said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kfp_suite.contracts.canonical import write_json
from kfp_suite.contracts.digests import PREFIX, digest_value
from kfp_suite.contracts.environment import code_digest
from kfp_suite.contracts.errors import (
    KfpSuiteError,
    ParameterError,
    RunError,
    store_error,
)
from kfp_suite.contracts.run_record import CANCELLED, FAILED, RunRecord
from kfp_suite.local.ending import record_of
from kfp_suite.local.events import Event
from kfp_suite.local.following import Follower
from kfp_suite.local.history import (
    LOG,
    PARAMETERS,
    RUNNING,
    PastRun,
    Step,
    write_run,
)
from kfp_suite.local.staging import with_originals
from kfp_suite.local.worker import Job

_MAX_LINE_BYTES = 1 << 16


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
        """The manifest of the endpoint to start on this machine; empty if there is none."""
        endpoint = self.record.endpoint or {}
        here = self.succeeded and endpoint.get("target", "local") == "local"
        return str(endpoint.get("manifest") or "") if here else ""

    @property
    def failure(self) -> KfpSuiteError | None:
        """The error of a run that failed: the step's own line, with the step's own exit code."""
        if self.succeeded:
            return None
        log, data = self.folder / LOG, Root(self.folder.parent).data
        error = self.record.failure(str(self.folder), f"read {log}")
        if error is None:
            failed = [step.name for step in self.steps if step.state == "failed"]
            what = f"step {', '.join(failed) or '?'} failed without a word"
            return RunError(what, fix=f"read {log}")
        error.where = with_originals(error.where or "", data)
        error.got = None if error.got is None else with_originals(error.got, data)
        return error

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


class RunInterrupted(KeyboardInterrupt):
    """A run that was interrupted, by Ctrl-C or SIGTERM, and has left its record.

    Attributes:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(f"the run was interrupted; its record is in {folder}")
        self.folder = folder


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
        """KFP's local cache, one for each version of our code, of Python and of what is
        installed: its key never sees them."""
        installed = sorted(  # by the folders of their metadata, which name their versions
            found.name
            for folder in sys.path
            if folder and Path(folder).is_dir()
            for found in os.scandir(folder)
            if found.name.endswith((".dist-info", ".egg-info"))
        )
        digest = digest_value([code_digest(), sys.version, installed])
        return self.path / "cache" / digest.removeprefix(PREFIX)[:16]

    def new_run(self, pipeline: str) -> Path:
        """A new folder for a run of `pipeline`, named by the pipeline and the time in UTC."""
        while True:
            now = datetime.now(UTC).strftime("%Y-%m-%d-%H-%M-%S-%f")
            folder = self.path / f"{pipeline.replace('_', '-')}-{now}"
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue  # of a run that began in the same microsecond
            except OSError as error:
                raise store_error(error, folder) from error
            return folder


def open_root(path: Path) -> Root:
    """A root for runs, created where it is not there.

    Raises:
        StoreError: it is not writable.
    """
    path = path.resolve()  # kfp knows no `..`
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
    max_step_seconds: int | None = None,
    on_event: Callable[[Event], None],
) -> LocalRun:
    """Run `pipeline` to its end and return what it made.

    However the run ends, its folder holds its log, its parameters and its record.

    Args:
        pipeline: The name of a pipeline of the suite.
        arguments: Its complete parameters.
        root: Where the run's folder is made.
        runner: `subprocess` or `docker`.
        network: The Docker network of the containers; empty: Docker's own.
        caching: Reuse the outputs of cached steps.
        max_step_seconds: How long a step may take, at least 1; None: what the pipeline gives it.
        on_event: Called with each event as it happens.

    Raises:
        ParameterError: a limit below a second.
        StoreError: the run's folder cannot be written.
        RunInterrupted: it was interrupted, or asked to end by SIGTERM.
    """
    if max_step_seconds is not None and max_step_seconds < 1:
        raise ParameterError(
            "not a time limit",
            where="max_step_seconds",
            got=max_step_seconds,
            expected="1 or more seconds",
        )
    started_at, folder = _now(), root.new_run(pipeline)
    status, succeeded = CANCELLED, False
    # Who sees the run in a listing may end it, and sees it followed until its record is there.
    with _ended_by_sigterm(), closing(Follower(folder, on_event)) as follower:
        running = RunRecord(folder.name, "", pipeline, RUNNING)
        write_run(folder, PastRun(running, arguments, started_at=started_at))
        try:
            write_json(folder / PARAMETERS, arguments)
            job = Job(
                run=folder.name,
                pipeline=pipeline,
                arguments=arguments,
                root=str(root.path),
                runner=runner,
                network=network,
                caching=caching,
                cache_root=str(root.cache),
                max_step_seconds=max_step_seconds,
            )
            with tempfile.TemporaryDirectory(
                prefix="kfp-suite-run-", ignore_cleanup_errors=True
            ) as scratch:
                succeeded = _follow(job, follower, scratch)
            status = FAILED
        except KeyboardInterrupt as error:
            raise RunInterrupted(folder) from error
        finally:
            follower.end_step()
            ended = RunError(
                "the run ended before its last step" if follower.steps else "no step was started",
                where=folder,
                got=follower.last_line or None,
                fix=f"read {folder / LOG}",
            )
            record = record_of(folder, pipeline, status, arguments.get("notify") or {}, ended)
            steps = tuple(follower.steps)
            run = LocalRun(
                folder,
                status != CANCELLED and succeeded,
                steps,
                record,
                arguments,
                started_at,
                _now(),
            )
            run.keep(None)
    return run


def _follow(job: Job, follower: Follower, scratch: str) -> bool:
    """Run a job in a child process, and say whether it succeeded.

    Args:
        job: What is run.
        follower: Reads what it prints.
        scratch: For the temporary files of kfp and of steps; kfp leaves some behind.
    """
    child = subprocess.Popen(
        [sys.executable, "-P", "-u", "-m", "kfp_suite.local.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        # What lies in the working folder is no part of the libraries that steps import.
        env={
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PYTHONSAFEPATH": "1",
            "TMPDIR": scratch,
        },
        start_new_session=True,  # with its steps: they end together
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        with child.stdin as stdin:
            json.dump(asdict(job), stdin)
        while line := child.stdout.readline(_MAX_LINE_BYTES):
            follower.read(line)
        return child.wait() == 0
    except BrokenPipeError:  # it died before it had read its job
        return child.wait() == 0
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        child.stdout.close()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let the first SIGTERM end the block as Ctrl-C does, and no other one disturb that, so that
    an ended run leaves its record."""

    def end(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
