"""Kubeflow from a notebook: upload, submit, watch and schedule, as the commands do.

from kfp_suite.pipelines.notebook.cluster import Kubeflow

kubeflow = Kubeflow("https://kubeflow.example.com/pipeline")
run = kubeflow.submit("train_and_deploy", "flights", store="gs://bucket/models")
kubeflow.watch(run)
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kfp_suite.components.contracts.errors import TransientError
from kfp_suite.pipelines.images.image_lock import adapted
from kfp_suite.pipelines.kubeflow.arguments import cluster_arguments, filled_in, told
from kfp_suite.pipelines.kubeflow.connection import Backend, Connection
from kfp_suite.pipelines.kubeflow.cron import parse_cron
from kfp_suite.pipelines.kubeflow.naming import renamed
from kfp_suite.pipelines.kubeflow.package import Package, check_images, open_package
from kfp_suite.pipelines.kubeflow.placement import seconds_of
from kfp_suite.pipelines.kubeflow.placing import both, placed
from kfp_suite.pipelines.kubeflow.scheduling import Schedule, schedule, schedules
from kfp_suite.pipelines.kubeflow.submitting import Submitted, experiment_named, submit
from kfp_suite.pipelines.kubeflow.uploading import Uploaded, upload
from kfp_suite.pipelines.kubeflow.watching import RunState, Task, check_succeeded, follow
from kfp_suite.pipelines.notebook import html
from kfp_suite.pipelines.notebook.live import Live
from kfp_suite.pipelines.runs.parameters import assignments_of


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

    state: RunState

    def _repr_html_(self) -> str:
        return str(_shown(self.state))


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
        lock = image_lock or os.environ.get("KFP_SUITE_IMAGE_LOCK", "")
        self._lock, self._resources = (Path(name) if name else None for name in (lock, resources))
        self._allow_local_images = allow_local_images

    def upload(self, pipeline: str) -> There:
        """Upload a pipeline; the same content twice is one version."""
        found = upload(self.backend, self._package(pipeline))
        said = "uploaded" if found.new else "is there already"
        return There(found, f"{found.name}, version {found.version}, {said}")

    def submit(
        self,
        pipeline: str,
        params: str = "",
        *,
        name: str = "",
        experiment: str = "Default",
        **parameters: Any,
    ) -> There:
        """Run a pipeline; it is uploaded where it is not there.

        Args:
            pipeline: The pipeline.
            params: A parameter file, or a shipped one.
            name: Of the run; empty: pipeline and time.
            experiment: Its name; it is made where it is not there.
            parameters: Over those of the file.
        """
        package = self._package(pipeline)
        arguments, said = self._arguments(package, params, parameters)
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        name = name or f"{package.name} {now} {secrets.token_hex(2)}"
        made = submit(self.backend, package, arguments, name=name, experiment=experiment)
        return There(made, f"{name} ({said})" if said else name)

    def watch(self, run: There) -> Ended | Shown:
        """Show a run until it is over; interrupting the cell leaves it running.

        Raises:
            RunError: it did not succeed.
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
        check_succeeded(self.backend, state)
        return Ended(state)

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
        name: str = "",
        experiment: str = "Default",
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
            name: Of the schedule; empty: the pipeline's.
            experiment: Of its runs; it is made where it is not there.
            catchup: Whether times that were missed are made up for.
            max_concurrency: Runs at once, 1 to 10.
            pin: This version, or the latest at each start.
            parameters: Over those of the file.
        """
        is_cron = len(when.split()) > 1
        cron, every = (parse_cron(when), 0) if is_cron else ("", seconds_of(when, "when"))
        package = self._package(pipeline)
        arguments, filled = self._arguments(package, params, parameters)
        uploaded = upload(self.backend, package)
        wanted = Schedule(
            name=name or package.name,
            pipeline_id=uploaded.pipeline_id,
            version_id=uploaded.version_id if pin else "",
            cron=cron,
            every=every,
            max_concurrency=max_concurrency,
            catchup=catchup,
            parameters=arguments,
            experiment_id=experiment_named(self.backend, experiment),
        )
        done = schedule(self.backend, wanted)
        before = done.before.schedule if done.before else wanted
        differences = renamed(self.backend, before, wanted, done.differences)
        changed = {field: f"{old} → {new}" for field, (old, new) in differences.items()}
        said = "scheduled" if done.before is None else "changed" if changed else "as it was"
        facts = {"schedule": wanted.name, "when": cron or f"every {when}", "is": said}
        return Shown(html.facts({**facts, **changed, "filled in": filled}))

    def schedules(self) -> Shown:
        """Every schedule."""
        return Shown(
            html.table(
                (
                    (one.schedule.name, one.schedule.cron or f"{one.schedule.every} s", one.enabled)
                    for one in schedules(self.backend)
                ),
                ("schedule", "when", "on"),
            )
        )

    def _package(self, pipeline: str) -> Package:
        adapt = both(adapted(self._lock), placed(self._resources))
        package = open_package(pipeline, adapt)
        if not self._allow_local_images:
            check_images(package)
        return package

    def _arguments(
        self, package: Package, params: str, parameters: dict[str, Any]
    ) -> tuple[dict[str, Any], str]:
        """What the pipeline is called with, and what of it was filled in."""
        arguments = cluster_arguments(package, params or None, assignments_of(parameters))
        filled = filled_in(package, arguments, self.backend)
        return arguments | filled, told(filled)


def _run_id(run: There) -> str:
    assert isinstance(run.about, Submitted)
    return run.about.run_id


def _shown(run: RunState) -> Markup:
    rows = [(task.name, html.state(task.state), task.error or "") for task in run.tasks]
    return html.facts({"run": run.name, "state": html.state(run.state)}) + html.table(rows)
