"""A run on a Kubeflow: of a version that is there, so that the UI knows its pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import kfp_server_api as api

from kfp_suite.contracts.errors import AlreadyExistsError
from kfp_suite.kubeflow.connection import Backend
from kfp_suite.kubeflow.package import Package
from kfp_suite.kubeflow.uploading import Uploaded, equal, upload


@dataclass(frozen=True)
class Submitted:
    """A run that was created."""

    run_id: str
    name: str
    link: str
    pipeline: Uploaded


def submit(
    backend: Backend,
    package: Package,
    arguments: Mapping[str, Any],
    *,
    name: str,
    experiment: str = "Default",
    service_account: str = "",
    pipeline_root: str = "",
) -> Submitted:
    """Create a run.

    Args:
        backend: Where.
        package: The pipeline; it is uploaded where it is not there.
        arguments: By parameter.
        name: The run's; others may have had it before.
        experiment: Its name; it is created if missing.
        service_account: The account of the steps; empty: the installation's.
        pipeline_root: The root of artifacts; empty: the installation's.

    Raises:
        KfpSuiteError: see `Backend.call`.
    """
    uploaded = upload(backend, package)
    experiment_id = experiment_named(backend, experiment)
    body = api.V2beta1Run(
        display_name=name,
        experiment_id=experiment_id,
        pipeline_version_reference=api.V2beta1PipelineVersionReference(
            pipeline_id=uploaded.pipeline_id, pipeline_version_id=uploaded.version_id
        ),
        runtime_config=runtime_config(arguments, pipeline_root),
        service_account=service_account or None,
    )

    before = {one.run_id for one in runs_named(backend, name, experiment_id)}

    def find() -> Any:
        """The run whose answer was lost: of this name, and not there before."""
        now = runs_named(backend, name, experiment_id)
        return next((one for one in now if one.run_id not in before), None)

    made = backend.create(
        f"run '{name}'", lambda: backend.client.runs.run_service_create_run(run=body), find
    )
    return Submitted(made.run_id, name, run_link(backend, made.run_id), uploaded)


def runs_named(backend: Backend, name: str, experiment_id: str = "") -> list[Any]:
    """The runs of a name, as the API tells them; of one experiment, or of the namespace."""
    where = {"experiment_id": experiment_id} if experiment_id else {"namespace": backend.namespace}
    found = backend.pages(
        f"run '{name}'",
        lambda token: backend.client.list_runs(
            page_token=token, page_size=100, filter=equal(name), **where
        ),
        "runs",
    )
    return [one for one in found if one.display_name == name]


def runtime_config(arguments: Mapping[str, Any], pipeline_root: str) -> Any:
    """Arguments as KFP takes them."""
    return api.V2beta1RuntimeConfig(
        parameters=json.loads(json.dumps(dict(arguments))), pipeline_root=pipeline_root or None
    )


def run_link(backend: Backend, run_id: str) -> str:
    """A run's page in the UI."""
    return backend.link(f"runs/details/{run_id}")


def experiment_named(backend: Backend, name: str) -> str:
    """The identifier of an experiment, which is created if missing."""

    def find() -> str | None:
        found = backend.pages(
            f"experiment '{name}'",
            lambda token: backend.client.list_experiments(
                page_token=token, page_size=100, namespace=backend.namespace, filter=equal(name)
            ),
            "experiments",
        )
        return next((str(one.experiment_id) for one in found if one.display_name == name), None)

    there = find()
    if there is not None:
        return there
    body = api.V2beta1Experiment(display_name=name, namespace=backend.namespace)

    def send() -> str:
        made = backend.client.experiments.experiment_service_create_experiment(experiment=body)
        return str(made.experiment_id)

    try:
        return backend.create(f"experiment '{name}'", send, find)
    except AlreadyExistsError:
        found = find()
        if found is None:
            raise
        return found
