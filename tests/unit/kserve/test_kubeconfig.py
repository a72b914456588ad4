"""A kubeconfig that cannot be used is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfp_suite.contracts.errors import StoreError
from kfp_suite.kserve.cluster import Cluster


@pytest.mark.parametrize(
    "content", ["a: [", "- a list", "clusters: 1", "clusters: [1]", "", "current-context: 7"]
)
def test_a_kubeconfig_of_another_form_is_refused_in_one_line(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config"
    file.write_text(content)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(StoreError, match="no Kubernetes credentials"):
        Cluster()
