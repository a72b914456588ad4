"""Join what a run's steps left into its record."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kfp_suite.components.record.mlflow_tracking import is_tracked, track
from kfp_suite.components.record.notifications import notify
from kfp_suite.components.record.status import with_status
from kfp_suite.components.record.step_outputs import StepOutputs, read_step_outputs
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_json
from kfp_suite.contracts.errors import ContractError, InputError, StoreError
from kfp_suite.contracts.run_record import RunRecord, join_record, write_record

NOTICES = "notices.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordParameters:
    """The run as KFP names it, KFP's word for how it ended, and who is told: see `notices`."""

    run: str
    run_id: str
    pipeline: str
    status: str
    notify: Mapping[str, Any] = field(default_factory=dict)


def run_root(output_uri: str, run: str, run_id: str) -> str:
    """The root of a run, cut from the URI of one of its own outputs.

    KFP puts every output of a run below a folder named by the run: its name on a laptop,
    its id on a cluster.

    Raises:
        ContractError: neither is in the URI.
    """
    parts = output_uri.split("/")
    for name in (run_id, run):  # on a cluster the run's name may be the pipeline's, above it
        if name in parts:
            return "/".join(parts[: parts.index(name) + 1])
    raise ContractError(
        "the output is not below the run's folder",
        where=output_uri,
        expected=f"'{run}' or '{run_id}' in it",
    )


def record(parameters: RecordParameters, output_uri: str, output: Path) -> RunRecord:
    """Write the run's record to the folder `output`, then tell who is to be told, and MLflow.

    Args:
        parameters: The run and its final state.
        output_uri: The URI of `output`: its run's other outputs are found beside it.
        output: Where `run_record.json` is written.
    """
    root = run_root(output_uri, parameters.run, parameters.run_id)
    left, incomplete = _read(root)
    joined = with_status(
        join_record(
            run=parameters.run,
            run_id=parameters.run_id,
            pipeline=parameters.pipeline,
            status=parameters.status,
            left=left.files,
            incomplete=incomplete,
        ),
        parameters.status,
    )
    with whole_folder(output) as folder:
        write_record(folder, joined)
    # Only now, so that a channel that hangs does not cost the record.
    told = notify(parameters.notify, joined) if parameters.notify else []
    if is_tracked():
        told.append(track(joined, left))
    if told:
        write_json(output / NOTICES, [asdict(one) for one in told])
    return joined


def _read(root: str) -> tuple[StepOutputs, str]:
    """What the steps left, and why it cannot be read: on a cluster the root may need
    credentials that this step lacks, and a run that went well has not failed by that."""
    try:
        return read_step_outputs(root, whole=is_tracked()), ""
    except (StoreError, InputError) as error:
        log.warning("%s", error)
        return StepOutputs(), str(error)
