"""A whole rollout on a cluster, in both modes of KServe: it judges by what pods or a
Prometheus say, and nobody is ever sent where nothing serves."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from kfp_suite.components.rollout.parameters import RolloutParameters
from kfp_suite.components.rollout.targets import ClusterTarget
from kfp_suite.contracts.errors import EndpointError, ParameterError
from kfp_suite.kserve.access import access
from kfp_suite.kserve.canary import with_candidate, with_mode
from kfp_suite.kserve.manifests import own_part
from kfp_suite.kserve.waiting import wait_until_serving
from kfp_suite.runtimes.local import free_port
from kfp_suite.stores.versions import CHAMPION, ModelStore
from kfp_suite.testing.kubernetes.cluster import Behaviour, KubernetesDouble
from tests.unit.deploy.conftest import on
from tests.unit.deploy.fleet import Conduct, Fleet
from tests.unit.deploy.rolling import alone, live, manifest, roll, share_of

_TOKEN = "roller"


def test_a_good_challenger_is_promoted(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    double.behave("*", Behaviour(after=0.2))
    outcome = roll(models, double, tmp_path)
    assert outcome.promoted, outcome.why
    assert [step.percent for step in outcome.steps] == [10, 50, 100]
    assert all(step.judgement["verdict"] == "good" for step in outcome.steps)
    assert served.shares == [
        {"1": 100},
        {"1": 90, "2": 10},
        {"1": 50, "2": 50},
        {"2": 100},
    ]
    assert alone(double, models, 2)
    again = roll(models, double, tmp_path / "again")
    assert again.why == "version 2 serves already: nothing was measured"
    assert (outcome.measured, again.measured) == (True, False)


@pytest.mark.parametrize(
    ("conduct", "why"),
    [
        (Conduct(errors=0.2), "worse by errors"),
        (Conduct(errors=1, code=400), "worse by refused requests"),
        (Conduct(seconds=0.6), "worse by slower than"),
    ],
)
def test_a_worse_one_is_rolled_back(
    double: KubernetesDouble,
    models: ModelStore,
    served: Fleet,
    tmp_path: Path,
    conduct: Conduct,
    why: str,
) -> None:
    double.behave("*", Behaviour(after=0.3))
    served.conduct["2"] = conduct
    outcome = roll(models, double, tmp_path)
    assert not outcome.promoted
    assert why in outcome.why
    assert alone(double, models, 1)
    # At no time more than its share, and never a share for nobody.
    assert served.shares == [{"1": 100}, {"1": 90, "2": 10}, {"1": 100}]


def test_one_that_cannot_start_gets_no_request(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    double.behave("*", Behaviour("crash_loop"))
    started = time.monotonic()

    def mend(applied: dict[str, Any]) -> None:
        """The stable version's own servers can start, after a while."""
        if not share_of(applied):
            double.behave("*", Behaviour(after=0.3))

    outcome = roll(models, double, tmp_path, timeout=5, before=mend)
    assert not outcome.promoted
    assert "exit code 1" in outcome.why
    assert "No module named 'sklearn'" in outcome.why
    assert time.monotonic() - started < 10
    assert served.shares == [{"1": 100}]
    assert alone(double, models, 1)


