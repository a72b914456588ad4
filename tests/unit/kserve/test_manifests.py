"""The manifests of an endpoint: what its pods may do, who they are, and how they end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.kserve.images import IMAGE_VARIABLES
from kfp_suite.kserve.manifests import (
    IMAGE,
    SPEC_DIGEST,
    Served,
    inference_service,
    serving_runtime,
    serving_runtime_name,
    to_yaml,
)
from kfp_suite.kserve.multi_model import shared_service, trained_model
from kfp_suite.kserve.settings import parse_settings
from kfp_suite.kserve.storage import STORE_VARIABLE
from kfp_suite.server.limits import PREDICT_SECONDS

LOCKED = "registry.example.com/team/kfp-suite-python-serving@sha256:" + "5" * 64
OWN = {"image": "registry.example.com/server:1"}
SERVED = Served(
    name="late",
    model="late",
    version=3,
    digest="sha256:1",
    manifest_digest="sha256:2",
    store="gs://bucket/models",
    model_uri="gs://bucket/models/late/3/model-1",
)


def made(served: Served = SERVED, mode: str | None = "Standard", **settings: Any) -> dict[str, Any]:
    parsed = parse_settings({**OWN, **settings})
    return inference_service(served, namespace="models", settings=parsed, mode=mode)


def at(store: str, path: str = "/late/3/model-1") -> Served:
    return replace(SERVED, store=store, model_uri=store + path)


@pytest.fixture
def container() -> dict[str, Any]:
    found = serving_runtime("server:1", "models")["spec"]["containers"][0]
    assert isinstance(found, dict)
    return found


class TestImage:
    def test_the_lock_says_it_and_the_endpoint_tells(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(IMAGE_VARIABLES["serving"], LOCKED)
        found = made(image="")
        assert found["spec"]["predictor"]["model"]["runtime"] == serving_runtime_name(LOCKED)
        assert found["metadata"]["annotations"][IMAGE] == LOCKED
        assert found["spec"]["predictor"]["annotations"][IMAGE] == LOCKED

    def test_each_family_has_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(IMAGE_VARIABLES["serving"], LOCKED)
        network = replace(SERVED, framework="tensorflow")
        with pytest.raises(ParameterError, match="got kfp-suite-python-tensorflow"):
            made(network, image="")
        monkeypatch.setenv(IMAGE_VARIABLES["tensorflow"], "r/tf@sha256:1")
        assert made(network, image="")["metadata"]["annotations"][IMAGE] == "r/tf@sha256:1"

    def test_a_cluster_is_not_sent_to_no_registry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(IMAGE_VARIABLES["serving"], raising=False)
        with pytest.raises(ParameterError) as caught:
            made(image="")
        assert str(caught.value).startswith(
            "settings.image: no registry to pull the model server's"
        )
        assert "--image-lock" in str(caught.value)
        with pytest.raises(ParameterError, match="no registry"):
            shared_service(SERVED, "models", parse_settings({"shared": "zoo"}), "Standard")
        made(image="on-the-nodes:1")
        assert made(image="", mode=None)["metadata"]["annotations"][IMAGE].endswith(":0.1.0")

    def test_the_transformer_has_one_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(IMAGE_VARIABLES["serving"], raising=False)
        stock = replace(SERVED, runtime="sklearn")
        with pytest.raises(ParameterError, match="no registry"):
            made(stock)
        assert "transformer" not in made(stock, transformer=False)["spec"]
        side = made(stock, transformer_image="r/t:1")["spec"]["transformer"]
        assert side["containers"][0]["image"] == side["annotations"][IMAGE] == "r/t:1"


class TestPods:
    def test_pod_security_restricted_takes_them(self, container: dict[str, Any]) -> None:
        stock = replace(SERVED, runtime="sklearn")
        side = made(stock, transformer_image="r/t:1")["spec"]["transformer"]
        for one, pod in (
            (container, serving_runtime("server:1", "models")["spec"]),
            (side["containers"][0], side),
        ):
            rights = one["securityContext"]
            assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert rights["runAsNonRoot"] is True
            assert rights["readOnlyRootFilesystem"] is True
            (mount,) = one["volumeMounts"]
            assert mount["mountPath"] == "/tmp"
            scratch = {"name": mount["name"], "emptyDir": {"sizeLimit": "1Gi"}}
            assert pod["volumes"] == [scratch]
            assert one["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": 8080}
            assert one["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 8080}
            start = one["startupProbe"]
            assert start["periodSeconds"] * start["failureThreshold"] == 600

    def test_several_are_spread_over_nodes(self) -> None:
        """By the labels of their own component, as KServe gives them to pods."""
        stock = replace(SERVED, runtime="sklearn")
        spec = made(stock, transformer_image="r/t:1", min_replicas=2)["spec"]
        shared = shared_service(
            SERVED,
            "models",
            parse_settings({**OWN, "shared": "many", "max_replicas": 3}),
            "Standard",
        )["spec"]
        for name, component, side in (
            (SERVED.name, "predictor", spec["predictor"]),
            (SERVED.name, "transformer", spec["transformer"]),
            ("many", "predictor", shared["predictor"]),
        ):
            (constraint,) = side["topologySpreadConstraints"]
            assert constraint["labelSelector"]["matchLabels"] == {
                "serving.kserve.io/inferenceservice": name,
                "component": component,
            }
            assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"

    def test_one_is_not_spread_nor_what_knative_would_refuse(self) -> None:
        for more in ({}, {"min_replicas": 2, "mode": "Knative"}, {"min_replicas": 2, "mode": None}):
            assert "topologySpreadConstraints" not in made(**more)["spec"]["predictor"]

    def test_they_hold_no_token_of_the_kubernetes_api(self) -> None:
        sides = made(replace(SERVED, runtime="sklearn"), transformer_image="r/t:1")["spec"]
        shared = shared_service(
            SERVED, "models", parse_settings({**OWN, "shared": "many"}), "Standard"
        )
        for side in (sides["predictor"], sides["transformer"], shared["spec"]["predictor"]):
            assert side["automountServiceAccountToken"] is False

    def test_workers_are_an_argument_of_our_own_server(self) -> None:
        def arguments(options: dict[str, Any]) -> list[str]:
            settings = parse_settings(OWN)
            found = inference_service(
                SERVED, namespace="models", settings=settings, options=options, mode="Standard"
            )
            return list(found["spec"]["predictor"]["model"]["args"])

        assert arguments({"workers": 2.0}) == ["--model_version=3", "--workers=2"]
        assert arguments({}) == arguments({"workers": 1}) == ["--model_version=3"]
        pages = {"cors_origins": ["https://a.example", "https://b.example"]}
        assert arguments(pages)[1:] == [f"--cors_origin={one}" for one in pages["cors_origins"]]
        for refused in ({"workers": 0}, {"workers": 65}, {"worker": 2}):
            with pytest.raises(ParameterError, match="runtime_options"):
                arguments(refused)

    def test_a_transformer_has_the_variables_and_a_size_of_its_own(self) -> None:
        stock = replace(SERVED, runtime="sklearn")
        secret = {"secret": "s", "key": "k"}
        given: dict[str, Any] = {
            "transformer_image": "r/t:1",
            "env": {"LEVEL": "debug", "TOKEN": secret},
        }
        spec = made(stock, **given, transformer_limits={"memory": "2Gi"})["spec"]
        (container,) = spec["transformer"]["containers"]
        assert container["env"][:-1] == [
            {"name": "LEVEL", "value": "debug"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ]
        assert container["env"][-1]["name"] == "STORAGE_URI"
        assert container["resources"] == {
            "requests": {"cpu": "500m", "memory": "512Mi"},
            "limits": {"memory": "2Gi"},
        }

    def test_standard_mode_has_both_protocols_and_waits_before_it_ends(self) -> None:
        predictor = made()["spec"]["predictor"]
        model = predictor["model"]
        assert [(p["name"], p["containerPort"]) for p in model["ports"]] == [
            ("http1", 8080),
            ("h2c", 8081),
        ]
        command = model["lifecycle"]["preStop"]["exec"]["command"]
        assert command == ["python", "-c", "import time; time.sleep(5)"]
        assert predictor["terminationGracePeriodSeconds"] == 10 + PREDICT_SECONDS
        assert made(timeout=300)["spec"]["predictor"]["terminationGracePeriodSeconds"] == 310

    @pytest.mark.parametrize("mode", ["Knative", None])
    def test_knative_has_one_port_and_ends_pods_itself(self, mode: str | None) -> None:
        stock = replace(SERVED, runtime="sklearn")
        predictor = made(mode=mode)["spec"]["predictor"]
        transformer = made(stock, mode, transformer_image="r/t:1")["spec"]["transformer"]
        for side, container in (
            (predictor, predictor["model"]),
            (transformer, transformer["containers"][0]),
        ):
            assert not {"ports", "lifecycle"} & set(container)
            assert "terminationGracePeriodSeconds" not in side

    def test_our_server_gives_a_prediction_what_a_request_may_take(self) -> None:
        stock = made(replace(SERVED, runtime="sklearn"), timeout=90, transformer_image="r/t:1")
        shared = shared_service(
            SERVED, "models", parse_settings({**OWN, "shared": "zoo", "timeout": 90}), "Standard"
        )
        for container in (
            made(timeout=90)["spec"]["predictor"]["model"],
            stock["spec"]["transformer"]["containers"][0],
            shared["spec"]["predictor"]["model"],
        ):
            assert "--predict-timeout=90" in container["args"]
        assert "args" not in stock["spec"]["predictor"]["model"]
        assert "--predict-timeout" not in str(made())

    def test_the_settings_mode_goes_before_the_clusters(self) -> None:
        found = made(mode="Knative", deployment_mode="Standard")
        assert len(found["spec"]["predictor"]["model"]["ports"]) == 2

    def test_other_servers_keep_their_own_ports_and_ends(self) -> None:
        stock = replace(SERVED, runtime="triton")
        predictor = made(stock, transformer=False)["spec"]["predictor"]
        assert not {"ports", "lifecycle"} & set(predictor["model"])
        assert "terminationGracePeriodSeconds" not in predictor

    @pytest.mark.parametrize("mode", ["Standard", "Knative", None])
    def test_torchserve_is_asked_and_probed_at_its_own_port(self, mode: str | None) -> None:
        found = inference_service(
            replace(SERVED, runtime="torchserve"),
            namespace="models",
            settings=parse_settings(OWN),
            options={"token_authentication": False},
            mode=mode,
        )
        predictor = found["spec"]["predictor"]
        port = {"name": "http1", "containerPort": 8085, "protocol": "TCP"}
        assert predictor["model"]["ports"] == [port]

    def test_prometheus_finds_mlservers_metrics_and_the_transformers(self) -> None:
        stock = replace(SERVED, runtime="mlserver")
        found = made(stock, transformer_image="r/t:1")
        at = "prometheus.kserve.io/port"
        assert found["spec"]["predictor"]["annotations"][at] == "8082"
        # What the endpoint says holds for every pod of it.
        assert at not in found["metadata"]["annotations"]
        assert at not in found["spec"]["transformer"]["annotations"]

    def test_a_server_for_many_models_runs_as_one_for_one(self) -> None:
        one = {**OWN, "priority_class": "high", "env": {"A": "b"}, "shared": "zoo", "timeout": 9}
        shared = shared_service(SERVED, "models", parse_settings(one), "Standard")
        alone = made(priority_class="high", env={"A": "b"}, timeout=9)
        mine, theirs = shared["spec"]["predictor"], alone["spec"]["predictor"]
        for key in ("minReplicas", "timeout", "priorityClassName", "terminationGracePeriodSeconds"):
            assert mine[key] == theirs[key], key
        for key in ("resources", "env", "ports", "lifecycle"):
            assert mine["model"][key] == theirs["model"][key], key

    def test_the_yaml_needs_no_anchors(self) -> None:
        stock = replace(SERVED, runtime="sklearn")
        affinity: dict[str, Any] = {
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}
        }
        text = to_yaml(made(stock, transformer_image="r/t:1", affinity=affinity))
        assert "&id" not in text
        assert yaml.safe_load(text)["spec"]["transformer"]["affinity"] == affinity

    def test_another_image_or_mode_is_another_pod(self) -> None:
        seen = [
            made(mode=mode, image=image)["spec"]["predictor"]["annotations"][SPEC_DIGEST]
            for mode, image in (("Standard", "r/a:1"), ("Standard", "r/b:1"), ("Knative", "r/a:1"))
        ]
        assert len(set(seen)) == 3

    def test_an_unknown_affinity_is_refused(self) -> None:
        with pytest.raises(ParameterError, match=r"settings.affinity: not allowed; got nodes"):
            parse_settings({"affinity": {"nodes": {}}})


class TestStorage:
    def test_kfps_own_store_is_s3_to_kserve(self) -> None:
        found = made(at("minio://mlpipeline/models"))
        uri = found["spec"]["predictor"]["model"]["storageUri"]
        assert uri == "s3://mlpipeline/models/late/3/model-1"
        assert found["metadata"]["annotations"]["kfp-suite.io/store"] == "minio://mlpipeline/models"
        local = made(at("minio://mlpipeline/models"), mode=None)
        assert local["spec"]["predictor"]["model"]["storageUri"].startswith("minio://")

    @pytest.mark.parametrize("store", ["/mnt/models", "models", "file:///mnt/models"])
    def test_a_folder_is_refused(self, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(STORE_VARIABLE, raising=False)
        with pytest.raises(ParameterError) as caught:
            made(at(store))
        assert str(caught.value).startswith("store: no pod of the cluster sees a folder")
        assert f"{STORE_VARIABLE} to pvc://CLAIM/PATH" in str(caught.value)
        settings = parse_settings({"shared": "zoo"})
        with pytest.raises(ParameterError, match="no pod of the cluster"):
            trained_model(at(store), "models", settings)
        assert made(at(store), mode=None)["spec"]["predictor"]["model"]["storageUri"]

    def test_a_claims_folder_is_read_by_its_claim(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(STORE_VARIABLE, "pvc://claim/models/")
        stock = replace(
            at("/mnt/models"), runtime="sklearn", storage_uri="/mnt/models/late/_layouts/1"
        )
        spec = made(stock, transformer_image="r/t:1")["spec"]
        assert spec["predictor"]["model"]["storageUri"] == "pvc://claim/models/late/_layouts/1"
        (variable,) = spec["transformer"]["containers"][0]["env"]
        assert variable == {"name": "STORAGE_URI", "value": "pvc://claim/models/late/3/model-1"}
        with pytest.raises(ParameterError, match="no pod of the cluster"):
            made(replace(at("/mnt/models"), model_uri="/mnt/models-2/late"))


class TestScaling:
    @pytest.mark.parametrize(
        ("mode", "settings", "message"),
        [
            ("Standard", {"scale_metric": "rps"}, "scale_metric: not what Standard mode scales by"),
            ("Standard", {"scale_metric": "concurrency"}, "expected cpu or memory"),
            ("Standard", {"min_replicas": 0}, "min_replicas: only Knative scales to nothing"),
            ("Standard", {"scale_metric": "memory"}, "scale_target: memory has no usual target"),
            ("Standard", {"scale_target": 200}, "scale_target: out of range"),
            ("Knative", {"scale_metric": "cpu"}, "expected concurrency or rps"),
            ("Knative", {"deployment_mode": "Standard", "min_replicas": 0}, "only Knative"),
            (
                "Knative",
                {
                    "scale_metric": "rps",
                    "annotations": {"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev"},
                },
                "expected cpu or memory",
            ),
            (
                "Standard",
                {"overlay": {"spec": {"predictor": {"scaleMetric": "rps"}}}},
                "not what Standard mode scales by",
            ),
        ],
    )
    def test_what_the_mode_does_not_do_is_refused(
        self, mode: str, settings: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ParameterError, match=message):
            made(mode=mode, **settings)
        with pytest.raises(ParameterError, match=message):
            parsed = parse_settings({**OWN, "shared": "zoo", **settings})
            shared_service(SERVED, "models", parsed, mode)

    @pytest.mark.parametrize(
        ("mode", "settings"),
        [
            ("Standard", {"scale_metric": "cpu", "scale_target": 60}),
            ("Standard", {"scale_metric": "memory", "scale_target": 60}),
            (
                "Standard",
                {"min_replicas": 0, "annotations": {"serving.kserve.io/autoscalerClass": "keda"}},
            ),
            ("Knative", {"scale_metric": "rps", "scale_target": 200, "min_replicas": 0}),
            (None, {"scale_metric": "rps", "min_replicas": 0}),
        ],
    )
    def test_what_it_does_is_taken(self, mode: str | None, settings: dict[str, Any]) -> None:
        predictor = made(mode=mode, **settings)["spec"]["predictor"]
        assert predictor["minReplicas"] == settings.get("min_replicas", 1)
