"""What a Kubeflow Pipelines keeps: pipelines, experiments, runs and recurring runs."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from kfp_suite.testing.kfp_backend.recurring import next_due
from kfp_suite.testing.kfp_backend.workflow import Behaviour, Workflow

Json = dict[str, Any]
_OVER = ("SUCCEEDED", "FAILED", "CANCELED")
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 503: 14}


class Refusal(Exception):
    """An answer that is an error; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)

    @property
    def body(self) -> Json:
        """As the API answers it."""
        return {"code": _CODES.get(self.status, 2), "message": self.message, "details": []}


@dataclass
class State:
    """Everything there is. Times come from `now`, which tests move; `objects`, by URI, are in the
    store."""

    now: datetime = datetime(2026, 1, 5, 10, tzinfo=UTC)
    behaviour: Behaviour = field(default_factory=Behaviour)
    pipelines: dict[str, Json] = field(default_factory=dict)
    versions: dict[str, Json] = field(default_factory=dict)
    experiments: dict[str, Json] = field(default_factory=dict)
    runs: dict[str, Json] = field(default_factory=dict)
    recurring: dict[str, Json] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    _last: dict[str, datetime] = field(default_factory=dict)
    _order: Any = field(default_factory=itertools.count)

    def stamp(self) -> str:
        """The time, later each time it is asked for: so that an order can be told."""
        later = self.now + timedelta(microseconds=next(self._order))
        return later.isoformat().replace("+00:00", "Z")

    def pipeline(self, given: Json) -> Json:
        """A new pipeline. Raises Refusal (409) where one has its name."""
        name = given.get("display_name") or given.get("name") or ""
        if not name:
            raise Refusal(400, "Failed to create a pipeline: pipeline's name cannot be empty")
        space = given.get("namespace", "")
        if any(
            (p["display_name"], p.get("namespace", "")) == (name, space)
            for p in self.pipelines.values()
        ):
            raise Refusal(
                409,
                f"Already exist error: The name {name} already exist. Please specify a new name",
            )
        found: Json = {
            **_kept(given, "description", "namespace"),
            "pipeline_id": str(uuid.uuid4()),
            "display_name": name,
            "name": given.get("name", name),
            "created_at": self.stamp(),
        }
        self.pipelines[found["pipeline_id"]] = found
        return found

    def version(self, pipeline_id: str, name: str, description: str, content: bytes) -> Json:
        """A new version of a pipeline from an uploaded file."""
        if pipeline_id not in self.pipelines:
            raise Refusal(404, f"Pipeline {pipeline_id} not found")
        try:
            spec, *platform = yaml.safe_load_all(content)
            spec["pipelineInfo"]["name"], spec["root"]
        except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise Refusal(400, f"Invalid input error: {error}") from error
        if any(
            (v["pipeline_id"], v["display_name"]) == (pipeline_id, name)
            for v in self.versions.values()
        ):
            raise Refusal(409, f"Already exist error: The name {name} already exist")
        whole = {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec
        found: Json = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": str(uuid.uuid4()),
            "display_name": name,
            "name": name,
            "description": description,
            "created_at": self.stamp(),
            "pipeline_spec": whole,
        }
        self.versions[found["pipeline_version_id"]] = found
        return found

    def experiment(self, given: Json) -> Json:
        """A new experiment."""
        name, space = given.get("display_name", ""), given.get("namespace", "")
        for one in self.experiments.values():
            if (one["display_name"], one.get("namespace", "")) == (name, space):
                raise Refusal(409, f"Already exist error: experiment {name} already exists")
        found: Json = {
            **_kept(given, "display_name", "description", "namespace"),
            "experiment_id": str(uuid.uuid4()),
            "created_at": self.stamp(),
            "storage_state": "AVAILABLE",
        }
        self.experiments[found["experiment_id"]] = found
        return found

    def run(self, given: Json) -> Json:
        """A new run: its arguments are checked against its pipeline."""
        spec = self._spec(given)
        _check_arguments(spec, given.get("runtime_config", {}).get("parameters", {}))
        if given.get("experiment_id", "") not in self.experiments:
            raise Refusal(400, f"experiment {given.get('experiment_id')} not found")
        found: Json = {
            **_kept(
                given,
                "display_name",
                "experiment_id",
                "pipeline_spec",
                "pipeline_version_reference",
                "runtime_config",
                "recurring_run_id",
            ),
            "service_account": given.get("service_account", "pipeline-runner"),
            "run_id": str(uuid.uuid4()),
            "created_at": self.stamp(),
            "state": "PENDING",
            "storage_state": "AVAILABLE",
        }
        self.runs[found["run_id"]] = {
            "shown": found,
            "spec": spec,
            "began": self.now,
            "behaviour": self.behaviour,
            "terminated": False,
        }
        return found

    def run_now(self, run_id: str) -> Json:
        """A run as it is at this time. Raises Refusal (404)."""
        kept = self.runs.get(run_id)
        if kept is None:
            raise Refusal(404, f"Run {run_id} not found")
        shown: Json = kept["shown"]
        if shown["state"] in _OVER:
            return shown
        behaviour = kept["behaviour"]
        root = shown.get("runtime_config", {}).get("pipeline_root", "")
        workflow = Workflow(kept["spec"], run_id, behaviour, kept["began"], self.now, root)
        shown["state"] = workflow.state
        if kept["terminated"]:
            shown["state"] = behaviour.terminated
            workflow.end()
        shown["run_details"] = {"task_details": workflow.nodes}
        kept["workflow"] = workflow
        if shown["state"] in _OVER:
            shown["finished_at"] = self.now.isoformat().replace("+00:00", "Z")
        return shown

    def workflow(self, run_id: str) -> Workflow:
        """The workflow of a run as it is at this time. Raises Refusal (404)."""
        self.run_now(run_id)
        found: Workflow = self.runs[run_id]["workflow"]
        return found

    def manifest(self, run_id: str) -> Json:
        """A run as the first API tells it: with its workflow. Raises Refusal (404)."""
        manifest = self.workflow(run_id).manifest(self.runs[run_id]["terminated"])
        return {
            "run": {"id": run_id, "name": self.runs[run_id]["shown"]["display_name"]},
            "pipeline_runtime": {"workflow_manifest": json.dumps(manifest)},
        }

    def terminate(self, run_id: str) -> None:
        """End a run: it is being cancelled, and over when it is next asked for."""
        shown = self.run_now(run_id)
        if shown["state"] in _OVER:
            raise Refusal(400, f"Failed to terminate a run {run_id}. Row not found")
        self.runs[run_id]["terminated"] = True
        shown["state"] = "CANCELING"

    def recurring_run(self, given: Json) -> Json:
        """A new recurring run. Raises Refusal (400) for a schedule that is none."""
        reference = given.get("pipeline_version_reference", {})
        if reference.get("pipeline_id") not in self.pipelines:
            raise Refusal(400, f"pipeline {reference.get('pipeline_id')} not found")
        if not 1 <= int(given.get("max_concurrency", 0)) <= 10:
            raise Refusal(400, "The max concurrency of the recurring run must be between 1 and 10")
        trigger = given.get("trigger", {})
        cron = trigger.get("cron_schedule", {}).get("cron", "")
        if cron and len(cron.split()) != 6:
            raise Refusal(400, f"Schedule cron is not a supported format: {cron}")
        if given.get("experiment_id", "") not in self.experiments:
            raise Refusal(400, f"experiment {given.get('experiment_id')} not found")
        every = int(trigger.get("periodic_schedule", {}).get("interval_second", 0))
        if not cron and every < 1:
            raise Refusal(400, "The recurring run needs a cron or a periodic schedule")
        found = {
            **given,
            "recurring_run_id": str(uuid.uuid4()),
            "service_account": given.get("service_account", "pipeline-runner"),
            "status": "ENABLED" if given.get("mode") == "ENABLE" else "DISABLED",
            "created_at": self.stamp(),
        }
        self.recurring[found["recurring_run_id"]] = found
        return found

    def advance(self, seconds: float) -> None:
        """Let time pass: recurring runs start what is due, at most so many at once."""
        end = self.now + timedelta(seconds=seconds)
        while ready := sorted(self._ready(end)):
            due, key = ready[0]
            self.now = max(self.now, due)
            self._last[key] = due
            self._start(self.recurring[key])
        self.now = end

    def _ready(self, end: datetime) -> Iterator[tuple[datetime, str]]:
        for key, one in self.recurring.items():
            due = next_due(one, self._last.get(key), self.now) if one["mode"] == "ENABLE" else None
            if due is None or due > end:
                continue
            there = [run for run in self.runs if self._of(run, key)]
            active = [run for run in there if self.run_now(run)["state"] not in _OVER]
            if len(active) < int(one["max_concurrency"]):
                yield due, key

    def _of(self, run_id: str, recurring_run_id: str) -> bool:
        return bool(self.runs[run_id]["shown"].get("recurring_run_id") == recurring_run_id)

    def _start(self, one: Json) -> None:
        reference = dict(one["pipeline_version_reference"])
        if not reference.get("pipeline_version_id"):
            of = [v for v in self.versions.values() if v["pipeline_id"] == reference["pipeline_id"]]
            latest = max(of, key=lambda version: str(version["created_at"]))
            reference["pipeline_version_id"] = latest["pipeline_version_id"]
        given = _kept(one, "recurring_run_id", "experiment_id", "runtime_config", "service_account")
        name = f"{one['display_name']}-{len(self.runs)}"
        self.run({**given, "display_name": name, "pipeline_version_reference": reference})

    def switch(self, recurring_run_id: str, *, on: bool) -> None:
        """Switch one on or off."""
        if recurring_run_id not in self.recurring:
            raise Refusal(404, f"Recurring run {recurring_run_id} not found")
        one = self.recurring[recurring_run_id]
        one["mode"] = "ENABLE" if on else "DISABLE"
        one["status"] = "ENABLED" if on else "DISABLED"

    def _spec(self, given: Json) -> Json:
        """Of the run itself, or of the version that it names."""
        reference = given.get("pipeline_version_reference", {})
        there = self.versions.get(reference.get("pipeline_version_id", ""), {})
        whole: Json | None = given.get("pipeline_spec") or there.get("pipeline_spec")
        if whole is None:
            raise Refusal(400, "a run needs a pipeline, or a pipeline version that is there")
        spec: Json = whole.get("pipeline_spec", whole)
        return spec


