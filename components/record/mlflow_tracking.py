"""The same run in MLflow, where `MLFLOW_TRACKING_URI` is set: parameters, metrics, artifacts.

MLflow's own variables say where and as whom: `MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_NAME`
(else the model's name), `MLFLOW_TRACKING_TOKEN` or `_USERNAME` and `_PASSWORD`. What goes wrong
here is told, and fails nothing. A run that is recorded twice is one run of MLflow.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kfp_suite.components.record.delivery import Delivery, failed, sent
from kfp_suite.components.record.entity_names import allowed_name
from kfp_suite.components.record.step_outputs import StepOutputs
from kfp_suite.contracts.canonical import flat, write_json
from kfp_suite.contracts.errors import MissingError
from kfp_suite.contracts.run_record import (
    CANCELLED,
    EVALUATION,
    SUCCEEDED,
    RunRecord,
    write_record,
)
from kfp_suite.stores.store import is_name, open_store

TRACKING_URI = "MLFLOW_TRACKING_URI"
CHANNEL = "mlflow"
_RUN_ID = "kfp_suite.run_id"
_TRIAL = "kfp_suite.trial"
_PARENT = "mlflow.parentRunId"
_STATES = {SUCCEEDED: "FINISHED", CANCELLED: "KILLED"}
_TRIAL_STATES = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
# What MLflow allows of a value: of a tag's, what servers before 2.21 did.
_MAX_PARAMETER_CHARACTERS, _MAX_TAG_CHARACTERS = 6000, 5000
# In JSON a character may take six, and beside a name is the one that it has in MLflow.
_MAX_RENAMED_CHARACTERS = 750
_MAX_PARAMETERS, _MAX_METRICS, _MAX_TAGS = 100, 1000, 100
_RENAMED = "kfp_suite.renamed"
_Part = Callable[[], None]


def is_tracked() -> bool:
    """Whether MLflow's tracking URI is set."""
    return bool(os.environ.get(TRACKING_URI))


def track(record: RunRecord, left: StepOutputs) -> Delivery:
    """Record the run in MLflow; never an exception."""
    try:
        _record(_client(), record, left)
    except Exception as error:
        return failed(CHANNEL, *_causes(error), hide=_secret())
    return sent(CHANNEL)


def _causes(error: Exception) -> Iterator[Exception]:
    """The errors in a group of them, and in the groups in it; any other error is itself."""
    if isinstance(error, ExceptionGroup):
        for part in error.exceptions:
            yield from _causes(part)
    else:
        yield error


def _client() -> Any:
    # MLflow tells its makers of its use, and tries for minutes where nobody answers.
    for name, value in (
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "30"),
    ):
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise MissingError(
            "MLflow's client is not installed",
            where=TRACKING_URI,
            fix="pip install 'kfp-suite[mlflow]'; in images: --extend, with mlflow-skinny",
        ) from None
    return MlflowClient()


def _record(client: Any, record: RunRecord, left: StepOutputs) -> None:
    evaluation = record.evaluation or {}
    made = record.version or {}
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or str(made.get("model") or record.pipeline)
    experiment = _experiment(client, name)
    run = _run(client, experiment, record.run, {_RUN_ID: record.run_id or record.run})
    with _terminate_run(client, run, _STATES.get(record.status, "FAILED")) as attempt:
        attempt(
            lambda: _log(
                client,
                run,
                parameters=flat(evaluation["model"]) if "model" in evaluation else {},
                metrics=dict(_metrics(record)),
                tags=dict(_tags(record)),
            )
        )
        for trial in left.trials:
            attempt(partial(_record_trial, client, experiment, run, trial))
        attempt(lambda: _log_artifacts(client, run, record, left))


