"""A Kubeflow that keeps state, and a small pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kfp_suite.cli.main import cli
from kfp_suite.image_builder.families import FAMILIES, image_name
from kfp_suite.image_builder.image_lock import adapted, write_lock
from kfp_suite.kubeflow import connection, watching
from kfp_suite.kubeflow.package import open_package
from kfp_suite.testing.kfp_backend.backend import KfpDouble, running
from tests.schemas import KFP_API

DIGEST = f"sha256:{'5' * 64}"
KUBECONFIG = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
Command = Callable[..., Result]


@pytest.fixture
def kfp() -> Iterator[KfpDouble]:
    double = KfpDouble(KFP_API)
    with running(double):
        yield double
    assert double.wrong == []


@pytest.fixture(scope="session")
def lock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image lock, as `images build --push` writes one."""
    file = tmp_path_factory.mktemp("lock") / "image-lock.json"
    pushed = {name: f"registry.example.com/{image_name(name)}@{DIGEST}" for name in FAMILIES}
    write_lock(file, pushed)
    return file


@pytest.fixture(scope="session")
def rollouts(lock: Path) -> str:
    """The file of progressive_delivery, compiled once, with images that a cluster pulls."""
    file = lock.with_name("rollouts.yaml")
    file.write_text(open_package("progressive_delivery", adapted(lock)).content)
    return str(file)


@pytest.fixture(scope="session")
def training(lock: Path) -> str:
    """That of train_and_deploy."""
    file = lock.with_name("training.yaml")
    file.write_text(open_package("train_and_deploy", adapted(lock)).content)
    return str(file)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch, lock: Path) -> None:
    monkeypatch.setattr(connection, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.01)
    for name in (connection.ENDPOINT, "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KFP_SUITE_IMAGE_LOCK", str(lock))
    # Whoever runs the tests may have a cluster.
    monkeypatch.setattr(KUBECONFIG, "/nowhere/kubeconfig")


@pytest.fixture
def command(kfp: KfpDouble) -> Command:
    """kfp-suite with the double as its host."""

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, [*arguments, "--host", kfp.url])

    return run
