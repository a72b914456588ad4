"""The same scenarios on the double, and on a real API server where a kubeconfig is given.

    KFP_SUITE_KUBECONFIG=~/.kube/config pytest tests/cluster

It needs KServe's CRDs and a namespace `kfp-suite-test`; no controller has to run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kubernetes import config

from kfp_suite.contracts.errors import MissingError
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble, running
from tests.schemas import CRDS, MISSING

NAMESPACE = "kfp-suite-test"


@pytest.fixture(params=["double", "real"])
def kubeconfig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Where the API server is."""
    if request.param == "double":
        if CRDS is None:
            pytest.skip(MISSING)
        with running(KubernetesDouble(crds=CRDS)) as double:
            yield double.kubeconfig(tmp_path / "kubeconfig")
        return
    given = os.environ.get("KFP_SUITE_KUBECONFIG")
    if not given:
        pytest.skip("no cluster: KFP_SUITE_KUBECONFIG=~/.kube/config pytest tests/cluster")
    yield Path(given).expanduser()


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
    with suppress(MissingError):
        found.delete("late", NAMESPACE)