@contextmanager
def _terminate_run(
    client: Any, run: str, state: str
) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Terminate a run of MLflow, even if logging to it fails: each part is
    attempted, and all errors are raised at the end.

    Raises:
        ExceptionGroup: a part was refused, or the run could not be terminated.
    """
    errors: list[Exception] = []

    def attempt(part: _Part) -> None:
        try:
            part()
        except Exception as error:
            errors.append(error)

    yield attempt
    attempt(lambda: client.set_terminated(run, state))
    if errors:
        raise ExceptionGroup("MLflow refused parts of the run", errors)


def _log_artifacts(client: Any, run: str, record: RunRecord, left: StepOutputs) -> None:
    with tempfile.TemporaryDirectory() as place:
        _artifacts(Path(place), record, left)
        client.log_artifacts(run, place)


def _experiment(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another run was faster
            if found is None:
                raise
    return str(found.experiment_id)


def _run(client: Any, experiment: str, name: str, identity: Mapping[str, str]) -> str:
    """The run with these tags, begun if there is none."""
    asked = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items())
    found = client.search_runs([experiment], filter_string=asked, max_results=1)
    if found:
        return str(found[0].info.run_id)
    return str(client.create_run(experiment, run_name=name, tags=dict(identity)).info.run_id)


def _record_trial(client: Any, experiment: str, parent: str, trial: Mapping[str, Any]) -> None:
    identity = {_PARENT: parent, _TRIAL: str(trial["name"])}
    run = _run(client, experiment, str(trial["name"]), identity)
    parameters = {"estimator": trial["estimator"], **trial["hyperparameters"]}
    value = trial["value"]
    with _terminate_run(client, run, _TRIAL_STATES[trial["state"]]) as attempt:
        attempt(
            lambda: _log(
                client,
                run,
                parameters=flat(parameters),
                metrics={} if value is None else {str(trial["metric"]): float(value)},
                tags={"kfp_suite.why": str(trial["why"])} if trial["why"] else {},
            )
        )


def _log(
    client: Any,
    run: str,
    *,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
) -> None:
    """Log a run's entries, by names that MLflow takes; the tags `kfp_suite.renamed`,
    `kfp_suite.renamed.2`, … have those that it does not, each tag a JSON object."""
    from mlflow.entities import Metric, Param, RunTag

    renamed = {
        allowed_name(name): name
        for name in (*parameters, *metrics, *tags)
        if allowed_name(name) != name
    }
    pairs = [
        Param(allowed_name(key), _shortened(str(value), _MAX_PARAMETER_CHARACTERS))
        for key, value in parameters.items()
    ]
    for start in range(0, len(pairs), _MAX_PARAMETERS):
        client.log_batch(run, params=pairs[start : start + _MAX_PARAMETERS])
    # If a run is recorded twice, the same value is at the same place.
    numbers = [Metric(allowed_name(key), value, 0, 0) for key, value in metrics.items()]
    for start in range(0, len(numbers), _MAX_METRICS):
        client.log_batch(run, metrics=numbers[start : start + _MAX_METRICS])
    labels = [
        RunTag(allowed_name(key), _shortened(value, _MAX_TAG_CHARACTERS))
        for key, value in tags.items()
    ]
    for number, part in enumerate(_json_parts(renamed), 1):
        labels.append(RunTag(_RENAMED if number == 1 else f"{_RENAMED}.{number}", part))
    for start in range(0, len(labels), _MAX_TAGS):
        client.log_batch(run, tags=labels[start : start + _MAX_TAGS])


def _shortened(text: str, limit: int) -> str:
    """`text` in at most `limit` characters; one that was longer ends in its length. The whole
    values are in `run_record.json`, among the artifacts."""
    if len(text) <= limit:
        return text
    mark = f"… ({len(text):,} characters)"
    return text[: limit - len(mark)] + mark


def _json_parts(values: Mapping[str, str]) -> Iterator[str]:
    """JSON objects that hold `values` together, each short enough for a tag."""
    part: dict[str, str] = {}
    for key, value in sorted(values.items()):
        entry = {key: _shortened(value, _MAX_RENAMED_CHARACTERS)}
        if part and len(_json(part | entry)) > _MAX_TAG_CHARACTERS:
            yield _json(part)
            part = {}
        part |= entry
    if part:
        yield _json(part)


def _json(value: Mapping[str, str]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _metrics(record: RunRecord) -> Iterator[tuple[str, float]]:
    for name, estimate in ((record.evaluation or {}).get("metrics") or {}).items():
        value = estimate.get("value")
        if value is not None and math.isfinite(value):
            yield name, float(value)
    for name, value in ((record.infra_validation or {}).get("figures") or {}).items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield f"serving.{name}", float(value)


def _tags(record: RunRecord) -> Iterator[tuple[str, str]]:
    evaluation, made = record.evaluation or {}, record.version or {}
    for name, value in (
        ("pipeline", record.pipeline),
        ("run", record.run),
        ("status", record.status),
        ("blessed", evaluation.get("blessed")),
        ("reasons", "; ".join(record.reasons)),
        ("dataset_digest", evaluation.get("dataset_digest")),
        ("model_digest", evaluation.get("model_digest")),
        ("model", made.get("model")),
        ("version", made.get("version")),
        ("version_uri", made.get("uri")),
        ("endpoint", (record.endpoint or {}).get("url")),
    ):
        if value not in (None, ""):
            yield f"kfp_suite.{name}", str(value)


def _artifacts(folder: Path, record: RunRecord, left: StepOutputs) -> None:
    write_record(folder, record)
    if record.evaluation is not None:
        write_json(folder / EVALUATION, record.evaluation)
    for step, page in left.pages.items():
        file = folder / "reports" / f"{step}.html"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(page)
    uri = ((record.evaluation or {}).get("model") or {}).get("uri")
    if uri:
        parent, _, name = str(uri).rstrip("/").rpartition("/")
        store = open_store(parent)
        below = [one.name.removeprefix(f"{name}/") for one in store.list(f"{name}/")]
        store.download(name, filter(is_name, below), folder / "model")


def _secret() -> str:
    """The credentials in the address of the server, which an error may not show."""
    address = urlsplit(os.environ.get(TRACKING_URI, ""))
    return address.netloc.rpartition("@")[0]
