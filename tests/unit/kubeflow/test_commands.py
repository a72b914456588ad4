"""upload, submit, watch and schedule against a Kubeflow that can fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from kfp_suite.cli.main import cli
from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    MissingError,
    ParameterError,
    RunError,
)
from kfp_suite.image_builder.image_lock import adapted
from kfp_suite.kubeflow.package import open_package
from kfp_suite.local.catalog import pipelines
from kfp_suite.testing.kfp_backend.backend import Behaviour, KfpDouble
from tests.unit.kubeflow.conftest import Command

PIPELINE = "progressive_delivery"
ARGUMENTS = ("--param", "model_name=late", "--param", "store=gs://bucket/models")


def test_the_same_content_uploaded_twice_is_one_version(
    command: Command, kfp: KfpDouble, lock: Path
) -> None:
    first = command("upload", PIPELINE)
    assert first.exit_code == 0, first.output
    version = open_package(PIPELINE, adapted(lock)).version
    assert f"progressive-delivery, version {version}: uploaded" in first.output
    assert f"{kfp.url}/#/pipelines/details/" in first.output
    again = command("upload", PIPELINE)
    assert "is there already; nothing changed" in again.output
    assert len(kfp.state.versions) == 1


def test_another_content_is_another_version(
    command: Command, kfp: KfpDouble, tmp_path: Path
) -> None:
    resources = tmp_path / "resources.yaml"
    resources.write_text("tasks: {rollout: {memory: 2Gi}}")
    command("upload", PIPELINE)
    found = json.loads(command("upload", PIPELINE, "--resources", str(resources), "--json").output)
    assert found["new"] is True
    assert len(kfp.state.pipelines) == 1
    assert len(kfp.state.versions) == 2


def test_a_name_that_is_another_content_is_refused(
    command: Command, kfp: KfpDouble, tmp_path: Path
) -> None:
    resources = tmp_path / "resources.yaml"
    resources.write_text("tasks: {rollout: {memory: 2Gi}}")
    assert command("upload", PIPELINE, "--version", "mine").exit_code == 0
    refused = command(
        "upload", PIPELINE, "--version", "mine", "--resources", str(resources)
    ).exception
    assert isinstance(refused, AlreadyExistsError)
    assert "has another version 'mine'" in str(refused)


def test_all_pipelines_are_uploaded_at_once(command: Command, kfp: KfpDouble) -> None:
    done = command("upload", "--all", "--json")
    assert done.exit_code == 0, done.output
    uploaded = {json.loads(line)["name"].replace("-", "_") for line in done.output.splitlines()}
    assert uploaded == set(pipelines())
    assert len(kfp.state.versions) == len(uploaded)
    refused = command("upload", "--all", PIPELINE)
    assert "name the pipelines to upload, or give --all" in refused.output


def test_nothing_is_uploaded_if_one_of_several_is_not_right(
    command: Command, kfp: KfpDouble
) -> None:
    assert isinstance(command("upload", PIPELINE, "retrian").exception, MissingError)
    assert not kfp.state.versions


def test_a_file_of_ones_own_is_uploaded(
    command: Command, kfp: KfpDouble, tmp_path: Path, lock: Path
) -> None:
    file = tmp_path / "mine.yaml"
    content = open_package(PIPELINE, adapted(lock)).content
    file.write_text(content.replace("progressive-delivery", "mine"))
    assert "mine, version " in command("upload", str(file)).output
    file.write_text("a: 1")
    broken = command("upload", str(file)).exception
    assert "not a compiled pipeline" in str(broken)


@pytest.mark.parametrize(
    ("status", "performed"), [(503, False), (0, False), (0, True), (500, True)]
)
def test_what_is_lost_on_the_way_is_made_once(
    command: Command, kfp: KfpDouble, status: int, performed: bool
) -> None:
    for path in ("pipelines", "upload_version", "experiments", "runs"):
        kfp.fail_next(status, path=path, performed=performed)
    done = command("submit", PIPELINE, *ARGUMENTS)
    assert done.exit_code == 0, done.exception
    counts = [
        len(getattr(kfp.state, name)) for name in ("pipelines", "versions", "experiments", "runs")
    ]
    assert counts == [1, 1, 1, 1]


def test_a_run_is_of_the_uploaded_version_and_watched_to_its_end(
    command: Command, kfp: KfpDouble
) -> None:
    kfp.behave(Behaviour(seconds=0.0))
    done = command("submit", PIPELINE, *ARGUMENTS, "--experiment", "late", "--watch")
    assert done.exit_code == 0, done.exception
    assert "✓ rollout" in done.output
    assert "-driver" not in done.output
    assert "succeeded" in done.output
    (run,) = kfp.state.runs.values()
    (version,) = kfp.state.versions
    assert run["shown"]["pipeline_version_reference"]["pipeline_version_id"] == version
    assert run["shown"]["runtime_config"]["parameters"]["store"] == "gs://bucket/models"
    (experiment,) = kfp.state.experiments.values()
    assert experiment["display_name"] == "late"


def test_a_failed_run_says_which_task_and_exits_with_1(command: Command, kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(seconds=0.0, fails="rollout", message="no such version"))
    done = command("submit", PIPELINE, *ARGUMENTS, "--watch")
    assert isinstance(done.exception, RunError)
    assert done.exception.exit_code == 1
    assert "the run ended as failed" in str(done.exception)
    assert "rollout: no such version" in str(done.exception)
    assert "/#/runs/details/" in str(done.exception)


def test_a_run_is_terminated(command: Command, kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(hangs="rollout"))
    run = json.loads(command("submit", PIPELINE, *ARGUMENTS, "--json").output)["run_id"]
    assert command("runs", "terminate", run).exit_code == 0
    watched = command("runs", "watch", run)
    assert "the run was terminated" in str(watched.exception)
    assert isinstance(command("runs", "watch", "nobody").exception, MissingError)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--param", "model_name=late"), "missing parameter 'store'"),
        (
            ("--param", "modelname=late"),
            "unknown parameter 'modelname'; did you mean 'model_name'?",
        ),
        (
            ("--param", "model_name=late", "--param", "store=models"),
            "store: only this machine has this; got models",
        ),
        ((*ARGUMENTS, "--param", "look_seconds=often"), "'look_seconds' has the wrong type"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_sent(
    command: Command, kfp: KfpDouble, arguments: tuple[str, ...], told: str
) -> None:
    refused = command("submit", PIPELINE, *arguments).exception
    assert isinstance(refused, ParameterError)
    assert told in str(refused)
    assert kfp.requests == []


def test_a_schedule_is_made_changed_and_left_alone(command: Command, kfp: KfpDouble) -> None:
    made = command("schedule", PIPELINE, "--cron", "0 3 * * *", *ARGUMENTS)
    assert made.exit_code == 0, made.exception
    assert "progressive-delivery: scheduled\n" in made.output
    assert "next times of 0 0 3 * * *" in made.output
    assert made.output.count(" 03:00:00 UTC   ") == 5
    again = command("schedule", PIPELINE, "--cron", "0 3 * * *", *ARGUMENTS)
    assert "is scheduled like this already; nothing changed" in again.output
    changed = command(
        "schedule", PIPELINE, "--cron", "0 30 4 * * MON", "--max-concurrency", "2", *ARGUMENTS
    )
    assert "changed\n" in changed.output
    assert "cron: '0 0 3 * * *' -> '0 30 4 * * MON'" in changed.output
    assert "max_concurrency: 1 -> 2" in changed.output
    (one,) = kfp.state.recurring.values()
    assert one["mode"] == "ENABLE"
    assert one["display_name"] == "progressive-delivery"
    assert one["pipeline_version_reference"]["pipeline_version_id"] in kfp.state.versions


def test_the_latest_version_is_asked_for(command: Command, kfp: KfpDouble) -> None:
    assert command("schedule", PIPELINE, "--every", "6h", "--latest", *ARGUMENTS).exit_code == 0
    (one,) = kfp.state.recurring.values()
    assert "pipeline_version_id" not in one["pipeline_version_reference"]
    assert one["trigger"]["periodic_schedule"]["interval_second"] == "21600"


def test_schedules_are_listed_shown_paused_and_deleted(command: Command, kfp: KfpDouble) -> None:
    assert command("schedule", "list").output == "no schedules\n"
    command("schedule", PIPELINE, "--cron", "0 3 * * *", "--no-catchup", *ARGUMENTS)
    assert command("schedule", "list").output == "progressive-delivery: cron 0 0 3 * * *, on\n"
    shown = command("schedule", "show", "progressive-delivery").output
    assert "catchup: False" in shown
    assert "'store': 'gs://bucket/models'" in shown
    paused = command("schedule", "pause", "progressive-delivery").output
    assert f"kfp-suite schedule resume progressive-delivery --host {kfp.url}" in paused
    assert "paused" in command("schedule", "list").output
    assert command("schedule", "resume", "progressive-delivery").exit_code == 0
    near = command("schedule", "show", "progressive-delivry").exception
    assert "did you mean 'progressive-delivery'?" in str(near)
    assert command("schedule", "delete", "progressive-delivery", "--yes").exit_code == 0
    assert kfp.state.recurring == {}


@pytest.mark.parametrize("lost", ["created", "deleted"])
def test_a_change_that_was_killed_is_finished_by_the_next(
    command: Command, kfp: KfpDouble, lost: str
) -> None:
    """Between making the new one, deleting the old, and switching on."""
    command("schedule", PIPELINE, "--cron", "0 3 * * *", *ARGUMENTS)
    changed = ("schedule", PIPELINE, "--cron", "0 4 * * *", *ARGUMENTS)
    kfp.fail_next(403, path="recurringruns/" if lost == "created" else ":enable")
    assert command(*changed).exception is not None
    assert any(one["mode"] == "ENABLE" for one in kfp.state.recurring.values()) == (
        lost == "created"
    )
    assert command(*changed).exit_code == 0
    (one,) = kfp.state.recurring.values()
    assert (one["mode"], one["trigger"]["cron_schedule"]["cron"]) == ("ENABLE", "0 0 4 * * *")


def test_resources_are_in_what_is_uploaded(
    command: Command, kfp: KfpDouble, tmp_path: Path
) -> None:
    resources = tmp_path / "resources.yaml"
    resources.write_text(yaml.safe_dump({"tasks": {"rollout": {"cpu": "2", "timeout": "2h"}}}))
    assert command("upload", PIPELINE, "--resources", str(resources)).exit_code == 0
    (version,) = kfp.state.versions.values()
    spec, platform = (version["pipeline_spec"][k] for k in ("pipeline_spec", "platform_spec"))
    container = spec["deploymentSpec"]["executors"]["exec-rollout"]["container"]
    assert container["resources"]["resourceCpuRequest"] == "2"
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors["exec-rollout"] == {"activeDeadlineSeconds": "7200"}


def test_runs_are_listed_shown_and_compared(command: Command, kfp: KfpDouble) -> None:
    assert command("runs", "cluster", "list").output == "no runs\n"
    kfp.behave(Behaviour(seconds=30))
    command("submit", PIPELINE, *ARGUMENTS, "--name", "first")
    kfp.advance(60)
    kfp.behave(Behaviour(seconds=45, fails="rollout", message="no such version"))
    command("submit", PIPELINE, *ARGUMENTS, "--param", "version=7", "--name", "second")
    kfp.advance(3600)  # it is tried again three times
    listed = command("runs", "cluster", "list").output.splitlines()
    assert [line.split()[:2] for line in listed[1:]] == [
        ["second", "FAILED"],
        ["first", "SUCCEEDED"],
    ]
    shown = command("runs", "cluster", "show").output
    assert "second  FAILED" in shown
    assert "no such version" in shown
    assert "gs://bucket/models" in shown
    found = json.loads(command("runs", "cluster", "compare", "first", "second", "--json").output)
    assert found["parameters"] == {"version": [None, "7"]}
    assert found["states"] == {"rollout": ["SUCCEEDED", "FAILED"]}
    assert found["seconds"]["rollout"] == [30.0, 4 * 45.0]
    near = command("runs", "cluster", "show", "secnd").exception
    assert "did you mean 'second'?" in str(near)


def test_doctor_says_whether_it_answers(
    command: Command, kfp: KfpDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = command("doctor").output
    assert "kubeflow: upload, submit and schedule: yes" in told
    assert f"{kfp.url}: answers, version 2.15.0, of one user" in told
    kfp.token = "secret"
    found = json.loads(command("doctor", "--json").output)
    assert found["able"]["kubeflow"] is False
    assert "not signed in" in about_kubeflow(found)["found"]
    assert "secret" not in str(found)
    nobody = CliRunner().invoke(cli, ["doctor", "--json"])
    assert about_kubeflow(json.loads(nobody.output))["found"] == "no host named"


def about_kubeflow(told: dict[str, Any]) -> dict[str, Any]:
    """What doctor found of Kubeflow Pipelines."""
    return next(one for one in told["findings"] if one["what"] == "Kubeflow Pipelines")
