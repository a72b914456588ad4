"""Recurring runs as time passes: what they start, and what a change of them does not."""

from __future__ import annotations

import copy
import itertools
import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.contracts.errors import AlreadyExistsError, ParameterError
from kfp_suite.testing.kfp_backend.backend import Behaviour, KfpDouble
from tests.unit.kubeflow.conftest import Command

PIPELINE = "progressive_delivery"
ARGUMENTS = ("--param", "model_name=late", "--param", "store=gs://bucket/models")
DAILY = ("schedule", PIPELINE, *ARGUMENTS, "--cron")
DAY = 24 * 3600
# Half a day from now, so that no test meets it by chance.
AT = f"0 {(datetime.now(UTC).hour + 12) % 24} * * *"


@pytest.fixture(autouse=True)
def today(kfp: KfpDouble) -> None:
    """The double's time is this machine's, and its runs take none."""
    kfp.state.now = datetime.now(UTC)
    kfp.behave(Behaviour(seconds=0.0))


def ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds")


@pytest.mark.parametrize("every", [False, True])
def test_a_new_schedule_catches_up_and_a_changed_one_does_not_again(
    command: Command, kfp: KfpDouble, every: bool
) -> None:
    def scheduled(*more: str) -> str:
        when = ("--every", "1d") if every else ("--cron", AT)
        done = command("schedule", PIPELINE, *ARGUMENTS, *when, "--start", ago(10), *more)
        assert done.exit_code == 0, done.exception
        return done.output

    assert "it starts now" not in scheduled()
    kfp.advance(60)
    assert len(kfp.state.runs) == 10
    assert "nothing changed" in scheduled()  # another past start is no other start
    changed = scheduled("--max-concurrency", "2")
    assert "max_concurrency: 1 -> 2" in changed
    assert "it starts now: its --start is past" in changed
    assert "nothing changed" in scheduled("--max-concurrency", "2")
    kfp.advance(60)
    assert len(kfp.state.runs) == 10
    kfp.advance(DAY)
    assert len(kfp.state.runs) == 11


def test_a_pause_is_made_up_for_and_the_command_says_by_how_many(
    command: Command, kfp: KfpDouble
) -> None:
    command("schedule", PIPELINE, *ARGUMENTS, "--cron", "0 * * * *")
    command("schedule", "pause", "progressive-delivery")
    (one,) = kfp.state.recurring.values()
    week_ago = datetime.now(UTC) - timedelta(days=7)
    one["created_at"] = week_ago.isoformat(timespec="seconds")
    said = command("schedule", "resume", "progressive-delivery").output
    kfp.advance(1)
    made_up = len(kfp.state.runs)
    assert made_up in (167, 168)
    assert "progressive-delivery is on" in said
    assert (
        f"{made_up} runs follow, one after the other, for times that are past; to go on from now "
        f"instead: kfp-suite schedule resume progressive-delivery --no-catchup --host {kfp.url}"
    ) in said
    # They have run: nothing is left to be made up for.
    command("schedule", "pause", "progressive-delivery")
    again = command("schedule", "resume", "progressive-delivery").output
    assert again == "progressive-delivery is on\n"


def test_a_pause_may_be_left_out(command: Command, kfp: KfpDouble) -> None:
    command("schedule", PIPELINE, *ARGUMENTS, "--every", "1h", "--start", ago(7))
    command("schedule", "pause", "progressive-delivery")
    (before,) = [dict(one) for one in kfp.state.recurring.values()]
    for _ in range(2):  # also of one that is on, with runs still to come
        done = command("schedule", "resume", "progressive-delivery", "--no-catchup")
        assert (done.exit_code, done.output) == (0, "progressive-delivery is on\n")
        kfp.advance(60)
        assert kfp.state.runs == {}
        (one,) = kfp.state.recurring.values()
        assert (one["mode"], one.get("no_catchup", False)) == ("ENABLE", False)
        for field in ("runtime_config", "pipeline_version_reference", "max_concurrency"):
            assert one[field] == before[field]
    kfp.advance(3600)
    assert len(kfp.state.runs) == 1


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        ({"cron_schedule": {"cron": "@daily"}}, "cron @daily"),
        ({"cron_schedule": {"cron": "0 0 25 * * *"}}, "cron 0 0 25 * * *"),
        ({"cron_schedule": {"cron": "0 3 * * 7"}}, "cron 0 3 * * 7"),
        ({"periodic_schedule": {}}, "no trigger"),
        ({}, "no trigger"),
    ],
)
def test_a_schedule_that_others_made_is_shown(
    command: Command, kfp: KfpDouble, trigger: dict[str, Any], words: str
) -> None:
    """With a trigger that Kubeflow takes and we would not write."""
    command(*DAILY, AT)
    (one,) = kfp.state.recurring.values()
    one["trigger"] = trigger
    command("schedule", "pause", "progressive-delivery")
    one["trigger"] = trigger
    listed = command("schedule", "list")
    assert f"progressive-delivery: {words}, paused" in listed.output
    assert command("schedule", "list", "--json").exit_code == 0
    resumed = command("schedule", "resume", "progressive-delivery")
    assert (resumed.exit_code, resumed.output) == (0, "progressive-delivery is on\n")
    shown = command("schedule", "show", "progressive-delivery")
    assert f"next times: unknown ({words})" in shown.output
    asked = json.loads(command("schedule", "show", "progressive-delivery", "--json").output)
    assert asked["next"] == []