def test_metrics_that_stop_end_in_a_rollback(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    served.silent_after = 0
    outcome = roll(models, double, tmp_path, step_seconds=0.3)
    assert not outcome.promoted
    assert "not decided: errors: 0.00% of 0" in outcome.why
    assert alone(double, models, 1)


def left_at(double: KubernetesDouble, models: ModelStore, percent: int) -> None:
    """What a rollout of version 2 that was killed leaves behind."""
    cluster = on(double)
    found = cluster.get("wings", "models")
    mode, side = cluster.mode(found), manifest(models, 2)["spec"]["predictor"]
    part = with_candidate(with_mode(own_part(found), mode), side, percent, mode)
    wait_until_serving(cluster, cluster.apply(part), 5)


def test_what_was_killed_is_picked_up(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    left_at(double, models, 50)
    outcome = roll(models, double, tmp_path)
    assert outcome.promoted
    assert [step.percent for step in outcome.steps] == [50, 100]
    assert alone(double, models, 2)
    assert all("nobody" not in shares for shares in served.shares)


def test_what_is_further_than_the_steps_is_left_alone(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    left_at(double, models, 50)
    with pytest.raises(ParameterError, match=r"steps: the rollout is further.*at 50 %"):
        roll(models, double, tmp_path, steps=(10,))
    assert served.split() == {"1": 50, "2": 50}


def test_another_rollout_is_left_alone(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    cluster = on(double)
    found = own_part(cluster.get("wings", "models"))
    mode = cluster.mode(cluster.get("wings", "models"))
    side = manifest(models, 2)["spec"]["predictor"]
    side["annotations"]["kfp-suite.io/version"] = "7"
    cluster.apply(with_candidate(with_mode(found, mode), side, 10, mode))
    with pytest.raises(EndpointError, match="another rollout is under way; got version 7 at 10 %"):
        roll(models, double, tmp_path)
    assert live(double).percent == 10


def test_a_promoted_one_that_answers_wrongly_goes_back(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    double.behave("*", Behaviour(after=0.2))
    served.answers["2"]["probabilities"] = [[0.5, 0.5], [0.5, 0.5]]
    outcome = roll(models, double, tmp_path)
    assert not outcome.promoted
    assert "does not answer as the model does" in outcome.why
    assert alone(double, models, 1)
    assert all("nobody" not in shares for shares in served.shares)


def test_one_after_the_other(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    """A promoted predictor has the canary's name; the next canary takes the other."""
    for number, version in enumerate(("2", "1", "2")):
        outcome = roll(models, double, tmp_path / str(number), version)
        assert outcome.promoted, outcome.why
        assert alone(double, models, int(version))
    assert all("nobody" not in shares for shares in served.shares)


def test_two_versions_side_by_side(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    outcome = roll(models, double, tmp_path / "half", steps=(10, 50))
    assert (outcome.promoted, outcome.share) == (False, 50)
    assert outcome.why == "version 2 answers 50 % beside version 1"
    assert served.split() == {"1": 50, "2": 50}
    assert models.aliases("wings")[CHAMPION] == 1
    assert "version 2 at 50 %" in (tmp_path / "half" / "rollout" / "rollout.md").read_text()
    outcome = roll(models, double, tmp_path / "whole")
    assert [step.percent for step in outcome.steps] == [50, 100]
    assert alone(double, models, 2)


@pytest.mark.parametrize("double", ["Standard"], indirect=True)
def test_a_request_may_name_its_version(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    double.allow_only(
        _TOKEN,
        access("models", "roller", metrics=True, by_header=True)[1]["rules"],
        "models",
    )
    roll(models, double, tmp_path / "half", steps=(10, 50), by_header=True, token=_TOKEN)
    route = double.get("httproutes", "models/wings-by-version")
    kserves = double.get("httproutes", "models/wings")
    assert route["spec"]["hostnames"] == kserves["spec"]["hostnames"]
    assert route["spec"]["parentRefs"] == kserves["spec"]["parentRefs"]
    chosen = {
        rule["matches"][0]["headers"][0]["value"]: rule["backendRefs"][0]["name"]
        for rule in route["spec"]["rules"]
    }
    assert chosen == {"1": "wings-predictor", "2": "wings-blue-predictor"}
    assert route["spec"]["rules"][0]["matches"][0]["path"]["value"] == "^/.*$"
    roll(models, double, tmp_path / "whole", by_header=True, token=_TOKEN)
    with pytest.raises(KeyError):
        double.get("httproutes", "models/wings-by-version")


def features(value: str) -> dict[str, Any]:
    """Knative's features, with header choice set to `value`."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config-features", "namespace": "knative-serving"},
        "data": {"tag-header-based-routing": value},
    }


@pytest.mark.parametrize("double", ["Knative"], indirect=True)
def test_in_knative_mode_header_choice_is_asked_of_the_cluster_first(
    double: KubernetesDouble,
    models: ModelStore,
    served: Fleet,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is off by default; and without KServe's annotation there is nothing to choose from."""
    before = double.get("inferenceservices", "models/wings")

    def refused(folder: str) -> str:
        with pytest.raises(ParameterError, match=r"^by_header: ") as caught:
            roll(models, double, tmp_path / folder, by_header=True)
        assert double.get("inferenceservices", "models/wings") == before
        return str(caught.value)

    patch = "kubectl patch configmap config-features -n knative-serving --type merge"
    assert patch in refused("absent")
    double.add(features("disabled"))
    said = refused("disabled")
    assert "tag-header-based-routing: disabled in ConfigMap knative-serving/config" in said
    assert patch in said
    double.add(features("Enabled"))
    assert 'annotations: {serving.kserve.io/enable-tag-routing: "true"}' in refused("untagged")

    tags = {"metadata": {"annotations": {"serving.kserve.io/enable-tag-routing": "true"}}}
    double.edit("inferenceservices", "models/wings", tags)
    caplog.set_level("INFO")
    roll(models, double, tmp_path / "half", steps=(10, 50), by_header=True)
    live = double.get("inferenceservices", "models/wings")
    traffic = live["status"]["components"]["predictor"]["traffic"]
    assert {one["tag"]: one["percent"] for one in traffic} == {"latest": 50, "prev": 50}
    assert "Knative-Serving-Tag: latest chooses the candidate" in caplog.text


@pytest.mark.parametrize("double", ["Knative"], indirect=True)
def test_who_may_not_read_knatives_features_is_told_what_to_look_at(
    double: KubernetesDouble,
    models: ModelStore,
    served: Fleet,
    caplog: pytest.LogCaptureFixture,
) -> None:
    double.deny("get", "configmaps")
    with pytest.raises(ParameterError, match="KServe does not tag the versions"):
        ClusterTarget(on(double), "wings", "models", timeout=3, by_header=True)
    assert "cannot see whether Knative routes by header" in caplog.text
    assert "kubectl patch configmap config-features" in caplog.text


def test_labelled_records_reach_both_sides(
    double: KubernetesDouble, models: ModelStore, served: Fleet
) -> None:
    """Inside the cluster nobody splits in Standard mode: each side is asked itself."""
    cluster = on(double)
    found = cluster.get("wings", "models")
    mode, side = cluster.mode(found), manifest(models, 2)["spec"]["predictor"]
    cluster.apply(with_candidate(with_mode(own_part(found), mode), side, 10, mode))
    double.endpoint = ""
    double.edit("inferenceservices", "models/wings", {"metadata": {"labels": {"a": "b"}}})
    target = ClusterTarget(cluster, "wings", "models", timeout=5)
    hosts = [base for base, _ in target.sides()]
    if mode == "Standard":
        assert hosts == [
            "http://wings-predictor.models.svc.cluster.local",
            "http://wings-blue-predictor.models.svc.cluster.local",
        ]
    else:
        assert hosts == ["http://wings.models.svc.cluster.local"]


def test_the_role_is_enough(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    objects = access("models", "roller", metrics=True)
    role = next(one for one in objects if one["kind"] == "Role")
    double.allow_only(_TOKEN, role["rules"], "models")
    assert roll(models, double, tmp_path, token=_TOKEN).promoted


@contextmanager
def prometheus_of(fleet: Fleet, folder: Path) -> Iterator[str]:
    """A real Prometheus that scrapes a fleet five times a second."""
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "scrape_configs": [
            {
                "job_name": "pods",
                "http_sd_configs": [{"url": f"{fleet.url}/targets", "refresh_interval": "200ms"}],
            }
        ],
    }
    folder.mkdir()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    with open(folder / "log", "w") as output:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=output,
            stderr=output,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                if httpx.get(f"{address}/-/ready").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no Prometheus: apt-get install prometheus"
)
@pytest.mark.parametrize(
    ("double", "errors"), [("Standard", 0.0), ("Knative", 0.3)], indirect=["double"]
)
def test_a_prometheus_judges_as_the_pods_do(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path, errors: float
) -> None:
    served.conduct["2"] = Conduct(errors=errors)
    with prometheus_of(served, tmp_path / "prometheus") as address:
        outcome = roll(models, double, tmp_path, prometheus=address, look_seconds=0.2)
    assert outcome.promoted == (not errors), outcome.why
    assert ("worse by errors" in outcome.why) == bool(errors)
    assert alone(double, models, 1 if errors else 2)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"steps": ()}, "steps: not allowed"),
        ({"steps": (50, 10)}, "ascending percentages up to 100"),
        ({"steps": (10, 101)}, "ascending percentages up to 100"),
        ({"shadow": 10}, "shadow: not allowed; got 10"),
        ({"shadow": 10, "steps": (0, 100)}, "shadow: KServe copies no requests"),
        ({"undecided": "maybe"}, "undecided: not allowed; got maybe"),
        ({"labelled": "x.jsonl"}, "labelled, label: labelled records and the name"),
        ({"look_seconds": 0}, "look_seconds"),
        ({"target": "local"}, "manifest: no manifest"),
        ({"limits": {"confidence": 2}}, "limits.confidence: out of range"),
    ],
)
def test_bad_parameters_are_refused(given: dict[str, Any], told: str) -> None:
    given = {"target": "cluster", **given}
    with pytest.raises(ParameterError) as caught:
        RolloutParameters(store="gs://b/s", model_name="wings", **given)
    assert told in str(caught.value)


@pytest.mark.parametrize("settings", [{}, {"node_selector": {"disk": "ssd"}}])
def test_in_standard_mode_a_candidate_inherits_nothing(
    double: KubernetesDouble,
    models: ModelStore,
    served: Fleet,
    tmp_path: Path,
    settings: dict[str, Any],
) -> None:
    """KServe merges a canary over the stable predictor; a Knative revision is its own."""
    first = manifest(models, 1)
    first["spec"]["predictor"]["nodeSelector"] = {"disk": "hdd"}
    cluster = on(double)
    wait_until_serving(cluster, cluster.apply(first), 5)
    before = live(double)
    if settings or cluster.mode(cluster.get("wings", "models")) == "Knative":
        assert roll(models, double, tmp_path, settings=settings).promoted
        pods = double.objects("pods", "models")
        assert [one["spec"].get("nodeSelector", {}) for one in pods] == [
            settings.get("node_selector", {})
        ]
        return
    with pytest.raises(ParameterError, match="without nodeSelector, which the version that serves"):
        roll(models, double, tmp_path, settings=settings)
    assert live(double) == before


def test_what_a_rollout_would_drop_is_refused(
    double: KubernetesDouble, models: ModelStore, served: Fleet, tmp_path: Path
) -> None:
    settings = {"labels": {"team": "birds"}}
    with pytest.raises(ParameterError, match=r"metadata\.labels\.team, which the endpoint does"):
        roll(models, double, tmp_path, settings=settings)
    assert served.shares == [{"1": 100}]
