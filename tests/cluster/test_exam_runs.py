"""The exam's runs: each pipeline on small data, on Kubeflow, compared with the laptop's."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.kubeflow.scheduling import find_schedule
from kfp_suite.kubeflow.watching import follow
from kfp_suite.local.catalog import pipelines
from kfp_suite.stores.versions import CHAMPION, ModelStore
from tests.cluster.exam import Exam
from tests.cluster.rows import write_flights, write_rows

pytestmark = [pytest.mark.timeout(7200), pytest.mark.usefixtures("uploaded")]
Record = Any  # pytest's `record_property`
_SCHEDULE_SECONDS = 300

ROWS = {
    "label": "late",
    "split": {"by": "hash", "key": ["id"], "eval": 0.2, "test": 0.3},
    "estimator": "logistic_regression",
}


def on_cluster(exam: Exam, model: str) -> dict[str, Any]:
    """The parameters of a run whose endpoint is on the cluster; skips without KServe."""
    if not exam.has_kserve:
        pytest.skip("no KServe in this cluster: install it, and run make test-cluster again")
    return {
        "model_name": model,
        "store": exam.models.store.uri,
        "namespace": exam.installation.namespace,
        "endpoint": exam.endpoint,
    }


def in_the_store(exam: Exam, model: str) -> dict[str, Any]:
    """The parameters of a run that publishes and makes no endpoint."""
    return {"model_name": model, "store": exam.models.store.uri, "target": "local"}


def digests(models: ModelStore, model: str) -> set[str]:
    """The digests of a model's versions."""
    return {models.manifest(model, version).digest for version in models.versions(model)}


def check_digests(exam: Exam, here: ModelStore, model: str, record: Record) -> None:
    """Fail unless the cluster and this machine made the same versions."""
    made = digests(exam.models, model)
    record("digest", ", ".join(sorted(digest[:19] for digest in made)))
    assert made and made == digests(here, model)


@pytest.mark.entry("upload --all, as far as there are images")
def test_every_pipeline_is_uploaded(
    uploaded: list[dict[str, Any]], record_property: Record
) -> None:
    record_property("pipelines", f"{len(uploaded)} of {len(pipelines())}")
    assert all(one["new"] for one in uploaded)
    names = {one["name"].replace("-", "_") for one in uploaded}
    assert {"train_and_deploy", "retrain", "tune", "backfill", "progressive_delivery"} <= names


@pytest.mark.entry("submit train_and_deploy, penguins, to an answering InferenceService")
def test_penguins(exam: Exam, record_property: Record) -> None:
    model = exam.name("penguins")
    given = ("--params", "penguins")
    run = exam.submit("train_and_deploy", on_cluster(exam, model), *given)
    record_property("run", run)
    exam.check_answer(model, 1)
    here = exam.run_here("train_and_deploy", {"model_name": model}, *given)
    check_digests(exam, here, model, record_property)


@pytest.mark.entry("submit train_and_deploy, every 20th flight, to an answering InferenceService")
def test_flights(exam: Exam, record_property: Record, tmp_path: Path) -> None:
    model, file = exam.name("flights"), write_flights(tmp_path / "flights.csv")
    given, source = ("--params", "flights"), "sources.flights.uri"
    parameters = on_cluster(exam, model) | {source: exam.write("flights.csv", file)}
    record_property("run", exam.submit("train_and_deploy", parameters, *given))
    exam.check_answer(model, 1)
    local = {"model_name": model, source: str(file)}
    here = exam.run_here("train_and_deploy", local, *given)
    check_digests(exam, here, model, record_property)


@pytest.mark.entry("retrain: unchanged, then new data by a schedule")
def test_retrain(exam: Exam, record_property: Record, tmp_path: Path) -> None:
    model = exam.name("retrained")
    parameters = on_cluster(exam, model) | ROWS | {"sources": {"rows": f"{exam.store}/rows/*.csv"}}
    exam.write("rows/1.csv", write_rows(tmp_path / "1.csv"))
    first = exam.submit("retrain", parameters)
    unchanged = exam.submit("retrain", parameters)
    assert exam.models.versions(model) == [1]
    exam.write("rows/2.csv", write_rows(tmp_path / "2.csv", month=2, late_above=False, count=6000))
    scheduled = run_by_schedule(exam, model, parameters)
    record_property("runs", f"{first}, {unchanged}, {scheduled}")
    assert exam.models.versions(model) == [1, 2]
    assert exam.models.aliases(model)[CHAMPION] == 2
    exam.check_answer(model, 2)