def listed(
    items: Iterable[Json], query: Mapping[str, str], name: str, keep: Callable[[Json], bool]
) -> Json:
    """A page of a listing."""
    found = [one for one in items if keep(one) and _fits(one, query.get("filter", ""))]
    key, _, direction = (query.get("sort_by") or "created_at").partition(" ")
    found.sort(key=lambda one: one.get(key, ""), reverse=direction == "desc")
    start, size = int(query.get("page_token") or 0), int(query.get("page_size") or 10)
    page = {name: found[start : start + size], "total_size": len(found)}
    if start + size < len(found):
        page["next_page_token"] = str(start + size)
    return page


def _fits(one: Json, text: str) -> bool:
    if not text:
        return True
    for predicate in json.loads(text).get("predicates", ()):
        value = predicate.get("string_value", predicate.get("stringValue"))
        # By its name or by its number: both are how protobuf's JSON writes it.
        if predicate["operation"] not in ("EQUALS", 1) or value is None:
            raise Refusal(400, f"Invalid input error: predicate {predicate}")
        if one.get(predicate["key"]) != value:
            return False
    return True


def _kept(given: Json, *names: str) -> Json:
    return {name: given[name] for name in names if name in given}


def _check_arguments(spec: Json, given: Json) -> None:
    known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name in given:
        if name not in known:
            raise Refusal(400, f"Invalid input error: parameter {name} is not in the pipeline")
    for name, one in known.items():
        if name not in given and not one.get("isOptional") and "defaultValue" not in one:
            raise Refusal(400, f"Invalid input error: parameter {name} is required")
