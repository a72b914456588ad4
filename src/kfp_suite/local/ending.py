"""The record of a run, however the run ended: what its exit handler could not write is written
here, and notices are sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kfp_suite.components.record.executor import RecordParameters, record
from kfp_suite.components.record.step_outputs import read_step_outputs
from kfp_suite.contracts.canonical import write_json
from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.contracts.run_record import ERROR, RECORD, RunRecord, read_record

RECORD_TASK = "record"


def leave_error(folder: Path, error: KfpSuiteError) -> None:
    """Leave an error that is of no step in the run's folder, for its record."""
    write_json(folder / ERROR, {"step": "", **error.to_json()})


def record_of(
    folder: Path, pipeline: str, status: str, notify: Mapping[str, Any], error: KfpSuiteError
) -> RunRecord:
    """The record of a run that is over.

    Args:
        folder: The run's folder; its name is the run's.
        pipeline: The pipeline's name.
        status: How it ended, if its exit handler did not write that down.
        notify: The channels of notices in that case; see record.
        error: The error of a run that failed and left none.

    Raises:
        StoreError: no record can be written.
    """
    output = folder / RECORD_TASK / "run_record"
    if (output / RECORD).is_file():
        found = read_record(output / RECORD)
        return found if found.errors else replace(found, errors=_errors(folder))
    if status != "CANCELLED" and not _errors(folder):
        leave_error(folder, error)
    given = RecordParameters(folder.name, folder.name, pipeline, status, notify)
    try:
        return record(given, str(output), output)
    except KfpSuiteError:
        if not (output / RECORD).is_file():
            return record(replace(given, notify={}), str(output), output)
        return read_record(output / RECORD)


def _errors(folder: Path) -> tuple[dict[str, Any], ...]:
    return tuple(
        content
        for name, content in read_step_outputs(str(folder), whole=False).files
        if name == ERROR
    )
