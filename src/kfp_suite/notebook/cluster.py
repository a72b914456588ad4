"""Kubeflow from a notebook: upload, submit, watch and schedule, as the commands do.

from kfp_suite.notebook.cluster import Kubeflow

kubeflow = Kubeflow("https://kubeflow.example.com/pipeline")
run = kubeflow.submit("train_and_deploy", "flights", store="gs://bucket/models")
kubeflow.watch(run)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kfp_suite.contracts.errors import TransientError
from kfp_suite.image_builder.image_lock import adapted
from kfp_suite.kubeflow.arguments import cluster_arguments
from kfp_suite.kubeflow.connection import Backend, Connection
from kfp_suite.kubeflow.ending import Ending, ending_of
from kfp_suite.kubeflow.launching import COPIES, Order, Recurrence, recur, run
from kfp_suite.kubeflow.listing import cluster_run
from kfp_suite.kubeflow.naming import renamed
from kfp_suite.kubeflow.package import Package, check_images, is_file, open_package
from kfp_suite.kubeflow.placing import both, placed
from kfp_suite.kubeflow.run_state import RunState
from kfp_suite.kubeflow.scheduling import FROM_NOW, schedules
from kfp_suite.kubeflow.submitting import Submitted
from kfp_suite.kubeflow.task import Task
from kfp_suite.kubeflow.timing import coming, in_both_zones, timing
from kfp_suite.kubeflow.timing import when as timing_of
from kfp_suite.kubeflow.uploading import Uploaded, upload
from kfp_suite.kubeflow.watching import follow
from kfp_suite.local.parameters import drop_nulls
from kfp_suite.notebook import html
from kfp_suite.notebook.live import Live


@dataclass(frozen=True)
class There:
    """Something that is on Kubeflow, with the way to it."""

    about: Uploaded | Submitted
    what: str

    @property
    def link(self) -> str:
        """Its page in the UI."""
        return self.about.link

    def _repr_html_(self) -> str:
        return str(Markup('{}: <a href="{}">{}</a>').format(self.what, self.link, self.link))


@dataclass(frozen=True)
class Shown:
    """Something to look at."""

    content: Markup

    def _repr_html_(self) -> str:
        return str(self.content)


@dataclass(frozen=True)
class Ended:
    """A run that is over."""

    ending: Ending

    @property
    def state(self) -> RunState:
        """The run."""
        return self.ending.state

    def _repr_html_(self) -> str:
        return str(_shown(self.state) + _outcome(self.ending))


class Kubeflow:
    """A Kubeflow Pipelines.

    Args:
        host: As `--host`; empty: found as the commands find it.
        image_lock: As `--image-lock`; empty: KFP_SUITE_IMAGE_LOCK.
        resources: As `--resources`.
        allow_local_images: As `--allow-local-images`.
        options: As `Connection` takes them: namespace, token_file, cookie_file, ca_file,
            kube_context.

    Raises:
        KfpSuiteError: it cannot be reached, or refuses.
    """

    def __init__(
        self,
        host: str = "",
        *,
        image_lock: str = "",
        resources: str = "",
        allow_local_images: bool = False,
        **options: str,
    ) -> None:
        self.backend = Backend(Connection(host, **options))
        usual = os.environ.get("KFP_SUITE_IMAGE_LOCK", "")
        self._lock, self._usual_lock, self._resources = (
            Path(name) if name else None for name in (image_lock, usual, resources)
        )
        self._allow_local_images = allow_local_images

    def upload(self, pipeline: str, *, version: str = "") -> There:
        """Upload a pipeline; the same content twice is one version.

        Args:
            pipeline: The pipeline.
            version: Its name; empty: by its content.
        """
        found = upload(self.backend, self._package(pipeline), version)
        said = "uploaded" if found.new else "is there already"
        return There(found, f"{found.name}, version {found.version}, {said}")

    def submit(
        self,
        pipeline: str,
        params: str = "",
        *,
        origin: str = "",
        name: str = "",
        experiment: str = "Default",
        service_account: str = "",
        pipeline_root: str = "",
        check: bool = True,
        **parameters: Any,
    ) -> There:
        """Run a pipeline; it is uploaded where it is not there.

        Args:
            pipeline: The pipeline.
            params: A parameter file, or a shipped one.
            origin: A published version whose parameters are below both: STORE/MODEL/VERSION.
            name: Of the run; empty: pipeline and time.
            experiment: Its name; it is made where it is not there.
            service_account: That the steps run as; empty: the installation's.
            pipeline_root: Where artifacts go; empty: the installation's.
            check: Whether to look first for what would fail.
            parameters: Over those of the file.
        """
        package = self._package(pipeline)
        arguments = cluster_arguments(package, params or None, drop_nulls(parameters), origin)
        order = Order(name, experiment, service_account, pipeline_root, check)
        made, prepared = run(self.backend, package, arguments, order)
        said = "; ".join(prepared.lines)
        return There(made, f"{made.name} ({said})" if said else made.name)

    def watch(self, run: There) -> Ended | Shown:
        """Show a run until it is over; interrupting the cell leaves it running.

        Raises:
            RunError, InputError: it did not succeed: the error of the step that failed.
        """
        live = Live()

        def look(state: RunState, _: list[Task]) -> None:
            live.show(_shown(state))

        def lost(error: TransientError) -> None:
            live.show(html.facts({"not reachable": "still trying", "because": error.got}))

        try:
            state = follow(self.backend, _run_id(run), look, lost)
        except KeyboardInterrupt:
            return Shown(
                html.facts(
                    {
                        "detached": "the run goes on",
                        "watch it": html.code("kubeflow.watch(run)"),
                        "end it": html.code("kubeflow.terminate(run)"),
                    }
                )
            )
        ending = ending_of(self.backend, cluster_run(self.backend, state.id))
        if ending.failure:
            raise ending.failure
        return Ended(ending)

    def terminate(self, run: There) -> None:
        """End a run."""
        run_id = _run_id(run)
        self.backend.call(f"run {run_id}", lambda: self.backend.client.terminate_run(run_id))

    def schedule(
        self,
        pipeline: str,
        when: str,
        params: str = "",
        *,
        origin: str = "",
        name: str = "",
        start: str = "",
        end: str = "",
        experiment: str = "Default",
        service_account: str = "",
        pipeline_root: str = "",
        check: bool = True,
        catchup: bool = True,
        max_concurrency: int = 1,
        pin: bool = True,
        **parameters: Any,
    ) -> Shown:
        """Run a pipeline again and again; the schedule of its name is made or changed.

        Args:
            pipeline: The pipeline.
            when: Cron in UTC, `0 3 * * *`; or a pause between starts, `6h`.
            params: A parameter file, or a shipped one.
            origin: A published version whose parameters are below both: STORE/MODEL/VERSION.
            name: Of the schedule; empty: the pipeline's.
            start, end: ISO 8601, with a zone or in local time; parameters that are called so are
                said in the file.
            experiment: Of its runs; it is made where it is not there.
            service_account: That the steps run as; empty: the installation's.
            pipeline_root: Where artifacts go; empty: the installation's.
            check: Whether to look first for what would fail.
            catchup: Whether times that were missed are made up for.
            max_concurrency: Runs at once, 1 to 10.
            pin: This version, or the latest at each start.
            parameters: Over those of the file.
        """
        how = {"cron" if len(when.split()) > 1 else "every": when}
        recurrence = Recurrence(timing(**how, start=start, end=end), max_concurrency, catchup, pin)
        package = self._package(pipeline)
        arguments = cluster_arguments(package, params or None, drop_nulls(parameters), origin)
        order = Order(name, experiment, service_account, pipeline_root, check)
        done, prepared = recur(self.backend, package, arguments, order, recurrence)
        wanted = done.now.schedule
        before = done.before.schedule if done.before else wanted
        differences = renamed(self.backend, before, wanted, done.differences)
        changed = {field: f"{old} → {new}" for field, (old, new) in differences.items()}
        said = "scheduled" if done.before is None else "changed" if changed else "as it was"
        facts = {
            "schedule": wanted.name,
            "when": timing_of(wanted),
            "is": said,
            **changed,
            "removed, of the same name": ", ".join(one.id for one in done.removed),
            "note": FROM_NOW if done.from_now else "",
            "filled in": "; ".join(prepared.lines),
            "copies": COPIES if prepared.brought else "",
        }
        times = html.table(map(in_both_zones, coming(done.now)), ("next times", "here"))
        return Shown(html.facts(facts) + times)

    def schedules(self) -> Shown:
        """Every schedule."""
        return Shown(
            html.table(
                (
                    (one.schedule.name, timing_of(one.schedule), one.enabled)
                    for one in schedules(self.backend)
                ),
                ("schedule", "when", "on"),
            )
        )

    def _package(self, pipeline: str) -> Package:
        # A file names the images that it was compiled with, unless a lock is given.
        lock = self._lock or (None if is_file(pipeline) else self._usual_lock)
        package = open_package(pipeline, both(adapted(lock), placed(self._resources)))
        if not self._allow_local_images:
            check_images(package)
        return package


def _run_id(run: There) -> str:
    assert isinstance(run.about, Submitted)
    return run.about.run_id


def _shown(run: RunState) -> Markup:
    rows = [(task.name, html.state(task.state), task.error or task.reason) for task in run.tasks]
    return html.facts({"run": run.name, "state": html.state(run.state)}) + html.table(rows)


def _outcome(ending: Ending) -> Markup:
    past, conclusion = ending.past, ending.conclusion
    if past is None or conclusion is None:
        return html.facts({"what it made is not known here": ending.unread})
    version, endpoint = past.record.version or {}, past.record.endpoint or {}
    return html.facts(
        {
            "outcome": conclusion.outcome,
            "because": "; ".join(conclusion.reasons),
            "metrics": ", ".join(f"{name} {value:.6g}" for name, value in past.metrics.items()),
            "version": version.get("uri"),
            "endpoint": endpoint.get("url"),
            **conclusion.next_steps,
        }
    )
