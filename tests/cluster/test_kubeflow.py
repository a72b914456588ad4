"""The commands against Kubeflow Pipelines: the double, and a real backend where one is given.

    KFP_SUITE_KFP_HOST=https://kubeflow.example.com/pipeline pytest tests/cluster/test_kubeflow.py

Credentials are found as the commands find them; KFP_SUITE_KFP_NAMESPACE names a profile, and
KFP_SUITE_KFP_TOKEN_FILE a token. A run starts, and is terminated at once: its image need not
be there. What a test makes has a name of its own, and is deleted.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import kfp
import pytest
from click.testing import CliRunner, Result

from kfp_suite.components.contracts.errors import MissingError, RunError
from kfp_suite.pipelines.cli.main import cli
from kfp_suite.pipelines.kubeflow import watching
from kfp_suite.pipelines.kubeflow.connection import Backend, Connection
from kfp_suite.pipelines.kubeflow.package import open_package
from kfp_suite.testing.kfp_backend.backend import Behaviour, KfpDouble, running

DEFINITION = (
    Path(__file__).resolve().parents[2].parent / "shared" / "kfp" / "kfp_api_v2beta1.swagger.json"
)
ARGUMENTS = ("--param", "model_name=late", "--param", "store=gs://bucket/models")
Command = Callable[..., Result]


@pytest.fixture(params=["double", "real"])
def options(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """How to reach it, as `Connection` takes it."""
    if request.param == "double":
        if not DEFINITION.exists():
            pytest.skip("KFP's API definition is not beside this checkout")
        double = KfpDouble(DEFINITION)
        double.behave(Behaviour(hangs="rollout"))
        with running(double):
            yield {"host": double.url}
        assert double.wrong == []
        return
    host = os.environ.get("KFP_SUITE_KFP_HOST")
    if not host:
        pytest.skip("no Kubeflow: KFP_SUITE_KFP_HOST=https://… pytest tests/cluster")
    names = {"namespace": "KFP_SUITE_KFP_NAMESPACE", "token_file": "KFP_SUITE_KFP_TOKEN_FILE"}
    given = {option: os.environ.get(variable, "") for option, variable in names.items()}
    yield {"host": host, **{option: value for option, value in given.items() if value}}


@pytest.fixture
def backend(options: dict[str, str]) -> Backend:
    return Backend(Connection(**options))


@pytest.fixture
def command(options: dict[str, str]) -> Command:
    words = [w for name, value in options.items() for w in (f"--{name.replace('_', '-')}", value)]

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, [*arguments, *words])

    return run


@pytest.fixture
def pipeline(backend: Backend, command: Command, tmp_path: Path) -> Iterator[Path]:
    """A compiled pipeline under a name that nobody else has; deleted with all that is of it."""
    name = f"kfp-suite-test-{secrets.token_hex(4)}"
    file = tmp_path / f"{name}.yaml"
    content = open_package("progressive_delivery").content
    file.write_text(content.replace("name: progressive-delivery\n", f"name: {name}\n"))
    yield file
    command("schedule", "delete", name, "--yes")
    client: kfp.Client = backend.client
    pipeline_id = client.get_pipeline_id(name)
    if pipeline_id:
        for version in client.list_pipeline_versions(pipeline_id).pipeline_versions or ():
            client.delete_pipeline_version(pipeline_id, version.pipeline_version_id)
        client.delete_pipeline(pipeline_id)


def test_an_upload_is_one_version_however_often(command: Command, pipeline: Path) -> None:
    first = json.loads(command("upload", str(pipeline), "--json").output)
    again = json.loads(command("upload", str(pipeline), "--json").output)
    assert first["new"] is True
    assert again["new"] is False
    assert again["version_id"] == first["version_id"]


def test_a_run_is_seen_and_terminated(
    command: Command, pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.2)
    done = command("submit", str(pipeline), *ARGUMENTS, "--json")
    assert done.exit_code == 0, done.exception
    run = json.loads(done.output)["run_id"]
    shown = json.loads(command("runs", "cluster", "show", run, "--json").output)
    assert shown["state"]["state"] in ("PENDING", "RUNNING")
    assert command("runs", "terminate", run).exit_code == 0
    watched = command("runs", "watch", run)
    assert isinstance(watched.exception, RunError)
    assert "ended as cancel" in str(watched.exception).lower()


def test_a_schedule_lives_and_dies(command: Command, pipeline: Path) -> None:
    name = pipeline.stem
    far = ("--start", "2100-01-01T00:00:00Z")  # so that it starts nothing
    made = command("schedule", str(pipeline), "--cron", "0 3 * * *", *far, *ARGUMENTS)
    assert made.exit_code == 0, made.exception
    again = command("schedule", str(pipeline), "--cron", "0 3 * * *", *far, *ARGUMENTS)
    assert "nothing changed" in again.output
    changed = command("schedule", str(pipeline), "--cron", "0 4 * * *", *far, *ARGUMENTS)
    assert "0 0 3 * * *" in changed.output and "0 0 4 * * *" in changed.output
    assert f"{name}: cron 0 0 4 * * *, on" in command("schedule", "list").output
    assert command("schedule", "pause", name).exit_code == 0
    assert f"{name}: cron 0 0 4 * * *, paused" in command("schedule", "list").output
    assert command("schedule", "resume", name).exit_code == 0
    assert command("schedule", "delete", name, "--yes").exit_code == 0
    assert name not in command("schedule", "list").output


def test_what_is_not_there_is_said_so(command: Command) -> None:
    missing = command("runs", "watch", "00000000-0000-0000-0000-000000000000").exception
    assert isinstance(missing, MissingError)
