"""The commands against Kubeflow Pipelines: the double, and a real backend if one is named.

Credentials are found as the commands find them. A run starts, and is terminated at once: its image
need not be there. What a test makes has a name of its own, and is deleted, but for the experiment
`kfp-suite-test`. Two runs go to their end on a real backend, with images and a store: see
docs/cluster.md.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import kfp
import pytest
import yaml
from click.testing import CliRunner, Result

from kfp_suite.cli.main import cli
from kfp_suite.contracts.errors import InputError, MissingError, RunError
from kfp_suite.kubeflow import watching
from kfp_suite.kubeflow.connection import Backend, Connection
from kfp_suite.kubeflow.listing import find_cluster_run
from kfp_suite.kubeflow.package import open_package
from kfp_suite.kubeflow.records import record_of
from kfp_suite.kubeflow.submitting import runs_named
from kfp_suite.kubeflow.uploading import find_pipeline_id, versions
from kfp_suite.testing.kfp_backend.backend import Behaviour, KfpDouble, running
from tests.cluster.exam import Exam
from tests.cluster.installation import require
from tests.schemas import KFP_API, MISSING

pytestmark = pytest.mark.entry("the commands: upload, submit, terminate, schedule, records")
ARGUMENTS = ("--param", "model_name=late", "--param", "store=gs://bucket/models")
# The image of a run that is terminated at once need not be there.
LOCAL = ("--allow-local-images",)
# What runs are named after their pipeline.
RUNS = ("terminated", "well", "failing")
Command = Callable[..., Result]


@pytest.fixture(params=["double", "real"])
def options(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """How to reach it, as `Connection` takes it."""
    if request.param == "double":
        if KFP_API is None:
            pytest.skip(MISSING)
        double = KfpDouble(KFP_API)
        double.behave(Behaviour(hangs="rollout"))
        with running(double):
            yield {"host": double.url}
        assert double.wrong == []
        return
    given = asdict(require("host").connection)
    yield {option: value for option, value in given.items() if value}


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
def pipeline(
    request: pytest.FixtureRequest, backend: Backend, command: Command, tmp_path: Path
) -> Iterator[Path]:
    """A compiled pipeline under a name that nobody else has; deleted with all that is of it."""
    of = getattr(request, "param", "progressive_delivery")
    name = f"kfp-suite-test-{secrets.token_hex(4)}"
    file = tmp_path / f"{name}.yaml"
    content = open_package(of).content
    file.write_text(content.replace(f"name: {of.replace('_', '-')}\n", f"name: {name}\n"))
    yield file
    command("schedule", "delete", name, "--yes")
    client: kfp.Client = backend.client
    runs = [run for kind in RUNS for run in runs_named(backend, f"{name} {kind}")]
    for run in runs:
        client.delete_run(run.run_id)
    pipeline_id = find_pipeline_id(backend, name)
    if pipeline_id:
        for version in versions(backend, pipeline_id):
            client.delete_pipeline_version(pipeline_id, version.pipeline_version_id)
        client.delete_pipeline(pipeline_id)
    assert [run for kind in RUNS for run in runs_named(backend, f"{name} {kind}")] == []
    assert find_pipeline_id(backend, name) is None


@pytest.fixture
def storage(exam: Exam, pipeline: Path) -> str:
    """A folder of the test's own in object storage, with `rows.csv` in it."""
    rows = [f"{number},{number % 7},{int(number % 7 > 3)}" for number in range(500)]
    exam.write(f"{pipeline.stem}/rows.csv", "\n".join(["id,day,late", *rows]).encode())
    return f"{exam.store}/{pipeline.stem}"


@pytest.fixture
def resources(exam: Exam, tmp_path: Path) -> Path:
    """What the steps need, and that none is tried again."""
    given = exam.installation.resources
    said = yaml.safe_load(Path(given).read_text()) if given else {}
    file = tmp_path / "resources.yaml"
    file.write_text(
        yaml.safe_dump({**said, "defaults": {**said.get("defaults", {}), "retries": 0}})
    )
    return file