def test_a_new_schedule_says_how_many_runs_it_makes_up_for(
    command: Command, kfp: KfpDouble
) -> None:
    said = command(*DAILY, AT, "--start", ago(10)).output
    assert "10 runs follow, one after the other, for times that are past" in said
    paused = command("schedule", PIPELINE, *ARGUMENTS, "--cron", AT, "--start", ago(-10))
    assert "for times that are past" not in paused.output
    one_run = command(*DAILY, AT, "--name", "other", "--start", ago(10), "--no-catchup").output
    assert "1 run follows for times that are past" in one_run


def test_a_start_to_come_is_waited_for(command: Command, kfp: KfpDouble) -> None:
    command(*DAILY, AT, "--start", ago(-10))
    kfp.advance(9 * DAY)
    assert kfp.state.runs == {}
    other = command(*DAILY, AT, "--start", ago(-12)).output
    assert "start: '20" in other
    assert "it starts now" not in other


def test_without_catch_up_what_was_missed_is_left_out(command: Command, kfp: KfpDouble) -> None:
    command(*DAILY, AT, "--start", ago(10), "--no-catchup")
    kfp.advance(60)
    assert len(kfp.state.runs) == 1


def test_another_experiment_is_a_change(command: Command, kfp: KfpDouble) -> None:
    command(*DAILY, AT)
    changed = command(*DAILY, AT, "--experiment", "birds").output
    assert "experiment: 'Default' -> 'birds'" in changed
    (one,) = kfp.state.recurring.values()
    assert kfp.state.experiments[one["experiment_id"]]["display_name"] == "birds"


def test_what_is_left_out_is_as_the_installation_has_it_again(
    command: Command, kfp: KfpDouble
) -> None:
    given = ("--service-account", "mine", "--pipeline-root", "gs://mine/root")
    command(*DAILY, AT, *given)
    (one,) = kfp.state.recurring.values()
    assert one["service_account"] == "mine"
    assert one["runtime_config"]["pipeline_root"] == "gs://mine/root"
    changed = command(*DAILY, AT).output
    assert "service_account: 'mine' -> ''" in changed
    assert "pipeline_root: 'gs://mine/root' -> ''" in changed
    (one,) = kfp.state.recurring.values()
    assert one["service_account"] == "pipeline-runner"
    assert "pipeline_root" not in one["runtime_config"]
    assert "nothing changed" in command(*DAILY, AT).output


def test_the_latest_version_is_called_so_and_run(
    command: Command, kfp: KfpDouble, tmp_path: Path
) -> None:
    command(*DAILY, AT, "--latest")
    shown = command("schedule", "show", "progressive-delivery").output
    assert "version: latest" in shown
    assert "pipeline: progressive-delivery" in shown
    assert "experiment: Default" in shown
    resources = tmp_path / "resources.yaml"
    resources.write_text("tasks: {rollout: {memory: 2Gi}}")
    newer = json.loads(command("upload", PIPELINE, "--resources", str(resources), "--json").output)
    kfp.advance(DAY)
    (run,) = kfp.state.runs.values()
    reference = run["shown"]["pipeline_version_reference"]
    assert reference["pipeline_version_id"] == newer["version_id"]
    pinned = command(*DAILY, AT).output
    assert "version: 'latest' -> '0." in pinned
    kfp.state.versions.clear()
    assert "version: " in command("schedule", "show", "progressive-delivery").output


