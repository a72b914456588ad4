"""What every task of every compiled pipeline may use: the numbers, against this table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_suite.pipelines.runs.catalog import Entry, pipelines
from kfp_suite.pipelines.runs.compilation import compile_pipeline

# executor: CPUs, memory, most memory, retries, cached
TABLE = {
    "resolve": (None, None, None, 3, False),
    "changed": (None, None, None, 0, False),
    "windows": (None, None, None, 0, True),
    "plan-trials": (None, None, None, 0, True),
    "ingest": (2, 4, 8, 3, True),
    "validate": (None, 2, 4, 0, False),
    "validate-tfdv": (None, 2, 4, 0, False),
    "transform": (None, None, None, 0, True),
    "transform-tft": (None, None, None, 0, True),
    "tune": (4, 4, 8, 3, False),
    "best-trial": (None, None, None, 0, False),
    "train": (2, 4, 8, 0, True),
    "train-tensorflow": (2, 4, 8, 0, True),
    "evaluate": (None, 2, 4, 0, False),
    "evaluate-tensorflow": (None, 2, 4, 0, False),
    "infra-validate": (None, 2, 4, 0, False),
    "infra-validate-tensorflow": (None, 2, 4, 0, False),
    "push": (None, None, None, 3, False),
    "deploy": (None, None, None, 3, False),
    "rollout": (None, None, None, 3, False),
    "record": (None, None, None, 0, False),
}


def steps(entry: Entry, folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every task that has a container, with its executor."""
    spec = next(yaml.safe_load_all(compile_pipeline(entry, folder).read_text()))
    components = spec["components"]
    dags = [spec["root"]["dag"], *(c["dag"] for c in components.values() if "dag" in c)]
    executors = spec["deploymentSpec"]["executors"]
    for dag in dags:
        for task in dag["tasks"].values():
            component = components[task["componentRef"]["name"]]
            if "executorLabel" in component:
                yield task, executors[component["executorLabel"]]


def gibibytes(text: str | None) -> int | None:
    return None if text is None else int(text.removesuffix("Gi"))


@pytest.mark.parametrize("entry", pipelines().values(), ids=lambda entry: entry.name)
def test_every_task_uses_what_the_table_says(entry: Entry, tmp_path: Path) -> None:
    found = list(steps(entry, tmp_path))
    assert found
    for task, executor in found:
        name = task["componentRef"]["name"].removeprefix("comp-").rstrip("-0123456789")
        resources = executor["container"].get("resources", {})
        cpu = resources.get("resourceCpuRequest")
        got = (
            None if cpu is None else int(cpu),
            gibibytes(resources.get("resourceMemoryRequest")),
            gibibytes(resources.get("resourceMemoryLimit")),
            task.get("retryPolicy", {}).get("maxRetryCount", 0),
            bool(task.get("cachingOptions", {}).get("enableCache")),
        )
        assert (name, got) == (name, TABLE[name])
        if got[3]:
            policy = task["retryPolicy"]
            assert (policy["backoffDuration"], policy["backoffFactor"]) == ("10s", 2.0)


@pytest.mark.parametrize("entry", pipelines().values(), ids=lambda entry: entry.name)
def test_every_task_has_a_name_for_people(entry: Entry, tmp_path: Path) -> None:
    names = [task["taskInfo"]["name"] for task, _ in steps(entry, tmp_path)]
    assert all(name[0].isupper() for name in names)
    assert len(set(names)) == len(names)