def test_an_upload_is_one_version_however_often(command: Command, pipeline: Path) -> None:
    first = json.loads(command("upload", str(pipeline), *LOCAL, "--json").output)
    again = json.loads(command("upload", str(pipeline), *LOCAL, "--json").output)
    assert first["new"] is True
    assert again["new"] is False
    assert again["version_id"] == first["version_id"]


def test_a_run_is_seen_and_terminated(
    command: Command, pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.2)
    of = ("--name", f"{pipeline.stem} terminated", "--experiment", "kfp-suite-test")
    done = command("submit", str(pipeline), *ARGUMENTS, *LOCAL, *of, "--json")
    assert done.exit_code == 0, done.exception
    run = json.loads(done.output)["run_id"]
    shown = json.loads(command("runs", "cluster", "show", run, "--json").output)
    assert shown["state"]["state"] in ("PENDING", "RUNNING")
    assert command("runs", "terminate", run).exit_code == 0
    watched = command("runs", "watch", run)
    assert isinstance(watched.exception, RunError)
    assert "the run was terminated" in str(watched.exception)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("options", ["real"], indirect=True)
@pytest.mark.parametrize("pipeline", ["train_and_deploy"], indirect=True)
def test_runs_end_and_their_records_say_how(
    command: Command, backend: Backend, exam: Exam, pipeline: Path, storage: str, resources: Path
) -> None:
    def submitted(kind: str, rows: str) -> str:
        values = {
            "model_name": "late",
            "label": "late",
            "sources": json.dumps({"rows": f"{storage}/{rows}"}),
            "store": f"{storage}/models",
            "target": "local",  # it needs no KServe
            "infra_place": "process",
        }
        given = [word for key, value in values.items() for word in ("--param", f"{key}={value}")]
        installation = exam.installation
        lock = ("--image-lock", installation.image_lock, "--resources", str(resources))
        of = ("--name", f"{pipeline.stem} {kind}", "--experiment", "kfp-suite-test")
        account = ("--service-account", installation.account) if installation.account else ()
        done = command("submit", str(pipeline), *given, *lock, *of, *account, "--json")
        assert done.exit_code == 0, done.output or done.exception
        return str(json.loads(done.output)["run_id"])

    well, failing = submitted("well", "rows.csv"), submitted("failing", "not-there.csv")
    watched = command("runs", "watch", well)
    assert watched.exit_code == 0, watched.exception
    failed = command("runs", "watch", failing).exception
    assert isinstance(failed, InputError)
    assert str(failed).startswith("resolve: ") and "not-there.csv" in str(failed)
    record = record_of(backend, find_cluster_run(backend, well))
    assert (record.run_id, record.status, record.reasons) == (well, "SUCCEEDED", [])
    assert record.version is not None and record.version["version"] == 1
    record = record_of(backend, find_cluster_run(backend, failing))
    assert (record.run_id, record.status, record.version) == (failing, "FAILED", None)
    (reason,) = record.reasons
    assert "not-there.csv" in reason


def test_a_schedule_lives_and_dies(command: Command, pipeline: Path) -> None:
    name = pipeline.stem
    # So that it starts nothing.
    far = ("--start", "2100-01-01T00:00:00Z", "--experiment", "kfp-suite-test")
    made = command("schedule", str(pipeline), "--cron", "0 3 * * *", *far, *ARGUMENTS, *LOCAL)
    assert made.exit_code == 0, made.exception
    again = command("schedule", str(pipeline), "--cron", "0 3 * * *", *far, *ARGUMENTS, *LOCAL)
    assert "nothing changed" in again.output
    changed = command("schedule", str(pipeline), "--cron", "0 4 * * *", *far, *ARGUMENTS, *LOCAL)
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
