"""A rollout that is killed, whose cluster fails, or whose candidate does: the version before
serves again, or the next run goes on where it was."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.components.rollout.targets import ClusterTarget
from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    EndpointError,
    ParameterError,
    StoreError,
    TransientError,
)
from kfp_suite.kserve.access import access
from kfp_suite.kserve.canary import replacing, with_mode
from kfp_suite.kserve.manifests import own_part
from kfp_suite.kserve.waiting import roll_back
from kfp_suite.stores.versions import CHAMPION, ModelStore
from kfp_suite.testing.kubernetes.cluster import Behaviour, KubernetesDouble
from kfp_suite.testing.kubernetes.workloads import pod_status
from tests.unit.deploy.conftest import on
from tests.unit.deploy.fleet import Conduct, Fleet
from tests.unit.deploy.rolling import Event, alone, live, manifest, roll, share_of

_WRONG = [[0.5, 0.5], [0.5, 0.5]]


class Killed(BaseException):
    """The step's pod has gone."""


def killed_when(found: Any) -> Event:
    def event(applied: dict[str, Any]) -> None:
        if found(applied):
            raise Killed

    return event


def serves(version: int) -> Any:
    """Whether a manifest has a version, and nothing else."""

    def found(applied: dict[str, Any]) -> bool:
        predictor = applied["spec"]["predictor"]
        alone = share_of(applied) is None and "canaryTrafficPercent" not in predictor
        return alone and predictor["annotations"]["kfp-suite.io/version"] == str(version)

    return found


def silences(applied: dict[str, Any]) -> bool:
    """Whether a manifest takes a candidate's requests away."""
    percent = applied["spec"]["predictor"].get("canaryTrafficPercent")
    return percent == 0 or share_of(applied) == 0


@pytest.mark.parametrize(("steps", "done"), [((10, 50, 100), [50, 100]), ((100,), [0, 100])])
def test_what_was_killed_at_the_last_step_is_compared_again(
    double: KubernetesDouble,
    models: ModelStore,
    served: Fleet,
    tmp_path: Path,
    steps: tuple[int, ...],
    done: list[int],
) -> None:
    """With no request the stable version says nothing that it could be compared by."""
    with pytest.raises(Killed):
        roll(models, double, tmp_path, steps=steps, after=killed_when(lambda m: share_of(m) == 100))
    outcome = roll(models, double, tmp_path, steps=steps)
    assert outcome.promoted, outcome.why
    assert [step.percent for step in outcome.steps] == done
    assert outcome.steps[-1].judgement["criteria"][0]["stable"]["total"] > 0
    assert alone(double, models, 2)
    assert all("nobody" not in shares for shares in served.shares)


@pytest.mark.parametrize("right", [True, False])
def test_one_that_was_promoted_and_killed_is_asked_before_it_is_champion(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path, right: bool
) -> None:
    double.behave("*", Behaviour(after=0.3))
    with pytest.raises(Killed):
        roll(models, double, tmp_path, after=killed_when(serves(2)))
    assert models.aliases("wings")[CHAMPION] == 1
    if not right:
        served.answers["2"]["probabilities"] = _WRONG
    outcome = roll(models, double, tmp_path)
    assert outcome.promoted == right
    assert outcome.steps == ()
    if right:
        assert outcome.why == (
            "version 2 promoted: picked up after the last step; nothing was measured by this run"
        )
    else:
        assert "does not answer as the model does" in outcome.why
    assert alone(double, models, 2 if right else 1)
    assert all("nobody" not in shares for shares in served.shares)


