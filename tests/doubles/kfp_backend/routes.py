"""What Kubeflow Pipelines answers, by method and path below `/apis/v2beta1/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kfp_suite.testing.kfp_backend.state import Json, Refusal, State, listed

# The state, the parts of the path, the query, the body, an uploaded file, and the double.
Act = Callable[[State, tuple[str, ...], dict[str, str], Json, bytes, Any], Json]


def _of_namespace(query: Mapping[str, str]) -> Callable[[Json], bool]:
    space = query.get("namespace", "")
    return lambda one: not space or one.get("namespace", space) == space


def _of_experiment(state: State, query: Mapping[str, str]) -> Callable[[Json], bool]:
    """Of the experiment that is asked for, or of any in the namespace."""
    in_namespace = _of_namespace(query)
    return lambda one: (
        one["experiment_id"] == query.get("experiment_id", one["experiment_id"])
        and in_namespace(state.experiments[one["experiment_id"]])
    )


def _found(kept: Mapping[str, Json], key: str, what: str) -> Json:
    if key not in kept:
        raise Refusal(404, f"{what} {key} not found")
    return kept[key]


def _deleted(kept: dict[str, Json], key: str, what: str) -> Json:
    _found(kept, key, what)
    del kept[key]
    return {}


def _terminated(state: State, run_id: str) -> Json:
    state.terminate(run_id)
    return {}


def _switched(state: State, key: str, *, on: bool) -> Json:
    state.switch(key, on=on)
    return {}


ROUTES: tuple[tuple[str, str, Act], ...] = (
    (
        "GET",
        "healthz",
        lambda s, p, q, g, f, d: {
            "commit_sha": "unknown",
            "tag_name": d.tag,
            "multi_user": d.namespaces is not None,
        },
    ),
    ("POST", "pipelines", lambda s, p, q, g, f, d: s.pipeline(g)),
    (
        "GET",
        "pipelines",
        lambda s, p, q, g, f, d: listed(s.pipelines.values(), q, "pipelines", _of_namespace(q)),
    ),
    (
        "POST",
        "pipelines/upload_version",
        lambda s, p, q, g, f, d: s.version(
            q.get("pipelineid", ""), q.get("name", ""), q.get("description", ""), f
        ),
    ),
    ("GET", "pipelines/([^/]+)", lambda s, p, q, g, f, d: _found(s.pipelines, p[0], "Pipeline")),
    (
        "GET",
        "pipelines/([^/]+)/versions",
        lambda s, p, q, g, f, d: listed(
            s.versions.values(), q, "pipeline_versions", lambda one: one["pipeline_id"] == p[0]
        ),
    ),
    (
        "GET",
        "pipelines/([^/]+)/versions/([^/]+)",
        lambda s, p, q, g, f, d: _found(s.versions, p[1], "Pipeline version"),
    ),
    ("POST", "experiments", lambda s, p, q, g, f, d: s.experiment(g)),
    (
        "GET",
        "experiments",
        lambda s, p, q, g, f, d: listed(s.experiments.values(), q, "experiments", _of_namespace(q)),
    ),
    (
        "GET",
        "experiments/([^/:]+)",
        lambda s, p, q, g, f, d: _found(s.experiments, p[0], "Experiment"),
    ),
    ("POST", "runs", lambda s, p, q, g, f, d: s.run(g)),
    (
        "GET",
        "runs",
        lambda s, p, q, g, f, d: listed(
            [s.run_now(one) for one in s.runs], q, "runs", _of_experiment(s, q)
        ),
    ),
    ("GET", "runs/([^/:]+)", lambda s, p, q, g, f, d: s.run_now(p[0])),
    ("POST", "runs/([^/:]+):terminate", lambda s, p, q, g, f, d: _terminated(s, p[0])),
    ("POST", "recurringruns", lambda s, p, q, g, f, d: s.recurring_run(g)),
    (
        "GET",
        "recurringruns",
        lambda s, p, q, g, f, d: listed(
            s.recurring.values(), q, "recurringRuns", _of_experiment(s, q)
        ),
    ),
    (
        "GET",
        "recurringruns/([^/:]+)",
        lambda s, p, q, g, f, d: _found(s.recurring, p[0], "Recurring run"),
    ),
    (
        "DELETE",
        "pipelines/([^/]+)/versions/([^/]+)",
        lambda s, p, q, g, f, d: _deleted(s.versions, p[1], "Pipeline version"),
    ),
    (
        "DELETE",
        "pipelines/([^/]+)",
        lambda s, p, q, g, f, d: _deleted(s.pipelines, p[0], "Pipeline"),
    ),
    (
        "DELETE",
        "experiments/([^/:]+)",
        lambda s, p, q, g, f, d: _deleted(s.experiments, p[0], "Experiment"),
    ),
    ("DELETE", "runs/([^/:]+)", lambda s, p, q, g, f, d: _deleted(s.runs, p[0], "Run")),
    (
        "DELETE",
        "recurringruns/([^/:]+)",
        lambda s, p, q, g, f, d: _deleted(s.recurring, p[0], "Recurring run"),
    ),
    (
        "POST",
        "recurringruns/([^/:]+):enable",
        lambda s, p, q, g, f, d: _switched(s, p[0], on=True),
    ),
    (
        "POST",
        "recurringruns/([^/:]+):disable",
        lambda s, p, q, g, f, d: _switched(s, p[0], on=False),
    ),
)
