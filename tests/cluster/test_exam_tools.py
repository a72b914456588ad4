"""The exam's own tools, on the doubles: what it asks, counts, writes down and removes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest
from kubernetes import client

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.kserve.cluster import RUNTIMES, Cluster
from kfp_suite.kserve.manifests import serving_runtime
from kfp_suite.kubeflow.connection import Backend, Connection
from kfp_suite.kubeflow.package import open_package
from kfp_suite.kubeflow.submitting import submit
from kfp_suite.kubeflow.uploading import upload
from kfp_suite.runtimes.http_client import Answer
from kfp_suite.stores.store import open_store
from kfp_suite.testing.kfp_backend.backend import Behaviour, KfpDouble
from kfp_suite.testing.kfp_backend.backend import running as running_kfp
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble, running
from tests.cluster.graph_pipeline import compile_graph_pipeline
from tests.cluster.installation import VARIABLES, Installation, require
from tests.cluster.load import constant_load, wait_for_requests
from tests.cluster.removal import remove_endpoints, remove_objects, remove_runs
from tests.cluster.rows import labelled, write_flights, write_rows
from tests.cluster.table import Row, render
from tests.cluster.test_api_server import manifest
from tests.cluster.versions import UNKNOWN, read_versions
from tests.schemas import CRDS, KFP_API
from tests.storage import conftest as storage

ROOT = Path(__file__).resolve().parents[2]
s3 = storage.s3
OURS, OTHERS = "kfp-exam-12ab", "kfp-examples"


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("KFP_SUITE_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            ["HOST=http://kfp", "STORE="],
            "error: make test-cluster needs KUBECONFIG STORE INGRESS; see docs/cluster.md",
        ),
        (
            ["KUBECONFIG=c", "HOST=h", "STORE=s", "INGRESS=i", "VENV=.", "IMAGE_LOCK=no.json"],
            "error: no IMAGE_LOCK=no.json; see docs/cluster.md",
        ),
    ],
)
def test_make_says_what_is_missing(given: list[str], line: str, tmp_path: Path) -> None:
    """Without the environment, which is there as far as make knows."""
    for name in ("local", "dev", "suite"):
        (tmp_path / name).touch()
    done = subprocess.run(
        ["make", "-f", ROOT / "Makefile", "-o", "dev", "-o", "suite", "test-cluster", *given],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout.splitlines() == [line]


@pytest.mark.usefixtures("no_variables")
def test_a_test_is_skipped_with_the_line_that_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pytest.skip.Exception) as caught:
        require("host", "store")
    assert str(caught.value) == "no host or store: make test-cluster HOST=… STORE=…"
    monkeypatch.setenv(VARIABLES["host"][1], "http://kfp")
    monkeypatch.setenv(VARIABLES["store"][1], "s3://bucket/folder/")
    assert require("host", "store") == Installation(host="http://kfp", store="s3://bucket/folder")


def test_load_counts_answers_by_version_and_failures() -> None:
    number = count()

    def ask_once() -> Answer:
        turn = next(number) % 4
        if not turn:
            raise EndpointError("answered 503")
        return Answer({}, str(turn % 2), turn / 10)

    with constant_load(ask_once) as load:
        wait_for_requests(load, 40)
    assert load.requests == next(number) >= 40
    assert len(load.failed) == len([n for n in range(load.requests) if n % 4 == 0])
    assert load.failed[0] == "answered 503"
    assert load.versions.total() == len(load.seconds) == load.requests - len(load.failed)
    figures = load.figures()
    assert figures["p50 ms"] == 200 and figures["p99 ms"] == 300
    assert figures["failed"] == len(load.failed)


EXAMINED = """
import pytest

@pytest.fixture
def broken():
    yield
    raise OSError("left behind")

@pytest.mark.entry("good")
def test_good(record_property):
    record_property("requests", 12)