def test_an_unfinished_deployment_is_asked_before_it_is_champion(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    cluster = on(double)
    found = cluster.get("wings", "models")
    cluster.apply(replacing(with_mode(manifest(models, 2), cluster.mode(found)), found))
    served.answers["2"]["probabilities"] = _WRONG
    with pytest.raises(EndpointError, match="does not answer as the model does"):
        roll(models, double, tmp_path)
    assert models.aliases("wings")[CHAMPION] == 1


@pytest.mark.parametrize("when", [silences, serves(1)])
def test_a_rollback_that_was_killed_is_finished(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path, when: Any
) -> None:
    served.conduct["2"] = Conduct(errors=0.3)
    with pytest.raises(Killed):
        roll(models, double, tmp_path, after=killed_when(when))
    served.conduct["2"] = Conduct()
    outcome = roll(models, double, tmp_path)
    assert not outcome.promoted
    assert outcome.why.startswith("version 2 rolled back: worse by errors")
    assert outcome.steps == ()
    assert alone(double, models, 1)
    assert "canaryTrafficPercent" not in _predictor(double)
    # Never again a share for the candidate.
    assert served.shares == [{"1": 100}, {"1": 90, "2": 10}, {"1": 100}]
    assert roll(models, double, tmp_path).why == outcome.why
    assert roll(models, double, tmp_path, attempt=2).promoted


def test_a_promoted_one_whose_rollback_was_killed_goes_back(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    right = served.answers["2"]["probabilities"]
    served.answers["2"]["probabilities"] = _WRONG
    with pytest.raises(Killed):
        roll(models, double, tmp_path, before=killed_when(serves(1)))
    served.answers["2"]["probabilities"] = right
    outcome = roll(models, double, tmp_path)
    assert "does not answer as the model does" in outcome.why
    assert alone(double, models, 1)


def _predictor(double: KubernetesDouble) -> dict[str, Any]:
    found: dict[str, Any] = double.get("inferenceservices", "models/wings")["spec"]["predictor"]
    return found


def test_a_rollback_that_fails_keeps_its_reason_and_is_not_called_done(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    served.conduct["2"] = Conduct(errors=0.3)
    tries = []

    def refuse(applied: dict[str, Any]) -> None:
        if not silences(applied) and share_of(applied) is None:
            tries.append(applied)
            raise EndpointError("no node has room")

    with pytest.raises(EndpointError) as caught:
        roll(models, double, tmp_path, before=refuse)
    assert "is to be rolled back (worse by errors" in str(caught.value)
    assert "no node has room" in str(caught.value)
    assert len(tries) == 1
    outcome = roll(models, double, tmp_path)
    assert outcome.why.startswith("version 2 rolled back: worse by errors")
    assert alone(double, models, 1)
    assert "canaryTrafficPercent" not in _predictor(double)


def test_an_api_that_fails_when_it_is_decided_loses_no_reason(
    double: KubernetesDouble,
    models: ModelStore,
    served: Fleet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the decision is to be written is known before there is one."""
    served.conduct["2"] = Conduct(errors=0.3)
    place, asked = ClusterTarget.place, []

    def once(target: ClusterTarget) -> str:
        asked.append(target)
        if len(asked) > 1:
            raise TransientError("the API does not answer")
        return place(target)

    with monkeypatch.context() as patch:
        patch.setattr(ClusterTarget, "place", once)
        outcome = roll(models, double, tmp_path)
    assert outcome.why.startswith("version 2 rolled back: worse by errors")
    served.conduct["2"] = Conduct()
    assert roll(models, double, tmp_path / "again").why == outcome.why


def test_an_api_that_does_not_answer_for_a_while_ends_no_rollout(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    """More often than a call is tried again, while it is waited for and between two looks."""

    def fail(applied: dict[str, Any]) -> None:
        if share_of(applied) == 10:
            double.fail_next(503, times=12)

    failures = iter([12])

    def between() -> None:
        double.fail_next(503, times=next(failures, 0))

    outcome = roll(models, double, tmp_path, timeout=20, after=fail, between=between)
    assert outcome.promoted, outcome.why
    assert [step.percent for step in outcome.steps] == [10, 50, 100]
    assert alone(double, models, 2)


@pytest.mark.parametrize("error", [StoreError("no more"), AlreadyExistsError("somebody's field")])
def test_any_error_with_a_live_candidate_takes_it_back(
    double: KubernetesDouble,
    models: ModelStore,
    served: Fleet,
    tmp_path: Path,
    error: StoreError,
) -> None:
    def refuse(applied: dict[str, Any]) -> None:
        if share_of(applied) == 50:
            raise error

    outcome = roll(models, double, tmp_path, before=refuse)
    assert outcome.why == f"version 2 rolled back: {error}"
    assert alone(double, models, 1)


def test_an_error_before_there_is_a_candidate_is_an_error(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    """Metrics that it may not read: 10 minutes later it would know no more."""
    double.allow_only("roller", access("models", "roller")[1]["rules"], "models")
    with pytest.raises(StoreError, match="refused"):
        roll(models, double, tmp_path, token="roller")
    assert served.shares == [{"1": 100}]
    assert alone(double, models, 1)
    double.deny("patch", "inferenceservices")
    with pytest.raises(StoreError, match="refused"):
        roll(models, double, tmp_path)
    assert alone(double, models, 1)


def test_labelled_records_that_are_not_there_are_an_error(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match="no such file"):
        roll(models, double, tmp_path, labelled=str(tmp_path / "none.jsonl"), label="flies")
    assert served.shares == [{"1": 100}]


@pytest.mark.parametrize("again", [False, True])
def test_a_candidate_that_dies_in_mid_step_is_noticed(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path, again: bool
) -> None:
    """Its counters count nothing any more: only its pods say so."""

    def die() -> None:
        for pod in double.objects("pods", "models"):
            if pod["metadata"]["annotations"]["kfp-suite.io/version"] != "2":
                continue
            now = pod["metadata"]["creationTimestamp"]
            dead = pod_status(pod["spec"], "oom", "failed", now)
            if again:  # and is started again, and ready
                ended = dead["containerStatuses"][0]["lastState"]
                dead = pod_status(pod["spec"], "ready", "ready", now)
                dead["containerStatuses"][0] |= {"restartCount": 1, "lastState": ended}
            double.add({"apiVersion": "v1", "kind": "Pod", **pod, "status": dead})

    deaths = iter([die])

    def between() -> None:
        for death in deaths:
            death()

    started = time.monotonic()
    outcome = roll(
        models,
        double,
        tmp_path,
        between=between,
        undecided="go_on",
        limits={"min_requests": 1_000_000},
    )
    assert not outcome.promoted
    assert "its servers fail: a server ended and was started again: pod wings-" in outcome.why
    assert "OOMKilled, exit code 137" in outcome.why
    assert [step.percent for step in outcome.steps] == [10]
    assert time.monotonic() - started < 10
    assert alone(double, models, 1)


def test_one_that_gave_no_answer_does_not_go_on(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    served.silent_after = 0
    outcome = roll(models, double, tmp_path, step_seconds=0.3, undecided="go_on")
    assert "at 10 % it gave no answer that was counted" in outcome.why
    assert [step.percent for step in outcome.steps] == [10]
    assert alone(double, models, 1)


def test_a_person_may_take_the_candidate_away(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    """Their word stands: the next step gives it no share again."""
    cluster = on(double)
    mode = cluster.mode(cluster.get("wings", "models"))

    def take() -> None:
        if live(double).candidate is not None:
            roll_back(cluster, own_part(cluster.get("wings", "models")), mode, 5)

    outcome = roll(models, double, tmp_path, between=take)
    assert not outcome.promoted
    assert "version 2 was not rolled out" in outcome.why
    assert "took the candidate away" in outcome.why
    assert alone(double, models, 1)
    assert roll(models, double, tmp_path).promoted


def test_servers_that_count_nothing_are_refused_at_once(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match="'torchserve' does not count its answers"):
        roll(models, double, tmp_path, runtime="torchserve")
    cluster = on(double)
    other = manifest(models, 1)
    other["spec"]["predictor"]["annotations"]["kfp-suite.io/runtime"] = "triton"
    cluster.apply(other)
    with pytest.raises(ParameterError, match=r"'triton' does not count.*got version 1"):
        roll(models, double, tmp_path)
