"""Resources and nodes of the tasks in a compiled pipeline.

They come from a file, at compile time: for every task under `defaults`, for one under `tasks`.

    defaults: {retries: 3, node_selector: {pool: ml}}
    tasks:
      train: {cpu: "8", memory: 32Gi, accelerator: nvidia.com/gpu, timeout: 2h}

Settings that only Kubernetes knows are written by kfp-kubernetes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kfp_suite.contracts.errors import (
    ContractError,
    ParameterError,
    did_you_mean,
    store_error,
)
from kfp_suite.contracts.parameters import parse, whole_numbers
from kfp_suite.contracts.plain_yaml import read_yaml
from kfp_suite.kubeflow.placement import Placement, seconds_of
from kfp_suite.pipelines.wiring.retries import window

Json = dict[str, Any]


def placed(file: Path | None) -> Callable[[Json, Json], None] | None:
    """The function that puts the resources of a file into a compiled pipeline; None without one.

    Raises:
        MissingError: there is no such file.
        ContractError: it is not YAML, or not of this form.
        ParameterError: a value that is not allowed.
    """
    if file is None:
        return None
    defaults, tasks = _read(file)

    def adapt(spec: Json, platform: Json) -> None:
        found = dict(_tasks(spec))
        for name in tasks:
            if name not in found:
                raise ParameterError(f"no task '{name}'", where=file, fix=did_you_mean(name, found))
        for name, task in found.items():
            placement = parse(Placement, whole_numbers({**defaults, **tasks.get(name, {})}), name)
            _place(spec, platform, task, placement)

    return adapt


def uncached(spec: Json, _platform: Json) -> None:
    """Let no task of a compiled pipeline be taken from KFP's cache."""
    for _, task in _tasks(spec):
        task["cachingOptions"] = {}


def _read(file: Path) -> tuple[Json, dict[str, Json]]:
    try:
        found = read_yaml(file.read_bytes()) or {}
    except OSError as error:
        raise store_error(error, file) from error
    except ValueError as error:
        raise ContractError("not valid YAML", where=file, got=str(error)) from error
    known = {"defaults", "tasks"}
    if not isinstance(found, dict) or set(found) - known:
        raise ContractError(
            "not a resources file",
            where=file,
            got=found if not isinstance(found, dict) else sorted(set(found) - known),
            expected="`defaults` and `tasks`",
        )
    defaults = _mapping(found.get("defaults"), file, "defaults")
    tasks = _mapping(found.get("tasks"), file, "tasks")
    return defaults, {name: _mapping(one, file, f"tasks.{name}") for name, one in tasks.items()}


def _mapping(value: Any, file: Path, name: str) -> Json:
    """What is said below a key, which may be nothing."""
    if value is not None and not isinstance(value, dict):
        raise ContractError("not a mapping", where=f"{file}: {name}", got=value)
    return value or {}


def _tasks(spec: Json) -> Iterator[tuple[str, Json]]:
    """The tasks that run in a container, wherever they are."""
    executed = {
        name for name, component in spec["components"].items() if "executorLabel" in component
    }
    dags = [spec["root"], *spec["components"].values()]
    for dag in dags:
        for name, task in dag.get("dag", {}).get("tasks", {}).items():
            if task["componentRef"]["name"] in executed:
                yield name, task


def _place(spec: Json, platform: Json, task: Json, wanted: Placement) -> None:
    executor = spec["components"][task["componentRef"]["name"]]["executorLabel"]
    container = spec["deploymentSpec"]["executors"][executor].get("container")
    if container is None:  # an importer
        return
    resources = container.setdefault("resources", {})
    for key, value in (
        ("resourceCpuRequest", wanted.cpu),
        ("resourceCpuLimit", wanted.cpu_limit),
        ("resourceMemoryRequest", wanted.memory),
        ("resourceMemoryLimit", wanted.memory_limit),
    ):
        if value:
            resources[key] = value
            # The older spelling, in cores and in billions of bytes.
            resources.pop(key[len("resource")].lower() + key[len("resource") + 1 :], None)
    if wanted.accelerator:
        resources["accelerator"] = {
            "resourceType": wanted.accelerator,
            "resourceCount": str(wanted.accelerators),
        }
    if not resources:
        del container["resources"]
    if wanted.env:
        kept = [one for one in container.get("env", ()) if one["name"] not in wanted.env]
        given = [{"name": name, "value": value} for name, value in wanted.env.items()]
        container["env"] = [*kept, *given]
    if wanted.cache is not None:
        task["cachingOptions"] = {"enableCache": True} if wanted.cache else {}
    timeout = _place_pod(platform, executor, wanted)
    _retry(task, timeout, wanted)


