"""The model's own answers, in a process of their own: a model that hangs or crashes there
takes nothing down with it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kfp_suite.components.contracts.errors import EndpointError
from kfp_suite.components.contracts.parameters import parse
from kfp_suite.components.contracts.sample import Sample

_LONGEST = 300


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
        InputError: the rows are not what the model takes.
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
            [sys.executable, "-m", __name__],
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
            got=lines[-1][:_LONGEST] if lines else f"exit code {done.returncode}",
        ) from error
    if "error" in answer:
        raise EndpointError("the model cannot answer", where=model, got=answer["error"])
    return parse(Sample, answer, "the model's answers")


def _main(arguments: Sequence[str] = ()) -> None:
    del arguments
    from kfp_suite.components.contracts.dataset import read_dataset
    from kfp_suite.components.models.loading import load_model
    from kfp_suite.components.models.records import table_of_records
    from kfp_suite.components.models.sampling import sample_of

    job = json.load(sys.stdin)
    model = load_model(Path(job["model"]))
    inputs = model.manifest.signature.inputs
    if job["requests"]:
        records = _records(Path(job["requests"]))[: job["rows"]]
        table = table_of_records(records, inputs)
    else:
        names = [field.name for field in inputs]
        table = read_dataset(Path(job["dataset"])).head(job["split"], job["rows"], names)
    found = sample_of(model, table)
    print(json.dumps({"records": found.records, **found.answer}))


def _records(path: Path) -> list[object]:
    found: list[object] = []
    for line in path.read_text().splitlines():
        value = json.loads(line)
        whole = isinstance(value, dict) and "instances" in value
        found += value["instances"] if whole else [value]
    return found


if __name__ == "__main__":
    try:
        _main()
    except Exception as error:  # told to the parent, in one line
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
