"""The exam's endpoints: rolled out, rolled back and combined by runs on Kubeflow, under load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.kserve.canary import split_of
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.stores.versions import CHAMPION
from tests.cluster.exam import Exam
from tests.cluster.graph_pipeline import compile_graph_pipeline
from tests.cluster.load import Load, asking, constant_load
from tests.cluster.rows import labelled, write_rows
from tests.serving.conftest import publish

pytestmark = pytest.mark.timeout(3600)
Record = Any  # pytest's `record_property`

LIMITS = {"error_margin": 0.05, "latency_seconds": 10}


@pytest.fixture(scope="module")
def wings(exam: Exam, uploaded: object, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of three versions, of which the first is rolled out, and the third is wrong."""
    if not exam.has_kserve:
        pytest.skip("no KServe in this cluster: install it, and run make test-cluster again")
    model, folder = exam.name("wings"), tmp_path_factory.mktemp("wings")
    right, wrong = (
        write_rows(folder / f"{late_above}.csv", late_above=late_above).read_text()
        for late_above in (True, False)
    )
    estimators = ("logistic_regression", "random_forest", "logistic_regression")
    for number, (estimator, csv) in enumerate(zip(estimators, (right, right, wrong), strict=True)):
        publish(exam.models, model, folder / str(number), estimator, label="late", csv=csv)
    roll_out(exam, model, 1)
    exam.check_answer(model, 1)
    return model


def roll_out(exam: Exam, model: str, version: int, **more: Any) -> str:
    """Roll a version out by a run on Kubeflow; the run's identifier."""
    parameters = {
        "model_name": model,
        "store": exam.models.store.uri,
        "version": str(version),
        "target": "cluster",
        "namespace": exam.installation.namespace,
        "endpoint": exam.endpoint,
        "steps": [10, 50, 100],
        "step_seconds": 120,
        "look_seconds": 2,
        "undecided": "go_on",
        "limits": LIMITS,
    }
    return exam.submit("progressive_delivery", parameters | more)


@pytest.fixture
def load(exam: Exam, wings: str, record_property: Record) -> Iterator[Load]:
    """Constant requests through the ingress; none may fail."""
    service = exam.cluster.get(wings, exam.installation.namespace)
    deployable = Deployable.find(exam.models, wings, 1)
    with constant_load(asking(service, deployable, exam.installation.ingress)) as found:
        yield found
    for name, value in found.figures().items():
        record_property(name, value)


def serving(exam: Exam, model: str) -> tuple[int, int | None]:
    """The version that serves, and the champion."""
    split = split_of(exam.cluster.get(model, exam.installation.namespace))
    assert split.candidate is None
    return split.stable.version, exam.models.aliases(model).get(CHAMPION)


@pytest.mark.entry("a second version rolled out under load")
def test_rolled_out(exam: Exam, wings: str, load: Load, record_property: Record) -> None:
    record_property("run", roll_out(exam, wings, 2))
    assert serving(exam, wings) == (2, 2)
    assert load.versions["1"] and load.versions["2"]
    assert load.failed == []


@pytest.mark.entry("a bad version rolled back under load")
def test_rolled_back(
    exam: Exam, wings: str, load: Load, record_property: Record, tmp_path: Path
) -> None:
    records = write_rows(tmp_path / "labelled.csv", month=3, count=2000)
    uri = exam.write("labelled.jsonl", labelled(records))
    judged = {"labelled": uri, "label": "late", "undecided": "rollback"}
    record_property("run", roll_out(exam, wings, 3, **judged))
    assert serving(exam, wings) == (2, 2)
    assert load.versions["3"], "no answer of the bad version was seen"
    assert load.failed == []


@pytest.mark.entry("a graph of two endpoints")
def test_graph(exam: Exam, wings: str, record_property: Record, tmp_path: Path) -> None:
    other, namespace = exam.name("feathers"), exam.installation.namespace
    roll_out(exam, wings, 1, endpoint={**exam.endpoint, "name": other})

    file = tmp_path / "graph.yaml"
    compile_graph_pipeline(exam.name("graph"), file)
    steps = [{"name": name, "serviceName": name} for name in (wings, other)]
    nodes = {"root": {"routerType": "Ensemble", "steps": steps}}
    parameters = {"name": exam.name("graph"), "nodes": nodes, "namespace": namespace}
    record_property("run", exam.submit(str(file), parameters))
