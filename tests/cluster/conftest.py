"""The same scenarios on the doubles, and on a real Kubeflow if one is named; and the exam.

    make test-cluster KUBECONFIG=~/.kube/config HOST=… STORE=s3://bucket/folder INGRESS=http://…

docs/cluster.md says what it needs. Each variable is an environment variable, too (see
`installation.VARIABLES`); what is not named skips the tests that need it. The scenarios of
`test_api_server.py` and `test_kserve_client.py` need KServe's CRDs and the namespace alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kubernetes import config

from kfp_suite.kserve.cluster import Cluster
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble, running
from tests.cluster.exam import Exam
from tests.cluster.installation import Installation, require
from tests.cluster.removal import delete, remove_endpoints, remove_objects, remove_runs
from tests.cluster.table import MARKER, Table
from tests.schemas import CRDS, MISSING

NAMESPACE = Installation.from_environment().namespace


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--table`, of a session that is given this folder."""
    parser.addoption("--table", metavar="FILE", help="write the exam's table to this file")


def pytest_configure(config: pytest.Config) -> None:
    """Know the exam's marker, and make the table if one is wanted."""
    config.addinivalue_line("markers", f"{MARKER}(title): an entry of the exam's table")
    if file := config.getoption("--table", default=None):
        config.pluginmanager.register(Table(Path(file)))


@pytest.fixture(params=["double", "real"])
def kubeconfig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The kubeconfig of the API server."""
    if request.param == "double":
        if CRDS is None:
            pytest.skip(MISSING)
        with running(KubernetesDouble(crds=CRDS)) as double:
            yield double.kubeconfig(tmp_path / "kubeconfig")
        return
    yield Path(require("kubeconfig").kubeconfig)


@pytest.fixture
def api(kubeconfig: Path) -> Iterator[Any]:
    """An `ApiClient`."""
    with config.new_client_from_config(str(kubeconfig)) as found:
        yield found


@pytest.fixture
def cluster(api: Any) -> Iterator[Cluster]:
    """A cluster whose endpoint `late` is gone afterwards."""
    found = Cluster(api, sleep=lambda _: None)
    yield found
    delete(found, "late", NAMESPACE)


@pytest.fixture(scope="session")
def exam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exam]:
    """The exam's session: what earlier sessions left is removed first, and this one's last."""
    installation = require("kubeconfig", "host", "store", "ingress", "image_lock")
    found = Exam(installation, secrets.token_hex(2), tmp_path_factory.mktemp("exam"))
    remove_all(found)
    yield found
    remove_all(found)


def remove_all(exam: Exam) -> None:
    """Remove what sessions of the exam left: each kind, whatever becomes of the others."""
    with ExitStack() as stack:
        stack.callback(remove_objects, exam.installation.store)
        stack.callback(remove_runs, exam.backend)
        if exam.has_kserve:
            stack.callback(remove_endpoints, exam.cluster, exam.installation.namespace)


@pytest.fixture(scope="session")
def uploaded(exam: Exam) -> list[dict[str, Any]]:
    """Every pipeline, uploaded: the runs of the session are of these versions."""
    return exam.upload()
