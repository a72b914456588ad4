"""The model's own answers, in a process of their own: a model that hangs or crashes there
takes nothing down with it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp_suite.contracts import errors
from kfp_suite.contracts.errors import DataError, EndpointError, KfpSuiteError
from kfp_suite.contracts.parameters import parse
from kfp_suite.contracts.sample import Sample

_MAX_CHARS = 300


def expected_answers(
    model: Path, dataset: Path | None, requests: Path | None, split: str, rows: int, timeout: float
) -> Sample:
    """Rows and what the model says of them.

    Args:
        model: A Model artifact.
        dataset: A Dataset artifact to sample from; None: `requests`.
        requests: Recorded requests: JSON Lines of `{"instances": [...]}` or of records.
        split: Of the dataset.
        rows: How many, at most.
        timeout: Seconds it may take.

    Raises:
        EndpointError: the model cannot answer: it crashes, hangs, or gives nothing usable.
        InputError: there are no such rows, or they are not what the model takes.
    """
    job = {
        "model": str(model),
        "dataset": str(dataset or ""),
        "requests": str(requests or ""),
        "split": split,
        "rows": rows,
    }
    try:
        done = subprocess.run(  # noqa: S603 - this module, in a child
            [sys.executable, "-P", "-m", __name__],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EndpointError(
            "the model does not answer in time", where=model, expected=f"within {timeout:g} s"
        ) from error
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise EndpointError(
            "the model crashes",
            where=model,
            got=lines[-1][:_MAX_CHARS] if lines else f"exit code {done.returncode}",
        ) from error
    if "refused" in answer:
        raise _again(answer["refused"])
    if "error" in answer:
        raise EndpointError("the model cannot answer", where=model, got=answer["error"])
    return parse(Sample, answer, "the model's answers")


def _again(told: Mapping[str, Any]) -> KfpSuiteError:
    """The error that the child told, of its own class."""
    kind: type[KfpSuiteError] = getattr(errors, told["type"])
    parts = {name: told[name] for name in ("where", "got", "expected", "fix")}
    return kind(told["what"], **parts)


def _answers(job: Mapping[str, Any]) -> dict[str, Any]:
    """What the child tells: the rows and the model's answers, or why there are none.

    Raises:
        Exception: of any kind, if the model cannot answer.
    """
    from kfp_suite.models.loading import load_model
    from kfp_suite.models.sampling import sample_of

    try:
        table = _rows(job)
    except KfpSuiteError as error:
        return {"refused": error.to_json()}
    found = sample_of(load_model(Path(job["model"])), table)
    return {"records": found.records, **found.answer}


def _rows(job: Mapping[str, Any]) -> Any:
    """The rows to ask for, as a table.

    Raises:
        InputError: there are none, or they are not what the model takes.
    """
    from kfp_suite.contracts.dataset import read_dataset
    from kfp_suite.contracts.model import read_model
    from kfp_suite.models.request_parsing import record_format, table_of_records

    manifest = read_model(Path(job["model"])).manifest
    inputs = manifest.signature.inputs
    if job["requests"]:
        records = _records(Path(job["requests"]))[: job["rows"]]
        return table_of_records(records, record_format(manifest))
    dataset, names = read_dataset(Path(job["dataset"])), [field.name for field in inputs]
    missing = [name for name in names if name not in dataset.schema.names]
    if missing:
        raise DataError(
            f"the dataset has no column '{missing[0]}', which the model takes",
            where=dataset.path,
            fix="give the dataset that the model was made for",
        )
    table = dataset.head(job["split"], job["rows"], names)
    if not table.num_rows:
        raise DataError("no rows to ask for", where=f"split '{job['split']}'")
    return table


def _records(path: Path) -> list[object]:
    """Recorded requests. Raises DataError, naming the line."""
    found: list[object] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8", where="requests", got=str(error)) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError("not JSON", where=f"requests, line {number}", got=line) from error
        whole = isinstance(value, dict) and "instances" in value
        records = value["instances"] if whole else [value]
        if not isinstance(records, list):
            raise DataError("not a list", where=f"requests, line {number}, instances", got=records)
        found += records
    return found


if __name__ == "__main__":
    try:
        told = _answers(json.load(sys.stdin))
    except Exception as error:  # told to the parent, in one line
        told = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(told))
