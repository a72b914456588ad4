"""Run a pipeline from a notebook: its progress, its result and its reports below the cell.

from kfp_suite.notebook.running import run

result = run("train_and_deploy", "penguins")
result.report("evaluate")
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kfp_suite.contracts.errors import MissingError
from kfp_suite.local.arguments import run_arguments
from kfp_suite.local.catalog import find_pipeline, load
from kfp_suite.local.checking import checked_endpoint
from kfp_suite.local.conclusion import conclude
from kfp_suite.local.events import (
    Cached,
    Event,
    Finished,
    Refused,
    Retried,
    Started,
)
from kfp_suite.local.history import PastRun
from kfp_suite.local.local import LocalRun, open_root, run_locally
from kfp_suite.local.outputs import Outputs, missing_output
from kfp_suite.local.parameters import drop_nulls, parameter_file
from kfp_suite.local.reports import collect_reports
from kfp_suite.local.serving import ModelAddress
from kfp_suite.notebook import html
from kfp_suite.notebook.live import Live
from kfp_suite.runtimes.http_client import Answer

_REPORT_HEIGHT = 600


@dataclass(frozen=True)
class Report:
    """A report of a run: shown below the cell, in a frame without scripts."""

    step: str
    path: Path
    height: int = _REPORT_HEIGHT

    def _repr_html_(self) -> str:
        return str(html.frame(self.path.read_text(), self.height))


@dataclass(frozen=True)
class Reply:
    """What an endpoint said, and which version said it."""

    answer: Answer

    @property
    def predictions(self) -> list[Any]:
        """One for each record."""
        found: list[Any] = self.answer.body["predictions"]
        return found

    @property
    def version(self) -> str:
        """Of the model that answered."""
        return self.answer.version

    def _repr_html_(self) -> str:
        body = {key: value for key, value in self.answer.body.items() if key != "model_version"}
        return str(html.facts({"version": self.version}) + html.pretty(body))


class Served:
    """A live endpoint."""

    def __init__(self, endpoint: ModelAddress) -> None:
        self._endpoint = endpoint
        self.url = endpoint.url

    def ask(self, *records: dict[str, Any]) -> Reply:
        """Predict records as they are before any transform.

        Raises:
            EndpointError: it does not answer, or refuses a record, naming the field.
        """
        return Reply(self._endpoint.ask({"instances": list(records)}))

    def _repr_html_(self) -> str:
        return str(html.facts({"endpoint": html.code(self.url)}))


@dataclass(frozen=True)
class Result:
    """A finished run. As the last value of a cell it shows what it made, and why."""

    run: LocalRun

    @property
    def parameters(self) -> dict[str, Any]:
        """All that it ran with."""
        return self.run.parameters

    @property
    def version(self) -> dict[str, Any] | None:
        """The published version; None if there is none."""
        return self.run.record.version

    @property
    def reasons(self) -> list[str]:
        """Why there is no version, or none that serves."""
        return self.run.record.reasons

    @property
    def remarks(self) -> list[str]:
        """What the steps noticed, whatever they decided: warnings, and how many hints."""
        past = PastRun(self.run.record, self.run.parameters, self.run.steps)
        return list(conclude(past, self.run.folder).remarks)

    @property
    def metrics(self) -> dict[str, float]:
        """Of the evaluation."""
        return PastRun(record=self.run.record, parameters={}).metrics

    @property
    def outputs(self) -> Outputs:
        """Every artifact, those of cached steps too, as `step.artifact`."""
        return Outputs(self.run.folder)

    def report(self, step: str, height: int = _REPORT_HEIGHT) -> Report:
        """The report of a step: `ingest`, `validate`, `transform`, `train`, `evaluate`,
        `infra-validate`; it may have been cached.

        Raises:
            MissingError: it has none, or its report was removed with the run that made it.
        """
        found = collect_reports(self.run.folder)
        if step not in found:
            raise missing_output(self.run.folder, "report of", step, found)
        return Report(step, found[step], height)

    @contextmanager
    def serve(self, port: int | None = None) -> Iterator[Served]:
        """The endpoint that the run deployed, until the block ends.

        Raises:
            MissingError: it deployed none, with the reasons.
            EndpointError: it does not answer.
        """
        if not self.run.manifest:
            raise MissingError(
                "the run deployed nothing", where=self.run.folder, got="; ".join(self.reasons)
            )
        with checked_endpoint(self.run, port) as checked:
            yield Served(checked.endpoint)

    def _repr_html_(self) -> str:
        record = self.run.record
        version = record.version or {}
        about = html.facts(
            {
                "run": html.code(record.run),
                "status": html.state("succeeded" if self.run.succeeded else "failed"),
                "model": f"{version['model']} version {version['version']}" if version else None,
                "digest": html.code(version["digest"]) if version else None,
                "why": Markup("<br>").join(self.reasons),
                "to look at": Markup("<br>").join(self.remarks),
                **{name: f"{value:.4g}" for name, value in list(self.metrics.items())[:6]},
                "reports": ", ".join(collect_reports(self.run.folder)),
            }
        )
        steps = html.table(
            (step.name, html.state(step.state), f"{step.seconds:.1f} s") for step in self.run.steps
        )
        return str(about + html.fold("steps", steps))


def run(
    pipeline: str,
    params: str = "",
    *,
    root: str | Path = "kfp-suite-runs",
    origin: str = "",
    caching: bool = True,
    max_step_seconds: int | None = None,
    check: bool = True,
    **parameters: Any,
) -> Result:
    """Run a pipeline on this machine, as `kfp-suite run` does.

    Args:
        pipeline: Its name.
        params: A parameter file, or a shipped one by name.
        root: The folder of runs.
        origin: A published version, `STORE/MODEL/VERSION`, whose parameters are below both.
        caching: Reuse what was made before.
        max_step_seconds: How long a step may take, at least 1; None: what the pipeline gives it.
        check: Start the endpoint that was deployed, ask it, and make its version champion.
        parameters: Over those of the file.

    Raises:
        RunError: the pipeline failed, with the step's own line.
        EndpointError: what it deployed does not answer.
        InputError: a parameter that is not right.
    """
    entry, runs = find_pipeline(pipeline), open_root(Path(root))
    file = parameter_file(params) if params else None
    arguments = run_arguments(load(entry), file, drop_nulls(parameters), runs, origin)
    progress = _Progress(entry.summary)
    finished = run_locally(
        entry.name,
        arguments,
        runs,
        caching=caching,
        max_step_seconds=max_step_seconds,
        on_event=progress,
    )
    found = None
    try:
        if check and finished.manifest:
            with checked_endpoint(finished) as checked:
                found = checked.found
    finally:
        finished.keep(found)
    if finished.failure:
        raise finished.failure
    return Result(finished)


class _Progress:
    """The steps as they come, below the cell."""

    def __init__(self, summary: str) -> None:
        self._summary, self._live = summary, Live()
        self._steps: list[tuple[str, str]] = []

    def __call__(self, event: Event) -> None:
        match event:
            case Started(task):
                self._steps.append((task, "running"))
            case Finished(task, succeeded):
                self._set(task, "succeeded" if succeeded else "failed")
            case Cached(task):
                self._set(task, "cached")
            case Retried(task, _):
                self._set(task, "running")
            case Refused(task):
                self._set(task, "refused", before="succeeded")
            case _:
                return
        rows = ((name, html.state(state)) for name, state in self._steps)
        self._live.show(Markup("<i>{}</i>").format(self._summary) + html.table(rows))

    def _set(self, task: str, state: str, before: str = "running") -> None:
        """Of the last of its name that is in the state `before`: a loop has several."""
        for i, (name, known) in reversed(list(enumerate(self._steps))):
            if name == task and known == before:
                self._steps[i] = (task, state)
                return
        self._steps.append((task, state))