@pytest.mark.entry("several")
@pytest.mark.parametrize("n", range(3))
def test_several(n):
    assert n != 1, f"n is {n}"

@pytest.mark.entry("absent")
def test_absent():
    pytest.skip("no image: build | push it")

@pytest.mark.entry("not cleaned")
def test_not_cleaned(broken):
    pass

def test_no_entry():
    assert False
"""


def test_the_table_has_a_line_an_entry(tmp_path: Path) -> None:
    (tmp_path / "test_examined.py").write_text(EXAMINED)
    (tmp_path / "conftest.py").write_text(
        "from pathlib import Path\n"
        "from tests.cluster.table import Table\n\n"
        "def pytest_configure(config):\n"
        "    config.addinivalue_line('markers', 'entry(title): an entry')\n"
        "    table = Table(Path('table.md'), {'Kubernetes': 'v1.34.0'})\n"
        "    config.pluginmanager.register(table)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    text = (tmp_path / "table.md").read_text()
    assert text in done.stdout
    first, _, *rows = text.splitlines()
    assert first.endswith(": Kubernetes v1.34.0.")
    found = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    assert found[0] == ["exam entry", "result", "seconds", "figures"]
    assert [(title, result, told) for title, result, _, told in found[2:]] == [
        ("good", "passed", "requests 12"),
        ("several", "FAILED: 1 of 3", "AssertionError: n is 1 assert 1 != 1"),
        ("absent", "skipped", "no image: build \\| push it"),
        ("not cleaned", "FAILED", "OSError: left behind"),
    ]


@pytest.fixture
def kubernetes() -> Iterator[KubernetesDouble]:
    with running(KubernetesDouble(crds=CRDS, mode="Standard")) as double:
        yield double


@pytest.fixture
def kfp() -> Iterator[KfpDouble]:
    double = KfpDouble(KFP_API, tag="2.17.0")
    double.behave(Behaviour(hangs="rollout"))
    with running_kfp(double):
        yield double
    assert double.wrong == []


def deployment(name: str, image: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    pod = {"containers": [{"name": "manager", "image": image}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    }


@pytest.mark.usefixtures("no_variables")
def test_versions_are_read_from_the_cluster(
    kubernetes: KubernetesDouble, kfp: KfpDouble, tmp_path: Path
) -> None:
    apps, core = client.AppsV1Api(kubernetes.client()), client.CoreV1Api(kubernetes.client())
    digest = f"@sha256:{'0' * 64}"
    argo = deployment("workflow-controller", f"quay.io:443/argo/workflow-controller:v4.0.5{digest}")
    kserve = deployment(
        "kserve-controller-manager", f"kserve{digest}", {"app.kubernetes.io/version": "v0.20.0"}
    )
    apps.create_namespaced_deployment("kubeflow", argo)
    apps.create_namespaced_deployment("kserve", kserve)
    settings = {"deploy": json.dumps({"defaultDeploymentMode": "Standard"})}
    core.create_namespaced_config_map(
        "kserve", {"metadata": {"name": "inferenceservice-config"}, "data": settings}
    )
    kubeconfig = kubernetes.kubeconfig(tmp_path / "kubeconfig")
    installation = Installation(kubeconfig=str(kubeconfig), host=kfp.url)
    found = read_versions(installation)
    assert found.pop("kfp-suite").startswith("0.1.0")
    assert found == {
        "Kubernetes": "v1.34.0",
        "Kubeflow Pipelines": "2.17.0",
        "Argo Workflows": "v4.0.5",
        "KServe": "v0.20.0 (Standard)",
    }
    kubernetes.deny("list", "deployments")
    hidden = read_versions(replace(installation, host=""))
    assert hidden["Argo Workflows"] == UNKNOWN
    assert hidden["KServe"] == f"{UNKNOWN} (mode unknown)"


def test_endpoints_of_the_exam_are_removed_and_no_others(kubernetes: KubernetesDouble) -> None:
    cluster = Cluster(kubernetes.client(), sleep=lambda _: None)
    for name, runtime in ((f"{OURS}-wings", "ours:1"), (OTHERS, "others:1")):
        made = serving_runtime(runtime, "models")
        cluster.apply(made)
        service = manifest()
        service["metadata"] |= {"name": name, "namespace": "models"}
        service["spec"]["predictor"]["model"]["runtime"] = made["metadata"]["name"]
        cluster.apply(service)
    used = serving_runtime("others:1", "models")["metadata"]["name"]
    unused = serving_runtime("ours:1", "models")["metadata"]["name"]
    assert remove_endpoints(cluster, "models") == [f"{OURS}-wings", unused]
    assert [one["metadata"]["name"] for one in cluster.services("models")] == [OTHERS]
    left = cluster.services("models", kind=RUNTIMES)
    assert [one["metadata"]["name"] for one in left] == [used]
    assert remove_endpoints(cluster, "models") == []


def test_runs_of_the_exam_are_removed_and_no_others(kfp: KfpDouble) -> None:
    backend = Backend(Connection(host=kfp.url))
    package = open_package("progressive_delivery")
    values = {"model_name": "late", "store": "gs://bucket/models"}
    upload(backend, package)
    for experiment, version in ((OURS, OURS), (OTHERS, "")):
        upload(backend, package, version)
        submit(backend, package, values, name=experiment, experiment=experiment)
    upload(backend, open_package("tune"), OURS)
    assert sorted(remove_runs(backend)) == [
        OURS,
        f"progressive-delivery {OURS}",
        f"tune {OURS}",
    ]
    runs, pipelines = backend.client.list_runs().runs, backend.client.list_pipelines().pipelines
    assert [run.display_name for run in runs] == [OTHERS]
    assert [one.display_name for one in pipelines] == ["progressive-delivery"]
    experiments = backend.client.list_experiments().experiments
    assert OURS not in [one.display_name for one in experiments]
    assert remove_runs(backend) == []


@pytest.mark.parametrize("kind", ["folder", "s3", "minio"])
def test_objects_of_the_exam_are_removed_and_no_others(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "store")
    if kind != "folder":
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket=f"exam-{kind}")
        uri = f"{kind}://exam-{kind}/some/prefix"
    store = open_store(uri)
    for name in (f"{OURS}/rows/1.csv", f"{OURS}/models/wings/1/manifest.json", f"{OTHERS}/1.csv"):
        store.create(name, b"rows")
    assert remove_objects(uri) == 2
    assert [one.name for one in store.list("kfp-")] == [f"{OTHERS}/1.csv"]
    assert remove_objects(uri) == 0


def test_labelled_records_are_those_of_the_rows(tmp_path: Path) -> None:
    text = labelled(write_rows(tmp_path / "rows.csv", month=3, count=50))
    records = [json.loads(line) for line in text.splitlines()]
    assert len(records) == 50
    assert all((one["size"] > 5) == one["late"] for one in records)
    assert records[0]["id"] == 300_000 and records[0]["day"] == "2026-03-01"


def test_the_graph_pipeline_compiles_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "graph.yaml"
    compile_graph_pipeline(f"{OURS}-graph", file)
    assert open_package(str(file)).name == f"{OURS}-graph"


def test_flights_are_every_twentieth_of_the_example(tmp_path: Path) -> None:
    header, *rows = write_flights(tmp_path / "flights.csv").read_text().splitlines()
    assert header.startswith("year,month,day,dep_time")
    assert len(rows) == -(-336_776 // 20)


def test_a_row_shows_seconds_figures_and_reasons() -> None:
    row = Row({"test": "failed"}, 61.6, {"run": "r"}, ["why"])
    text = render({"killed": row}, {}, datetime(2026, 11, 29, tzinfo=UTC))
    assert text.splitlines()[-1] == "| killed | FAILED | 62 | run r; why |"
