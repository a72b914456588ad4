"""How a run ended, from what KFP says of it and what its steps left.

An exit handler on Kubeflow is given ML Metadata's word for the tasks before it: COMPLETE,
FAILED or CANCELED, and RUNNING where none of them was left to say that they are over: after a
condition that does not hold, and after a pod that was lost (KFP's driver, `resolve.go`, and
`UpdateDAGExecutionsState`, which only a task that ends calls). kfp's local runner says SUCCEEDED
or FAILED.
"""

from __future__ import annotations

from dataclasses import replace

from kfp_suite.contracts.run_record import (
    CANCELLED,
    FAILED,
    SUCCEEDED,
    RunRecord,
)

_WORDS = {
    "SUCCEEDED": SUCCEEDED,
    "COMPLETE": SUCCEEDED,
    "CACHED": SUCCEEDED,
    "CANCELED": CANCELLED,
    "CANCELLED": CANCELLED,
    "FAILED": FAILED,
}


def with_status(record: RunRecord, said: str) -> RunRecord:
    """The record with the status that `said`, KFP's word, stands for.

    Where KFP does not know the end, a run that a verdict ended, or that serves, SUCCEEDED; any
    other was cut off, and FAILED.
    """
    ended = not record.errors and (record.refusal is not None or record.endpoint is not None)
    return replace(record, status=_WORDS.get(said, SUCCEEDED if ended else FAILED))
