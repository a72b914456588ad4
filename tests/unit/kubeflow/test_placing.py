"""What a resources file makes of a compiled pipeline: the numbers against a table."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2

from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.kubeflow.package import open_package
from kfp_suite.kubeflow.placing import placed

AFFINITY = {
    "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [
            {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["gpu"]}]}
        ]
    }
}
GIVEN: dict[str, Any] = {
    "defaults": {"retries": 2, "backoff": "30s", "node_selector": {"pool": "ml"}},
    "tasks": {
        "train": {
            "cpu": "8",
            "cpu_limit": "16",
            "memory": "32Gi",
            "memory_limit": "64Gi",
            "accelerator": "nvidia.com/gpu",
            "accelerators": 2,
            "timeout": "2h",
            "cache": False,
            "env": {"AWS_ENDPOINT_URL": "http://minio-service.kubeflow:9000"},
            "tolerations": [
                {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
                {"key": "spot", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60},
            ],
            "secrets": [
                {"name": "s3", "env": {"key": "AWS_SECRET_ACCESS_KEY"}},
                {"name": "certificates", "path": "/etc/own"},
            ],
            "volumes": [{"claim": "scratch", "path": "/scratch"}],
            "labels": {"team": "birds"},
            "annotations": {"example.com/pager": "birds"},
            "node_affinity": AFFINITY,
            "image_pull_secrets": ["registry"],
            "image_pull_policy": "IfNotPresent",
        }
    },
}


def compiled(folder: Path, given: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    file = folder / "resources.yaml"
    file.write_text(yaml.safe_dump(given))
    documents = list(yaml.safe_load_all(open_package("train_and_deploy", placed(file)).content))
    return documents[0], documents[1] if len(documents) > 1 else {}


def tasks(spec: dict[str, Any]) -> dict[str, Any]:
    dags = [spec["root"], *spec["components"].values()]
    return {
        name: task for dag in dags for name, task in dag.get("dag", {}).get("tasks", {}).items()
    }


def test_the_compiled_numbers_are_those_of_the_table(tmp_path: Path) -> None:
    spec, platform = compiled(tmp_path, GIVEN)
    executor = spec["deploymentSpec"]["executors"]["exec-train"]["container"]
    assert executor["env"] == [
        {"name": "AWS_ENDPOINT_URL", "value": "http://minio-service.kubeflow:9000"}
    ]
    assert executor["resources"] == {
        "resourceCpuRequest": "8",
        "resourceCpuLimit": "16",
        "resourceMemoryRequest": "32Gi",
        "resourceMemoryLimit": "64Gi",
        "accelerator": {"resourceType": "nvidia.com/gpu", "resourceCount": "2"},
    }
    train = tasks(spec)["train"]
    assert train["cachingOptions"] == {}
    day, pauses = 24 * 3600, 30 + 60
    for name, hours in (("train", 2), ("ingest", 6), ("push", 1)):
        assert tasks(spec)[name]["retryPolicy"] == {
            "maxRetryCount": 2,
            "backoffDuration": "30s",
            "backoffFactor": 2.0,
            # Every try may take its time.
            "backoffMaxDuration": f"{3 * hours * 3600 + pauses + day}s",
        }
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors["exec-ingest"]["nodeSelector"] == {"labels": {"pool": "ml"}}
    found = executors["exec-train"]
    assert found["activeDeadlineSeconds"] == "7200"
    assert found["tolerations"] == [
        {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
        {
            "key": "spot",
            "operator": "Equal",
            "value": "yes",
            "effect": "NoExecute",
            "tolerationSeconds": "60",
        },
    ]
    assert found["secretAsEnv"][0]["keyToEnv"] == [
        {"secretKey": "key", "envVar": "AWS_SECRET_ACCESS_KEY"}
    ]
    assert found["secretAsVolume"][0]["mountPath"] == "/etc/own"
    assert found["pvcMount"][0]["mountPath"] == "/scratch"
    assert found["podMetadata"] == {
        "labels": {"team": "birds"},
        "annotations": {"example.com/pager": "birds"},
    }
    assert found["nodeAffinity"] == [{"nodeAffinityJson": {"runtimeValue": {"constant": AFFINITY}}}]
    assert [one["secretName"] for one in found["imagePullSecret"]] == ["registry"]
    assert found["imagePullPolicy"] == "IfNotPresent"
    for config in executors.values():  # it is what the backend reads
        json_format.ParseDict(config, kubernetes_executor_config_pb2.KubernetesExecutorConfig())


def test_what_is_said_of_the_pipeline_stays(tmp_path: Path) -> None:
    file = tmp_path / "resources.yaml"
    file.write_text("defaults: {cpu: '1'}")
    adapt = placed(file)
    assert adapt is not None
    spec = next(yaml.safe_load_all(open_package("train_and_deploy").content))
    said = {"kubernetes": {"pipelineConfig": {"workspace": {"size": "5Gi"}}}}
    platform: dict[str, Any] = {"platforms": copy.deepcopy(said)}
    adapt(spec, platform)
    assert platform["platforms"] == said


def test_without_a_file_the_suite_s_own_numbers_stay(tmp_path: Path) -> None:
    spec, platform = compiled(tmp_path, {})
    plain = list(yaml.safe_load_all(open_package("train_and_deploy").content))
    assert [spec, platform] == plain


def test_a_longer_try_has_the_time_for_its_retries(tmp_path: Path) -> None:
    spec, _ = compiled(
        tmp_path, {"tasks": {"train": {"timeout": "3d"}, "push": {"retry_for": "2h"}}}
    )
    day, pauses = 24 * 3600, 10 + 20 + 40
    policies = {name: tasks(spec)[name]["retryPolicy"] for name in ("train", "push")}
    assert policies["train"]["backoffMaxDuration"] == f"{4 * 3 * day + pauses + day}s"
    assert policies["push"]["backoffMaxDuration"] == "7200s"
    assert {policy["maxRetryCount"] for policy in policies.values()} == {3}


def test_numbers_are_quantities_and_nothing_said_is_nothing(tmp_path: Path) -> None:
    spec, _ = compiled(tmp_path, {"tasks": {"train": {"cpu": 2, "cpu_limit": 2.5}, "push": None}})
    resources = spec["deploymentSpec"]["executors"]["exec-train"]["container"]["resources"]
    assert (resources["resourceCpuRequest"], resources["resourceCpuLimit"]) == ("2", "2.5")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"tasks": ["train"]}, "tasks: not a mapping"),
        ({"tasks": {"train": "8 CPUs"}}, "tasks.train: not a mapping"),
        ({"defaults": [1]}, "defaults: not a mapping"),
        ({"tasks": {"train": {"cpu": True}}}, "'cpu' is not allowed"),
        ({"defaults": {"backoff_factor": 1.5}}, "'backoff_factor' is not allowed"),
        ({"defaults": {"tolerations": [{"key": "a", "operator": "Sometimes"}]}}, "operator"),
        ({"defaults": {"tolerations": [{"key": "a", "tolerationSecond": 1}]}}, "tolerationSecond"),
        (
            {"defaults": {"tolerations": [{"key": "a", "tolerationSeconds": 1}]}},
            "seconds are for effect NoExecute",
        ),
        ({"tasks": {"tain": {}}}, "no task 'tain'; did you mean 'train'?"),
        ({"task": {}}, "not a resources file"),
        ({"tasks": {"train": {"cpus": "2"}}}, "train: unknown key 'cpus'; did you mean 'cpu'?"),
        ({"tasks": {"train": {"memory": "4 GB"}}}, "memory: not a quantity"),
        ({"tasks": {"train": {"image_pull_policy": "Sometimes"}}}, "image_pull_policy"),
        ({"tasks": {"train": {"timeout": "2 hours"}}}, "timeout: not a duration"),
        ({"tasks": {"train": {"secrets": [{"name": "s3"}]}}}, "either env or path"),
    ],
)
def test_a_file_that_is_not_right_names_the_place(tmp_path: Path, given: Any, told: str) -> None:
    with pytest.raises(KfpSuiteError) as refused:
        compiled(tmp_path, given)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "is_refused"),
    [
        ("AWS_SECRET_ACCESS_KEY", "x", True),
        ("OPENAI_API_KEY", "x", True),
        ("DB_PASSWD", "x", True),
        ("PGPASSWORD", "x", True),
        ("DATABASE", "postgresql://user:password@host/rows", True),
        ("TOKENIZERS_PARALLELISM", "false", False),
        ("MAX_TOKENS", "512", False),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token", False),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/secrets/gcs/key.json", False),
    ],
)
def test_a_secret_is_no_environment_variable(
    tmp_path: Path, name: str, value: str, is_refused: bool
) -> None:
    given = {"defaults": {"env": {name: value}}}
    if not is_refused:
        compiled(tmp_path, given)
        return
    with pytest.raises(KfpSuiteError, match="a secret is not written into a pipeline") as refused:
        compiled(tmp_path, given)
    assert str(refused.value).startswith(f"env.{name}: ")
