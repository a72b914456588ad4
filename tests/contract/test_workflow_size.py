"""Every pipeline's workflow stays below the size from which KFP's API shows no tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_suite.contracts.plain_yaml import read_yaml
from kfp_suite.kubeflow.workflow_size import LIMIT, WorkflowSize, workflow_size
from kfp_suite.local.catalog import Entry, find_pipeline, pipelines
from kfp_suite.local.compilation import compile_pipeline
from kfp_suite.local.parameters import parameter_file

ON_A_CLUSTER = {
    "store": "s3://models-of-the-team/production",
    "target": "cluster",
    "namespace": "kubeflow",
    "notify": {"ui": "https://kubeflow.example.com/pipeline"},
}
PARAMETERS = {"train_and_deploy_tensorflow": "flights_tensorflow"}
SHARDS = 2
HEADROOM = 0.1  # of the limit, for what is estimated and for larger parameters


def estimate(entry: Entry, folder: Path, given: dict[str, Any], iterations: int) -> WorkflowSize:
    spec, *rest = yaml.safe_load_all(compile_pipeline(entry, folder).read_text())
    return workflow_size(spec, rest[0] if rest else {}, given, iterations=iterations)


def flights(entry: Entry) -> dict[str, Any]:
    file = parameter_file(PARAMETERS.get(entry.name, "flights"))
    return {**read_yaml(file.read_bytes()), **ON_A_CLUSTER}


@pytest.mark.parametrize("entry", pipelines().values(), ids=lambda entry: entry.name)
def test_a_run_stays_below_the_limit(entry: Entry, tmp_path: Path) -> None:
    iterations = SHARDS if entry.name == "tune" else 1
    size = estimate(entry, tmp_path, flights(entry), iterations)
    assert size.total < (1 - HEADROOM) * LIMIT, size


def test_text_is_counted_as_go_writes_it_in_each_copy(tmp_path: Path) -> None:
    entry = find_pipeline("train_and_deploy")
    given = flights(entry)
    sizes = [
        estimate(entry, tmp_path, {**given, "sql": text}, 1).nodes
        for text in ("x" * 1000, "y" * 1000, '"' * 1000, "<" * 1000)
    ]
    assert sizes[0] == sizes[1] < sizes[2]
    # In two nodes of the root's driver, and in eight of ingest, escaped four times in six of them.
    assert sizes[2] - sizes[0] > 6 * 7_000
    assert sizes[3] > sizes[0]


def test_an_iteration_costs_as_much_as_its_steps(tmp_path: Path) -> None:
    entry = find_pipeline("backfill")
    one, two, three = (estimate(entry, tmp_path, flights(entry), count) for count in (1, 2, 3))
    assert two.nodes - one.nodes == three.nodes - two.nodes > 100_000
    assert one.spec == two.spec
