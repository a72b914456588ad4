"""A Kubeflow that keeps state, and a small pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kfp_suite.pipelines.cli.main import cli
from kfp_suite.pipelines.kubeflow import connection, watching
from kfp_suite.testing.kfp_backend.backend import KfpDouble, running

DEFINITION = (
    Path(__file__).resolve().parents[3].parent / "shared" / "kfp" / "kfp_api_v2beta1.swagger.json"
)
Command = Callable[..., Result]


@pytest.fixture
def kfp() -> Iterator[KfpDouble]:
    double = KfpDouble(DEFINITION if DEFINITION.exists() else None)
    with running(double):
        yield double
    assert double.wrong == []


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.01)
    monkeypatch.delenv(connection.ENDPOINT, raising=False)


@pytest.fixture
def command(kfp: KfpDouble) -> Command:
    """kfp-suite with the double as its host."""

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, [*arguments, "--host", kfp.url])

    return run