def test_a_pause_shows_five_times_too(command: Command, kfp: KfpDouble) -> None:
    made = command("schedule", PIPELINE, "--every", "6h", *ARGUMENTS, "--json")
    times = [datetime.fromisoformat(text) for text in json.loads(made.output)["next"]]
    assert len(times) == 5
    assert {(b - a).seconds for a, b in itertools.pairwise(times)} == {6 * 3600}
    soon = times[0] - datetime.now(UTC)
    assert timedelta(hours=5.9) < soon <= timedelta(hours=6.1)
    kfp.advance(6 * 3600 + 60)
    assert len(kfp.state.runs) == 1
    shown = command("schedule", "show", "progressive-delivery").output
    assert shown.count(" UTC   ") == 5
    assert "CRON_SCHEDULE_TIMEZONE" in command(*DAILY, AT).output


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (("--end", ago(1)), "--end: is past"),
        (("--start", ago(-5), "--end", ago(-2)), "--end: is not after --start"),
        (("--start", "tomorrow"), "--start: not a time"),
    ],
)
def test_a_schedule_that_starts_nothing_is_refused(
    command: Command, kfp: KfpDouble, times: tuple[str, ...], told: str
) -> None:
    refused = command(*DAILY, AT, *times).exception
    assert isinstance(refused, ParameterError)
    assert told in str(refused)
    assert kfp.requests == []


def named_so(kfp: KfpDouble, **other: Any) -> str:
    """Another schedule of the same name, as somebody makes it in the UI."""
    (one,) = kfp.state.recurring.values()
    made = {**one, "recurring_run_id": str(uuid.uuid4()), **other}
    kfp.state.recurring[made["recurring_run_id"]] = made
    return str(made["recurring_run_id"])


@pytest.mark.parametrize("what", ["pipeline", "model"])
def test_a_schedule_of_something_else_is_left_alone(
    command: Command, kfp: KfpDouble, what: str
) -> None:
    """The API lets many have one name."""
    command(*DAILY, AT)
    (mine,) = kfp.state.recurring.values()
    if what == "pipeline":
        mine["pipeline_version_reference"] = {"pipeline_id": "theirs", "pipeline_version_id": "1"}
    else:
        mine["runtime_config"]["parameters"]["model_name"] = "theirs"
    before = copy.deepcopy(kfp.state.recurring)
    refused = command(*DAILY, "0 4 * * *")
    assert isinstance(refused.exception, AlreadyExistsError)
    assert f"is of another {what}; got theirs" in str(refused.exception)
    assert kfp.state.recurring == before
    assert command(*DAILY, "0 4 * * *", "--name", "mine").exit_code == 0
    assert len(kfp.state.recurring) == 2


def test_of_several_that_differ_none_is_taken(command: Command, kfp: KfpDouble) -> None:
    command(*DAILY, AT)
    (first,) = kfp.state.recurring
    second = named_so(kfp, max_concurrency="3")
    refusals = [
        command(*DAILY, "0 4 * * *").exception,
        command(*DAILY, AT).exception,
        command("schedule", "pause", "progressive-delivery").exception,
    ]
    for refused in refusals:
        assert isinstance(refused, AlreadyExistsError)
        assert f"{first}, {second}" in str(refused)
    assert set(kfp.state.recurring) == {first, second}
    assert command("schedule", "delete", second, "--yes").exit_code == 0
    assert command(*DAILY, "0 4 * * *").exit_code == 0


def test_what_goes_with_a_change_is_listed(command: Command, kfp: KfpDouble) -> None:
    command(*DAILY, AT)
    paused = named_so(kfp, max_concurrency="3", mode="DISABLE", status="DISABLED")
    changed = command(*DAILY, "0 4 * * *")
    assert f"  removed, of the same name: {paused}, cron 0 {AT}, paused\n" in changed.output
    assert len(kfp.state.recurring) == 1


def test_no_more_run_at_once_than_may(command: Command, kfp: KfpDouble) -> None:
    kfp.behave(Behaviour(hangs="rollout"))
    command(*DAILY, AT, "--start", ago(10), "--max-concurrency", "3")
    kfp.advance(60)
    assert len(kfp.state.runs) == 3
