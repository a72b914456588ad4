"""What every task of every compiled pipeline may use: the numbers, against this table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_suite.local.catalog import Entry, pipelines
from kfp_suite.local.compilation import compile_pipeline

# executor: CPUs, memory, most memory, accelerator, hours of a try, retries, cached
SMALL = ("250m", "512Mi", "2Gi", None, 1)
ROWS = ("2", "4Gi", "8Gi", None, 6)
FITS = ("2", "4Gi", "8Gi", None, 24)
TABLE = {
    "resolve": (*SMALL, 3, False),
    "changed": (*SMALL, 3, False),
    "windows": (*SMALL, 3, True),
    "plan-trials": (*SMALL, 3, True),
    "ingest": (*ROWS, 3, True),
    "validate": ("2", "2Gi", "4Gi", None, 6, 3, False),
    "validate-tfdv": ("2", "2Gi", "4Gi", None, 6, 3, False),
    "transform": (*ROWS, 3, True),
    "transform-tft": (*ROWS, 3, True),
    "tune": ("4", "4Gi", "8Gi", None, 24, 3, False),
    "best-trial": (*SMALL, 3, False),
    "train": (*FITS, 3, True),
    "train-tensorflow": (*FITS, 3, True),
    "evaluate": ("1", "2Gi", "4Gi", None, 6, 3, False),
    "evaluate-tensorflow": ("1", "2Gi", "4Gi", None, 6, 3, False),
    "infra-validate": ("1", "2Gi", "4Gi", None, 6, 3, False),
    "infra-validate-tensorflow": ("1", "2Gi", "4Gi", None, 6, 3, False),
    "push": (*SMALL, 3, False),
    "deploy": (*SMALL, 3, False),
    "rollout": ("250m", "512Mi", "2Gi", None, None, 3, False),
    "record": (*SMALL, 0, False),
}
Json = dict[str, Any]


def steps(entry: Entry, folder: Path) -> Iterator[tuple[Json, Json, Json]]:
    """Every task that has a container, with its executor and what Kubernetes is told of it."""
    spec, *rest = yaml.safe_load_all(compile_pipeline(entry, folder).read_text())
    pods = rest[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if rest else {}
    components = spec["components"]
    dags = [spec["root"]["dag"], *(c["dag"] for c in components.values() if "dag" in c)]
    executors = spec["deploymentSpec"]["executors"]
    for dag in dags:
        for task in dag["tasks"].values():
            component = components[task["componentRef"]["name"]]
            if label := component.get("executorLabel"):
                yield task, executors[label], pods.get(label, {})


def hours(seconds: str | None) -> float | None:
    return None if seconds is None else int(seconds) / 3600


@pytest.mark.parametrize("entry", pipelines().values(), ids=lambda entry: entry.name)
def test_every_task_uses_what_the_table_says(entry: Entry, tmp_path: Path) -> None:
    found = list(steps(entry, tmp_path))
    assert found
    for task, executor, pod in found:
        name = task["componentRef"]["name"].removeprefix("comp-").rstrip("-0123456789")
        resources = executor["container"].get("resources", {})
        got = (
            resources.get("resourceCpuRequest"),
            resources.get("resourceMemoryRequest"),
            resources.get("resourceMemoryLimit"),
            resources.get("accelerator"),
            hours(pod.get("activeDeadlineSeconds")),
            task.get("retryPolicy", {}).get("maxRetryCount", 0),
            bool(task.get("cachingOptions", {}).get("enableCache")),
        )
        assert (name, got) == (name, TABLE[name])
        if policy := task.get("retryPolicy"):
            assert (policy["backoffDuration"], policy["backoffFactor"]) == ("10s", 2.0)
            # Argo cuts the tries off here: it has to be beyond all of them and their pauses.
            tries = 4 * (got[4] or 15 * 24) * 3600 + 10 + 20 + 40
            assert tries < int(policy["backoffMaxDuration"].removesuffix("s"))


@pytest.mark.parametrize("entry", pipelines().values(), ids=lambda entry: entry.name)
def test_every_task_has_a_name_for_people(entry: Entry, tmp_path: Path) -> None:
    names = [task["taskInfo"]["name"] for task, *_ in steps(entry, tmp_path)]
    assert all(name[0].isupper() for name in names)
    assert len(set(names)) == len(names)
