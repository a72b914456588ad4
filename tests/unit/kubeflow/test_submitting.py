"""What is sent to a cluster: for a cluster, of images that it finds, and each thing once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler

from kfp_suite.contracts.errors import AlreadyExistsError, ParameterError
from kfp_suite.image_builder.image_lock import adapted
from kfp_suite.kubeflow.connection import Backend, Connection
from kfp_suite.kubeflow.package import check_images, open_package
from kfp_suite.kubeflow.uploading import upload
from kfp_suite.notebook.cluster import Kubeflow
from kfp_suite.testing.kfp_backend.backend import KfpDouble
from tests.unit.kubeflow.conftest import Command
from tests.unit.kubeflow.user_pipelines import given, stranger, worked

PIPELINE = "progressive_delivery"
ARGUMENTS = ("--param", "model_name=late", "--param", "store=gs://bucket/models")


def sent(kfp: KfpDouble) -> dict[str, Any]:
    (run,) = kfp.state.runs.values()
    found: dict[str, Any] = run["shown"]["runtime_config"].get("parameters", {})
    return found


def test_a_run_on_a_cluster_deploys_to_it(command: Command, kfp: KfpDouble) -> None:
    done = command("submit", PIPELINE, *ARGUMENTS, "-n", "birds")
    assert done.exit_code == 0, done.exception
    assert (sent(kfp)["target"], sent(kfp)["namespace"]) == ("cluster", "birds")
    assert "on a cluster, unless you say otherwise: target=cluster, namespace=birds" in done.output


def test_what_somebody_set_stays(command: Command, kfp: KfpDouble) -> None:
    said = ("--param", "target=local", "--param", "namespace=fish", "--no-check")
    done = command("submit", PIPELINE, *ARGUMENTS, *said, "-n", "birds", "--json")
    assert json.loads(done.output)["filled_in"] == {}
    assert (sent(kfp)["target"], sent(kfp)["namespace"]) == ("local", "fish")


def test_a_scheduled_retrain_deploys_to_the_cluster(
    command: Command, kfp: KfpDouble, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "{model_name: late, label: late, store: 'gs://b/m', sources: {rows: 'gs://b/r.parquet'}}"
    )
    made = command("schedule", "retrain", "--params", str(file), "--cron", "0 3 * * *")
    assert made.exit_code == 0, made.exception
    assert "target=cluster" in made.output
    (one,) = kfp.state.recurring.values()
    assert one["runtime_config"]["parameters"]["target"] == "cluster"


def test_a_pipeline_of_somebody_else_s_is_called_as_it_is(
    command: Command, kfp: KfpDouble, tmp_path: Path
) -> None:
    """`target`, `namespace`, `store` and `sources` are its own words."""
    file = tmp_path / "stranger.yaml"
    compiler.Compiler().compile(stranger, str(file))
    own = ("--param", "store=north", "--param", "sources.hill=spring")
    done = command("submit", str(file), *own, "-n", "birds", "--json")
    assert done.exit_code == 0, done.exception
    told = json.loads(done.output)
    assert (told["filled_in"], told["brought"]) == ({}, [])
    assert sent(kfp) == {"store": "north", "sources": {"hill": "spring"}}


def test_a_notice_leads_to_this_kubeflow(command: Command, kfp: KfpDouble) -> None:
    slack = ("--param", "notify={slack: [{url_env: SLACK}]}")
    done = command("submit", PIPELINE, *ARGUMENTS, *slack)
    assert sent(kfp)["notify"] == {"slack": [{"url_env": "SLACK"}], "ui": kfp.url}
    assert f"notify.ui={kfp.url}" in done.output


def test_images_that_no_registry_has_are_refused(
    command: Command, kfp: KfpDouble, monkeypatch: pytest.MonkeyPatch, lock: Path
) -> None:
    monkeypatch.delenv("KFP_SUITE_IMAGE_LOCK")
    schedule = ("schedule", PIPELINE, "--cron", "0 3 * * *", *ARGUMENTS)
    for words in (("upload", PIPELINE), ("submit", PIPELINE, *ARGUMENTS), schedule):
        refused = command(*words).exception
        assert isinstance(refused, ParameterError)
        assert "kfp-suite-python-deploy:" in str(refused)
        assert "--image-lock" in str(refused)
        assert kfp.requests == []
    assert command("upload", PIPELINE, "--allow-local-images").exit_code == 0
    assert command("upload", PIPELINE, "--image-lock", str(lock)).exit_code == 0
    images = [
        one["container"]["image"]
        for version in kfp.state.versions.values()
        for one in version["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"].values()
    ]
    assert sum("@sha256:" in image for image in images) == len(images) / 2


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ("kfp-suite-python-deploy:0.1.0", False),
        ("team/kfp-suite-python-deploy:0.1.0", False),
        ("registry.example.com/kfp-suite-python-deploy:0.1.0", True),
        ("localhost:5000/kfp-suite-python-deploy:0.1.0", True),
        (f"kfp-suite-python-deploy@sha256:{'5' * 64}", True),
        ("python:3.12", True),  # somebody else's, on Docker Hub
    ],
)
def test_an_image_is_of_a_registry_or_not(tmp_path: Path, image: str, found: bool) -> None:
    file = tmp_path / "mine.yaml"
    content = open_package(PIPELINE).content
    local = next(iter(open_package(PIPELINE).images))
    file.write_text(content.replace(local, image))
    package = open_package(str(file))
    assert package.images == (image,)
    if found:
        check_images(package)
        return
    with pytest.raises(ParameterError, match="images that no registry has"):
        check_images(package)


def test_what_is_written_is_what_kfp_is_sent(
    command: Command, kfp: KfpDouble, tmp_path: Path
) -> None:
    file = tmp_path / "given.yaml"
    compiler.Compiler().compile(given, str(file))
    values = "{a: null, b: [null, 2024-01-15, 012, 1e-3], 'c': 'python3 {'}"
    done = command("submit", str(file), "--param", f"values={values}", "--param", "share=1")
    assert done.exit_code == 0, done.exception
    assert sent(kfp) == {
        "values": {"a": None, "b": [None, "2024-01-15", "012", 0.001], "c": "python3 {"},
        "share": 1.0,
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{a: .nan}", "endpoint.a: not a finite number"),
        ("{a: 9007199254740993}", "endpoint.a: KFP rounds whole numbers of this size"),
        ("{annotations: {a: '{{workflow.name}}'}}", "endpoint: on a cluster Argo fills in"),
        (
            "{annotations: {a: " + "x" * 100_001 + "}}",
            "parameter 'endpoint' is too large for a cluster",
        ),
    ],
)
def test_what_would_not_arrive_is_not_sent(
    command: Command, kfp: KfpDouble, value: str, message: str
) -> None:
    schedule = ("schedule", PIPELINE, "--cron", "0 3 * * *", *ARGUMENTS)
    for words in (("submit", PIPELINE, *ARGUMENTS), schedule):
        refused = command(*words, "--param", f"endpoint={value}").exception
        assert isinstance(refused, ParameterError)
        assert message in str(refused)
    assert not kfp.state.runs


@pytest.mark.parametrize("performed", [False, True])
def test_two_runs_of_one_name_are_two(command: Command, kfp: KfpDouble, performed: bool) -> None:
    nightly = ("submit", PIPELINE, *ARGUMENTS, "--name", "nightly", "--json")
    first = json.loads(command(*nightly).output)["run_id"]
    kfp.fail_next(503, path="/runs", method="POST", performed=performed)
    second = json.loads(command(*nightly).output)["run_id"]
    assert set(kfp.state.runs) == {first, second}
    assert first != second


def test_the_account_and_the_root_of_a_run_are_as_said(command: Command, kfp: KfpDouble) -> None:
    said = ("--service-account", "mine", "--pipeline-root", "gs://mine/root")
    assert command("submit", PIPELINE, *ARGUMENTS, *said).exit_code == 0
    (run,) = kfp.state.runs.values()
    assert run["shown"]["service_account"] == "mine"
    assert run["shown"]["runtime_config"]["pipeline_root"] == "gs://mine/root"


def test_a_workspace_is_uploaded_as_it_was_compiled(
    command: Command, kfp: KfpDouble, tmp_path: Path
) -> None:
    file = tmp_path / "worked.yaml"
    compiler.Compiler().compile(worked, str(file))
    assert command("submit", str(file)).exit_code == 0
    (version,) = kfp.state.versions.values()
    said = version["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]
    assert said["pipelineConfig"]["workspace"]["size"] == "5Gi"


def test_a_version_of_somebody_who_was_faster_is_not_taken_for_ours(
    kfp: KfpDouble, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Backend(Connection(host=kfp.url), sleep=lambda _: None)
    ours, theirs = open_package(PIPELINE, adapted(lock)), open_package(PIPELINE)
    uploading = kfp.state.version

    def faster(pipeline_id: str, name: str, description: str, content: bytes) -> Any:
        uploading(pipeline_id, name, theirs.digest, theirs.content.encode())
        return uploading(pipeline_id, name, description, content)

    monkeypatch.setattr(kfp.state, "version", faster)
    with pytest.raises(AlreadyExistsError, match="has another version 'mine'") as refused:
        upload(backend, ours, "mine")
    assert theirs.digest in str(refused.value)


def test_a_content_is_one_version_whatever_it_is_called(command: Command, kfp: KfpDouble) -> None:
    command("upload", PIPELINE, "--version", "prod")
    assert "version prod: is there already" in command("upload", PIPELINE).output
    assert command("submit", PIPELINE, *ARGUMENTS).exit_code == 0
    (version,) = kfp.state.versions
    (run,) = kfp.state.runs.values()
    assert run["shown"]["pipeline_version_reference"]["pipeline_version_id"] == version
    command("upload", PIPELINE, "--version", "other")  # who asks for a name gets it
    assert len(kfp.state.versions) == 2


def test_a_compiled_file_is_changed_as_the_files_say(
    command: Command, kfp: KfpDouble, tmp_path: Path, lock: Path
) -> None:
    file, resources = tmp_path / "mine.yaml", tmp_path / "resources.yaml"
    file.write_text(open_package(PIPELINE, adapted(lock)).content)
    resources.write_text("tasks: {rollout: {memory: 2Gi}}")
    newer = tmp_path / "newer.json"
    newer.write_text(lock.read_text().replace("registry.example.com", "other.example.com"))
    command("upload", str(file), "--resources", str(resources), "--image-lock", str(newer))
    (version,) = kfp.state.versions.values()
    executors = version["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"]
    container = executors["exec-rollout"]["container"]
    assert container["resources"]["resourceMemoryRequest"] == "2Gi"
    assert container["image"].startswith("other.example.com/")
    names = [one["name"] for one in container["env"]]
    assert len(names) == len(set(names))


def test_a_compiled_file_keeps_its_images_where_no_lock_is_given_for_it(
    command: Command, kfp: KfpDouble, tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(open_package(PIPELINE, adapted(lock)).content)
    newer = tmp_path / "newer.json"
    newer.write_text(lock.read_text().replace("registry.example.com", "other.example.com"))
    monkeypatch.setenv("KFP_SUITE_IMAGE_LOCK", str(newer))
    assert command("upload", str(file)).exit_code == 0
    Kubeflow(kfp.url).upload(str(file))
    (version,) = kfp.state.versions.values()
    assert "other.example.com" not in str(version)


def test_a_run_whose_tasks_will_not_be_shown_is_told(command: Command, tmp_path: Path) -> None:
    given = (
        *("--param", "model_name=late", "--param", "label=late", "--param", "store=gs://b/m"),
        *("--param", "sources={rows: 'gs://b/r.parquet'}"),
    )
    done = command("submit", "train_and_deploy", *given)
    assert "Argo" not in done.output + done.stderr
    params = tmp_path / "large.yaml"
    params.write_text(f"sql: SELECT '{'x' * 60_000}' AS a FROM rows\n")
    done = command("submit", "train_and_deploy", *given, "--params", str(params))
    assert done.exit_code == 0, done.exception
    assert "above 1.05 Argo compresses it, and Kubeflow's API shows no tasks" in done.stderr
