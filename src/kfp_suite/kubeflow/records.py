"""What a run on a cluster made: its run record, from the place of its artifacts."""

from __future__ import annotations

import tempfile
from pathlib import Path

from kfp_suite.contracts.errors import MissingError
from kfp_suite.contracts.run_record import RECORD, RunRecord, read_record
from kfp_suite.kubeflow.listing import ClusterRun
from kfp_suite.stores.store import open_store


def record_of(run: ClusterRun) -> RunRecord:
    """The record that the task `record` left.

    Args:
        run: With its root.

    Raises:
        MissingError: it left none, or the run's pipeline is there no more.
        KfpSuiteError: the root cannot be read from here.
    """
    if not run.root:
        raise MissingError("the run's pipeline is there no more", where=run.state.name)
    store = open_store(run.root)
    found = [one for one in store.list("record/") if one.name.endswith(f"/{RECORD}")]
    if not found:
        raise MissingError("no run record", where=run.root, expected="the task `record` left one")
    with tempfile.TemporaryDirectory(prefix="kfp-suite-record-") as folder:
        file = Path(folder) / RECORD
        # Of several tries, the newest: they are in folders of random names.
        newest = max(found, key=lambda one: one.created or "")
        file.write_bytes(store.read(newest.name))
        return read_record(file)
