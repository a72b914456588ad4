"""Kubeflow from a notebook: upload, submit, watch and schedule, as the commands do.

from kfp_suite.pipelines.notebook.cluster import Kubeflow

kubeflow = Kubeflow("https://kubeflow.example.com/pipeline")
run = kubeflow.submit("train_and_deploy", "flights", store="gs://bucket/models")
kubeflow.watch(run)
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from kfp_suite.pipelines.kubeflow.arguments import cluster_arguments
from kfp_suite.pipelines.kubeflow.connection import Backend, Connection
from kfp_suite.pipelines.kubeflow.cron import parse_cron
from kfp_suite.pipelines.kubeflow.package import open_package
from kfp_suite.pipelines.kubeflow.scheduling import Schedule, schedule, schedules
from kfp_suite.pipelines.kubeflow.submitting import Submitted, submit
from kfp_suite.pipelines.kubeflow.uploading import Uploaded, upload
from kfp_suite.pipelines.kubeflow.watching import RunState, Task, follow
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
        options: As `Connection` takes them: namespace, token_file, cookie_file, ca_file,
            kube_context.

    Raises:
        KfpSuiteError: it cannot be reached, or refuses.
    """

    def __init__(self, host: str = "", **options: str) -> None:
        self.backend = Backend(Connection(host, **options))

    def upload(self, pipeline: str) -> There:
        """Upload a pipeline; the same content twice is one version."""
        found = upload(self.backend, open_package(pipeline))
        said = "uploaded" if found.new else "is there already"
        return There(found, f"{found.name}, version {found.version}, {said}")

    def submit(self, pipeline: str, params: str = "", **parameters: Any) -> There:
        """Run a pipeline; it is uploaded where it is not there."""
        package = open_package(pipeline)
        arguments = cluster_arguments(package, params or None, assignments_of(parameters))
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        name = f"{package.name} {now} {secrets.token_hex(2)}"
        return There(submit(self.backend, package, arguments, name=name), name)

    def watch(self, run: There) -> Ended:
        """Show a run until it is over; interrupting the cell leaves it running."""
        assert isinstance(run.about, Submitted)
        live = Live()

        def look(state: RunState, _: list[Task]) -> None:
            live.show(_shown(state))

        return Ended(follow(self.backend, run.about.run_id, look))

    def schedule(self, pipeline: str, cron: str, params: str = "", **parameters: Any) -> Shown:
        """Run a pipeline again and again; the schedule of its name is made or changed."""
        package = open_package(pipeline)
        arguments = cluster_arguments(package, params or None, assignments_of(parameters))
        uploaded = upload(self.backend, package)
        wanted = Schedule(
            name=package.name,
            pipeline_id=uploaded.pipeline_id,
            version_id=uploaded.version_id,
            cron=parse_cron(cron),
            parameters=arguments,
        )
        done = schedule(self.backend, wanted, "Default")
        changed = {name: f"{old} → {new}" for name, (old, new) in done.differences.items()}
        said = "scheduled" if done.before is None else "changed" if changed else "as it was"
        return Shown(
            html.facts({"schedule": wanted.name, "cron": wanted.cron, "is": said, **changed})
        )

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


def _shown(run: RunState) -> Markup:
    rows = [(task.name, html.state(task.state), task.error or "") for task in run.tasks]
    return html.facts({"run": run.name, "state": html.state(run.state)}) + html.table(rows)
