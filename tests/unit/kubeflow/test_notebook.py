"""Kubeflow from a notebook: what the commands can, and what they say where it goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kfp_suite.contracts.errors import ParameterError, RunError
from kfp_suite.kubeflow import arguments
from kfp_suite.notebook.cluster import Ended, Kubeflow, Shown
from kfp_suite.notebook.live import Live
from kfp_suite.testing.kfp_backend.backend import Behaviour, KfpDouble

GIVEN: dict[str, Any] = {"model_name": "late", "store": "gs://bucket/models"}
PIPELINE = "progressive_delivery"


def test_a_run_has_a_name_an_experiment_and_a_cluster(kfp: KfpDouble) -> None:
    kubeflow = Kubeflow(kfp.url)
    run = kubeflow.submit(PIPELINE, name="late", experiment="birds", **GIVEN)
    assert "target=cluster" in run._repr_html_()
    (kept,) = kfp.state.runs.values()
    assert kept["shown"]["display_name"] == "late"
    assert kept["shown"]["runtime_config"]["parameters"]["target"] == "cluster"
    (experiment,) = kfp.state.experiments.values()
    assert experiment["display_name"] == "birds"


def test_images_and_resources_are_those_of_files(
    kfp: KfpDouble, tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KFP_SUITE_IMAGE_LOCK")
    with pytest.raises(ParameterError, match="images that no registry has"):
        Kubeflow(kfp.url).upload(PIPELINE)
    Kubeflow(kfp.url, allow_local_images=True).upload(PIPELINE)
    resources = tmp_path / "resources.yaml"
    resources.write_text("tasks: {rollout: {memory: 2Gi}}")
    Kubeflow(kfp.url, image_lock=str(lock), resources=str(resources)).upload(PIPELINE)
    assert len(kfp.state.versions) == 2
    text = str(list(kfp.state.versions.values())[1])
    assert "registry.example.com/" in text
    assert "2Gi" in text


def test_a_failed_run_raises(kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(seconds=0.0, fails="rollout"))
    kubeflow = Kubeflow(kfp.url)
    run = kubeflow.submit(PIPELINE, **GIVEN)
    with pytest.raises(RunError, match="the run ended as failed") as refused:
        kubeflow.watch(run)
    assert "rollout" in str(refused.value)


def test_an_interrupted_watch_says_how_to_go_on(
    kfp: KfpDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.behave(Behaviour(hangs="rollout"))
    kubeflow = Kubeflow(kfp.url)
    run = kubeflow.submit(PIPELINE, **GIVEN)

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(kubeflow.backend, "sleep", interrupted)
    shown = kubeflow.watch(run)
    assert isinstance(shown, Shown)
    assert "the run goes on" in shown._repr_html_()
    assert "kubeflow.terminate(run)" in shown._repr_html_()
    kubeflow.terminate(run)
    with pytest.raises(RunError):
        kubeflow.watch(run)


def test_a_watch_shows_the_tasks(kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(seconds=0.0))
    kubeflow = Kubeflow(kfp.url)
    ended = kubeflow.watch(kubeflow.submit(PIPELINE, **GIVEN))
    assert isinstance(ended, Ended)
    assert {task.name for task in ended.state.tasks} == {"rollout", "record"}


def test_a_schedule_can_be_what_the_command_makes(kfp: KfpDouble) -> None:
    kubeflow = Kubeflow(kfp.url)
    more: dict[str, Any] = {"catchup": False, "max_concurrency": 2, "pin": False}
    made = kubeflow.schedule(PIPELINE, "6h", name="often", experiment="birds", **more, **GIVEN)
    assert "every 6:00:00" in made._repr_html_()
    (one,) = kfp.state.recurring.values()
    assert one["display_name"] == "often"
    assert one["trigger"]["periodic_schedule"]["interval_second"] == "21600"
    assert (one["no_catchup"], one["max_concurrency"]) == (True, "2")
    assert "pipeline_version_id" not in one["pipeline_version_reference"]
    changed = kubeflow.schedule(PIPELINE, "0 3 * * *", name="often", **GIVEN)
    assert "birds → Default" in changed._repr_html_()
    with pytest.raises(ParameterError, match="not a duration"):
        kubeflow.schedule(PIPELINE, "often", **GIVEN)
    assert "often" in kubeflow.schedules()._repr_html_()


def test_what_a_command_can_say_can_be_said_here(kfp: KfpDouble) -> None:
    kubeflow = Kubeflow(kfp.url)
    assert "version prod, uploaded" in kubeflow.upload(PIPELINE, version="prod")._repr_html_()
    said: dict[str, Any] = {"service_account": "mine", "pipeline_root": "gs://mine/root"}
    kubeflow.submit(PIPELINE, **said, **GIVEN)
    times: dict[str, Any] = {"start": "2020-01-01T00:00:00Z", "end": "2100-01-01T00:00:00Z"}
    made = kubeflow.schedule(PIPELINE, "0 3 * * *", **said, **times, **GIVEN)
    assert made._repr_html_().count("03:00:00 UTC</td><td") == 5
    assert "it starts now" not in made._repr_html_()
    (run,), (one,) = kfp.state.runs.values(), kfp.state.recurring.values()
    for kept in (run["shown"], one):
        assert kept["service_account"] == "mine"
        assert kept["runtime_config"]["pipeline_root"] == "gs://mine/root"
    assert one["trigger"]["cron_schedule"]["end_time"].startswith("2100-01-01")
    changed = kubeflow.schedule(PIPELINE, "0 4 * * *", **said, **times, **GIVEN)
    assert "it starts now: its --start is past" in changed._repr_html_()
    with pytest.raises(ParameterError, match="--end: is past"):
        kubeflow.schedule(PIPELINE, "0 3 * * *", end="2020-01-01", **GIVEN)


def test_parameters_can_be_those_of_a_published_version(
    kfp: KfpDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def parameters_from(origin: str, _: Any) -> dict[str, Any]:
        asked.append(origin)
        return {**GIVEN, "look_seconds": 5.0}

    monkeypatch.setattr(arguments, "parameters_from", parameters_from)
    kubeflow = Kubeflow(kfp.url)
    kubeflow.submit(PIPELINE, origin="gs://bucket/models/late/7")
    kubeflow.schedule(PIPELINE, "6h", origin="gs://bucket/models/late/7", look_seconds=7.0)
    assert asked == ["gs://bucket/models/late/7"] * 2
    (run,), (one,) = kfp.state.runs.values(), kfp.state.recurring.values()
    assert run["shown"]["runtime_config"]["parameters"]["look_seconds"] == 5.0
    assert one["runtime_config"]["parameters"]["look_seconds"] == 7.0


def test_what_is_none_is_not_said(kfp: KfpDouble) -> None:
    Kubeflow(kfp.url).submit(PIPELINE, label=None, **GIVEN)
    (run,) = kfp.state.runs.values()
    assert "label" not in run["shown"]["runtime_config"]["parameters"]


def test_an_outage_is_shown(kfp: KfpDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(Live, "show", lambda _, content: shown.append(str(content)))
    kfp.behave(Behaviour(seconds=0.0))
    kubeflow = Kubeflow(kfp.url)
    run = kubeflow.submit(PIPELINE, **GIVEN)
    monkeypatch.setattr(kubeflow.backend, "sleep", lambda _: None)
    kfp.fail_next(503, times=6, path="/runs/")
    kubeflow.watch(run)
    assert any("still trying" in text for text in shown)
