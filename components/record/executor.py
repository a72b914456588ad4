"""Join what a run's steps left into its record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kfp_suite.components.contracts.atomic import whole_folder
from kfp_suite.components.contracts.canonical import write_json
from kfp_suite.components.contracts.errors import ContractError
from kfp_suite.components.contracts.run_record import (
    LEFT_BY_STEPS,
    RunRecord,
    join_record,
    write_record,
)
from kfp_suite.components.record.notifying import notify
from kfp_suite.components.stores.store import open_store

NOTICES = "notices.json"


@dataclass(frozen=True)
class RecordParameters:
    """The run as KFP names it, how it ended, and who is told: see `notices`."""

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
    for name in (run, run_id):
        if name in parts:
            return "/".join(parts[: parts.index(name) + 1])
    raise ContractError(
        "the output is not below the run's folder",
        where=output_uri,
        expected=f"'{run}' or '{run_id}' in it",
    )


def record(parameters: RecordParameters, output_uri: str, output: Path) -> RunRecord:
    """Write the run's record to the folder `output`, then tell who is to be told.

    Args:
        parameters: The run and its final state.
        output_uri: The URI of `output`: its run's other outputs are found beside it.
        output: Where `run_record.json` is written.
    """
    root = run_root(output_uri, parameters.run, parameters.run_id)
    joined = join_record(
        run=parameters.run,
        run_id=parameters.run_id,
        pipeline=parameters.pipeline,
        status=parameters.status,
        left=_left_by_steps(root),
    )
    with whole_folder(output) as folder:
        write_record(folder, joined)
    # Only now: a channel that hangs costs nobody the record.
    if parameters.notify:
        told = notify(parameters.notify, joined)
        write_json(output / NOTICES, [asdict(one) for one in told])
    return joined


def _left_by_steps(root: str) -> Iterator[tuple[str, Any]]:
    store = open_store(root)
    for info in sorted(store.list(), key=lambda info: info.name):
        name = info.name.rsplit("/", 1)[-1]
        if name in LEFT_BY_STEPS and "/." not in f"/{info.name}":
            yield name, json.loads(store.read(info.name))