def run_by_schedule(exam: Exam, name: str, parameters: dict[str, Any]) -> str:
    """The first run that a schedule of every minute starts, to its end; its identifier."""
    exam.schedule("retrain", parameters, "--every", "1m", "--no-catchup", "--name", name)
    schedule = find_schedule(exam.backend, name)
    deadline = time.monotonic() + _SCHEDULE_SECONDS
    while not (found := exam.runs_of(schedule.id)):
        assert time.monotonic() < deadline, f"no run of {name} after {_SCHEDULE_SECONDS} s"
        time.sleep(3)
    exam.kfp_suite("schedule", "pause", name, *exam.connection)
    states = [follow(exam.backend, run, lambda *_: None) for run in found]
    # Kubernetes takes a run's workflow with its schedule.
    exam.kfp_suite("schedule", "delete", name, "--yes", *exam.connection)
    assert all(state.succeeded for state in states), states
    return found[0]


@pytest.mark.entry("tune: 4 trials in 2 shards")
def test_tune(exam: Exam, record_property: Record, tmp_path: Path) -> None:
    model, file = exam.name("tuned"), write_rows(tmp_path / "tuned.csv")
    search = ROWS | {"trials": 4, "shards": 2}
    sources = {"sources": {"rows": exam.write("tuned.csv", file)}}
    run = exam.submit("tune", in_the_store(exam, model) | search | sources)
    record_property("run", run)
    trials = [one.name for one in exam.models.store.list(f"{model}/_studies/")]
    record_property("trials", sum(name.rpartition("/")[2][0].isdigit() for name in trials))
    local = {"model_name": model, "sources": {"rows": str(file)}}
    check_digests(exam, exam.run_here("tune", local | search), model, record_property)


@pytest.mark.entry("backfill: two months, a version each")
def test_backfill(exam: Exam, record_property: Record, tmp_path: Path) -> None:
    model = exam.name("backfilled")
    files = [write_rows(tmp_path / f"2026-0{month}-01.csv", month=month) for month in (1, 2)]
    for file in files:
        exam.write(f"months/{file.name}", file)
    months = ROWS | {"start": "2026-01-01", "end": "2026-03-01"}
    given = {"model_name": model, "store": exam.models.store.uri}
    sources = {"sources": {"rows": f"{exam.store}/months/${{start}}.csv"}}
    record_property("run", exam.submit("backfill", given | months | sources))
    local = {"model_name": model, "sources": {"rows": f"{tmp_path}/${{start}}.csv"}}
    check_digests(exam, exam.run_here("backfill", local | months), model, record_property)
    assert len(exam.models.versions(model)) == 2


@pytest.mark.entry("train_and_deploy_tensorflow, digits")
def test_tensorflow(exam: Exam, record_property: Record) -> None:
    model = exam.name("digits")
    require_image(exam, "tensorflow")
    small = {"hyperparameters.epochs": 1, "thresholds": {}}
    given = ("--params", "digits")
    run = exam.submit("train_and_deploy_tensorflow", in_the_store(exam, model) | small, *given)
    record_property("run", run)
    local = {"model_name": model, **small}
    here = exam.run_here("train_and_deploy_tensorflow", local, *given)
    check_digests(exam, here, model, record_property)


@pytest.mark.entry("train_and_deploy_tfx, rows")
def test_tfx(exam: Exam, record_property: Record, tmp_path: Path) -> None:
    model = exam.name("tfx")
    require_image(exam, "tfx")
    require_image(exam, "tensorflow")
    parameters = {
        "label": "late",
        "split": ROWS["split"],
        "hyperparameters": {"epochs": 1},
        "sources": {"rows": exam.write("tfx.csv", write_rows(tmp_path / "tfx.csv"))},
    }
    run = exam.submit("train_and_deploy_tfx", in_the_store(exam, model) | parameters)
    record_property("run", run)
    record_property("digest", ", ".join(sorted(d[:19] for d in digests(exam.models, model))))
    assert exam.models.versions(model) == [1]


def require_image(exam: Exam, family: str) -> None:
    """Skip an entry whose image the lock does not name."""
    if family not in exam.images:
        lock = json.dumps(exam.installation.image_lock)
        pytest.skip(
            f"no image of {family} in {lock}: "
            f"kfp-suite images build {family} --push --registry REGISTRY --lock {lock}"
        )
