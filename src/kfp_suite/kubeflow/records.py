"""Run records and trials of a run on a cluster, through its Kubeflow's UI or from the store."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from kfp_suite.components.train.tune.study import Study, Trial
from kfp_suite.contracts.errors import KfpSuiteError, MissingError, StoreError
from kfp_suite.contracts.parameters import parse
from kfp_suite.contracts.run_record import RECORD, TRIALS, RunRecord, read_record
from kfp_suite.kubeflow.argo import workflow_of
from kfp_suite.kubeflow.connection import Backend
from kfp_suite.kubeflow.listing import ClusterRun
from kfp_suite.kubeflow.ui import hands_out, read_files
from kfp_suite.stores.store import open_store


def record_of(backend: Backend, run: ClusterRun) -> RunRecord:
    """The run record, an output of the task `record`.

    Args:
        backend: The Kubeflow of the run.
        run: With its root.

    Raises:
        MissingError: there is none, or the run's pipeline is gone.
        StoreError: neither the UI hands it out, nor can the root be read from here.
    """
    with tempfile.TemporaryDirectory(prefix="kfp-suite-record-") as folder:
        file = Path(folder) / RECORD
        file.write_bytes(_read(backend, run, "record", "run_record", RECORD)[-1])
        return read_record(file)


def trials_of(backend: Backend, run: ClusterRun) -> list[Trial]:
    """The trials of a run of `tune`, those of all its shards: from its outputs or, if they are
    cached ones, from the study itself.

    Args:
        backend: Where the run is.
        run: With its root.

    Raises:
        MissingError: it searched nothing, or the run's pipeline is gone.
        StoreError: neither the UI hands them out, nor can the root or the study be read from here.
    """
    try:
        files = _read(backend, run, "tune", "trials", TRIALS)
    except MissingError:
        study = record_of(backend, run).study
        if study is None:
            raise MissingError(
                "the run searched nothing", where=run.state.name, fix="name a run of tune"
            ) from None
        return Study.open(study["uri"]).trials()
    return [parse(Trial, one, f"{run.root}/tune") for file in files for one in json.loads(file)]


def _read(backend: Backend, run: ClusterRun, task: str, output: str, name: str) -> list[bytes]:
    """A file in an output of a task, once for each time that the task left it; the newest last."""
    if not run.root:
        raise MissingError("the run's pipeline is gone", where=run.state.name)
    if not hands_out(run.root):
        return _stored(run.root, task, name)
    workflow = workflow_of(backend, run.state.id)
    made = workflow.outputs() if workflow else []
    known = [uri for of, what, uri in made if (of, what) == (task, output)]
    folders = known or [f"{run.root}/{task}"]
    try:
        return [file for folder in folders for file in read_files(backend, folder, name)]
    except KfpSuiteError as error:
        refused = error
    try:
        return _stored(run.root, task, name)
    except MissingError:
        raise
    except KfpSuiteError as error:
        raise StoreError(
            f"{name} cannot be read from here",
            where=run.root,
            got=f"the UI: {refused.got or refused.what}; the store: {error.got or error.what}",
            fix="give --host the UI's address (kubectl port-forward -n kubeflow "
            "svc/ml-pipeline-ui 8080:80), or credentials and AWS_ENDPOINT_URL of the store",
        ) from error


def _stored(root: str, task: str, name: str) -> list[bytes]:
    store = open_store(root)
    found = [one for one in store.list(f"{task}/") if one.name.endswith(f"/{name}")]
    if not found:
        raise MissingError(f"no {name}", where=root, expected=f"the task `{task}` left one")
    # Of several tries, the newest: they are in folders of random names.
    found.sort(key=lambda one: one.created or "")
    return [store.read(one.name) for one in found]