def _retry(task: Json, timeout: int, wanted: Placement) -> None:
    """How often, and for how long all in all: what a longer try needs, too."""
    if wanted.retries >= 0:
        task["retryPolicy"] = {
            "maxRetryCount": wanted.retries,
            "backoffDuration": f"{seconds_of(wanted.backoff, 'backoff')}s",
            "backoffFactor": float(wanted.backoff_factor),
        }
    policy = task.get("retryPolicy")
    if policy is None or not (wanted.retries >= 0 or wanted.timeout or wanted.retry_for):
        return
    if wanted.retry_for:
        seconds = seconds_of(wanted.retry_for, "retry_for")
    else:
        pause = int(float(policy.get("backoffDuration", "0s").removesuffix("s")))
        factor = policy.get("backoffFactor", 2.0)
        seconds = window(policy.get("maxRetryCount", 0), timeout, pause, factor)
    policy["backoffMaxDuration"] = f"{seconds}s"


def _place_pod(platform: Json, executor: str, wanted: Placement) -> int:
    """Returns the seconds of a try, 0 for one without end."""
    from kfp import kubernetes

    executors = (
        platform.setdefault("platforms", {})
        .setdefault("kubernetes", {})
        .setdefault("deploymentSpec", {})
        .setdefault("executors", {})
    )
    # All that kfp-kubernetes reads and writes of a task.
    task: Any = SimpleNamespace(
        platform_config={"kubernetes": executors[executor]} if executor in executors else {}
    )
    for key, value in wanted.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in wanted.tolerations:
        given = {key: value for key, value in asdict(toleration).items() if value not in ("", None)}
        kubernetes.add_toleration(task, **given)
    if wanted.node_affinity:
        kubernetes.add_node_affinity_json(task, dict(wanted.node_affinity))
    for secret in wanted.secrets:
        if secret.env:
            kubernetes.use_secret_as_env(task, secret.name, dict(secret.env))
        else:
            kubernetes.use_secret_as_volume(task, secret.name, secret.path)
    for volume in wanted.volumes:
        kubernetes.mount_pvc(task, volume.claim, volume.path)
    for key, value in wanted.labels.items():
        kubernetes.add_pod_label(task, key, value)
    for key, value in wanted.annotations.items():
        kubernetes.add_pod_annotation(task, key, value)
    _place_image(task, wanted)
    if wanted.timeout:
        kubernetes.set_timeout(task, seconds_of(wanted.timeout, "timeout"))
    if task.platform_config:
        executors[executor] = task.platform_config["kubernetes"]
    _drop_empty(platform)
    return int(task.platform_config.get("kubernetes", {}).get("activeDeadlineSeconds", 0))


def _place_image(task: Any, wanted: Placement) -> None:
    from kfp import kubernetes

    if wanted.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(wanted.image_pull_secrets))
    if wanted.image_pull_policy:
        kubernetes.set_image_pull_policy(task, wanted.image_pull_policy)


def _drop_empty(platform: Json) -> None:
    kubernetes = platform["platforms"]["kubernetes"]
    if not kubernetes["deploymentSpec"]["executors"]:
        del kubernetes["deploymentSpec"]
    if not kubernetes:
        platform.clear()


def both(
    *adaptations: Callable[[Json, Json], None] | None,
) -> Callable[[Json, Json], None] | None:
    """One after the other; None if there is none."""
    given = [one for one in adaptations if one is not None]

    def adapt(spec: Json, platform: Json) -> None:
        for one in given:
            one(spec, platform)

    return adapt if given else None
