"""How large a run's Argo workflow gets.

Argo compresses the nodes of a workflow whose JSON is above 1 MiB, and KFP's API, which reads the
nodes, then shows no tasks any more. What makes them large: a task has eight nodes, and each holds
what the task is given, as text within text, whose quotes are escaped once a level.

The workflow is put together here as KFP 2.17 compiles it (backend/src/v2/compiler/argocompiler),
its nodes as KFP's drivers fill them in, and as Argo 4 makes them with the defaults that KFP
installs: a `retryStrategy` for every template, which gives each node a parent that repeats it.
Assumptions: every task runs once, in one try and from no cache; what a step returns has the size
below; the workflow has no managedFields. A run of train_and_deploy with a spec of 92 kB and 356 kB
of nodes, on KFP 2.17.0 with Argo 4.0.5, was estimated at 92 kB and 351 kB.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

LIMIT = 1 << 20
"""Bytes above which Argo compresses a workflow's nodes (workflow/packer)."""

Json = dict[str, Any]
# Templates that KFP adds to each workflow, for drivers and executors, with what is around them.
_SYSTEM_BYTES = 21_000
# Of what a step returns: a text, such as the sources that resolve pinned, or anything in it.
_RETURNED_BYTES = {"STRING": 1_000, "STRUCT": 1_000, "LIST": 1_000}
_SESSION = {
    "Provider": "minio",
    "Params": {
        **{"accessKeyKey": "accesskey", "disableSSL": "true", "forcePathStyle": "true"},
        **{"endpoint": "seaweedfs.kubeflow:9000", "fromEnv": "false", "region": "minio"},
        **{"secretKeyKey": "secretkey", "secretName": "mlpipeline-minio-artifact"},
    },
}
_METADATA = {"store_session_info": json.dumps(_SESSION), "digest": "x" * 71}
_HASH = "0" * 64
_UUID = "00000000-0000-0000-0000-000000000000"
_ID = "-0000000000"
_TIME = "2026-01-01T00:00:00Z"
_AT_THE_END = "ALL_UPSTREAM_TASKS_COMPLETED"
_SERVERS = (
    *("--ml_pipeline_server_address", "ml-pipeline.kubeflow.svc.cluster.local"),
    *("--ml_pipeline_server_port", "8887"),
    *("--mlmd_server_address", "metadata-grpc-service.kubeflow.svc.cluster.local"),
    *("--mlmd_server_port", "8080"),
)
_DRIVEN = {"execution-id": "100", "iteration-count": "0", "condition": "true"}
_BELOW = {"parent-dag-id": "100"}


@dataclass(frozen=True)
class WorkflowSize:
    """Bytes of a workflow's JSON at the end of its run: of its `spec`, and of its `nodes`."""

    spec: int
    nodes: int

    @property
    def total(self) -> int:
        """Of the whole, which Argo limits."""
        return self.spec + self.nodes


def workflow_size(
    spec: Json,
    platform: Json,
    arguments: Mapping[str, Any],
    *,
    root: str = "minio://mlpipeline/v2/artifacts",
    iterations: int = 1,
) -> WorkflowSize:
    """Estimate the size of a run's workflow.

    Args:
        spec: The compiled pipeline.
        platform: Its second document, which is about Kubernetes; empty for none.
        arguments: Of the run; what is missing has its default.
        root: The pipeline root.
        iterations: Of each loop, at least 1.

    Returns:
        Its size, to a tenth.
    """
    given = {
        name: arguments.get(name, one.get("defaultValue"))
        for name, one in spec["root"].get("inputDefinitions", {}).get("parameters", {}).items()
    }
    runtime = _json({"gcsOutputDirectory": root, "parameterValues": given})
    executors = (
        platform.get("platforms", {})
        .get("kubernetes", {})
        .get("deploymentSpec", {})
        .get("executors", {})
    )
    workflow = _Workflow(spec, executors, root, iterations)
    path = workflow.add_node(f"{spec['pipelineInfo']['name']}-xxxxx", "DAG", {})
    component = {"component": _json(spec["root"]), "driver-type": "ROOT_DAG"}
    driver = {**component, "runtime-config": runtime}
    workflow.add_node(f"{path}.root-driver", "Pod", driver, _DRIVEN)
    workflow.add_dag(workflow.add_node(f"{path}.root", "DAG", _BELOW), "root", spec["root"], given)
    return workflow.size(runtime)


def tell_excess(content: str, arguments: Mapping[str, Any]) -> str:
    """The line for a run whose workflow gets too large with one iteration of each loop; or none.

    Args:
        content: The compiled pipeline.
        arguments: Of the run.
    """
    spec, *rest = yaml.safe_load_all(content)
    size = workflow_size(spec, rest[0] if rest else {}, arguments).total
    if size <= LIMIT:
        return ""
    return (
        f"a run of about {size / 1e6:.1f} MB: above {LIMIT / 1e6:.2f} Argo compresses it, and "
        "Kubeflow's API shows no tasks; text in parameters is kept six times for each step"
    )


@dataclass
class _Workflow:
    """A workflow in the making.

    Attributes:
        nodes: All of its status.
        templates: Of DAGs: their tasks by the DAG's name.
        saved: Its arguments: components and containers, to which templates refer.
    """

    spec: Json
    executors: Json
    root: str
    iterations: int
    nodes: dict[str, Json] = field(default_factory=dict)
    templates: dict[str, list[Json]] = field(default_factory=dict)
    saved: dict[str, str] = field(default_factory=dict)

    def size(self, runtime: str) -> WorkflowSize:
        """Of what was added, with the parameters of the run."""
        arguments = [_parameter(*one) for one in self.saved.items()]
        templates = [{"name": name, "dag": tasks} for name, tasks in self.templates.items()]
        spec = _json({"arguments": arguments, "templates": templates, "runtime": runtime})
        return WorkflowSize(len(spec.encode()) + _SYSTEM_BYTES, len(_json(self.nodes).encode()))

    def add_dag(self, path: str, name: str, component: Json, values: Mapping[str, Any]) -> None:
        """The template of a DAG, and the nodes of its tasks.

        Args:
            path: Of its node.
            name: Of its component.
            component: The same.
            values: Of its inputs.
        """
        self.saved[f"components-{name}"] = _json(component)
        lines: list[Json] = []
        for key, task in component["dag"]["tasks"].items():
            place = path
            at_the_end = task.get("triggerPolicy", {}).get("strategy") == _AT_THE_END
            # A task that ignores failures has the same policy, and may come after no other.
            if at_the_end and (before := task.get("dependentTasks")):
                place = self.add_node(f"{path}.{before[0]}.onExit", "DAG", _BELOW)
            inner = self.spec["components"][task["componentRef"]["name"]]
            given = dict(_values(self.spec["components"], component, task, values))
            if "dag" not in inner:
                lines += self._add_step(f"{place}.{key}", key, task, inner, given)
            elif "parameterIterator" in task:
                lines += self._add_loop(f"{place}.{key}", key, task, inner, given)
            else:
                lines += self._add_layer(f"{place}.{key}", key, task, inner, given)
        self.templates[name] = lines

    def _add_layer(
        self, path: str, key: str, task: Json, component: Json, given: Mapping[str, Any]
    ) -> list[Json]:
        name = task["componentRef"]["name"]
        driver = {"component": _json(component), "task": _json(task), "task-name": key, **_BELOW}
        self.add_node(f"{path}-driver", "Pod", driver, _DRIVEN)
        self.add_dag(self.add_node(path, "DAG", _DRIVEN), name, component, given)
        return [_line(f"{key}-driver", driver, f"components-{name}"), _line(key, _DRIVEN)]

    def _add_loop(
        self, path: str, key: str, task: Json, component: Json, given: Mapping[str, Any]
    ) -> list[Json]:
        path = self.add_node(path, "DAG", _BELOW)
        driver = {"component": _json(component), "task": _json(task), "task-name": key, **_BELOW}
        self.add_node(f"{path}.iteration-driver", "Pod", driver, _DRIVEN)
        lines = [_line("iteration-driver", driver)]
        for number in range(self.iterations):
            item = self.add_node(f"{path}.iteration-iterations({number}:{number})", "DAG", _DRIVEN)
            inside = self._add_layer(
                f"{item}.iteration-item", "iteration-item", task, component, given
            )
        return lines + inside

    def _add_step(
        self, path: str, key: str, task: Json, component: Json, given: Mapping[str, Any]
    ) -> list[Json]:
        label, name = component["executorLabel"], task["componentRef"]["name"]
        container = self.spec["deploymentSpec"]["executors"][label].get("container", {})
        kubernetes = _json(self.executors[label]) if label in self.executors else ""
        self.saved[f"components-{_HASH}-{name}"] = _json(component)
        self.saved[f"implementations-{_HASH}-{name}"] = _json(container)
        self.saved[f"kubernetes-{name}"] = kubernetes
        driver = {
            **{"component": _json(component), "task": _json(task), "task-name": key, **_BELOW},
            **{"container": _json(container), "kubernetes-config": kubernetes},
        }
        patch = _json(self._patch(key, component, container, given))
        driven = {"pod-spec-patch": patch, "cached-decision": "false", "condition": "true"}
        self.add_node(f"{path}-driver", "Pod", driver, driven)
        policy = task.get("retryPolicy", {})
        retries = {f"retry-backoff-{name}": str(value) for name, value in policy.items()}
        step = self.add_node(path, "DAG", {"pod-spec-patch": patch, **retries})
        self.add_node(f"{step}.executor", "Pod", {"pod-spec-patch": patch, **retries})
        saved = (f"components-{_HASH}", f"implementations-{_HASH}")
        return [_line(f"{key}-driver", driver, *saved), _line(key, {**retries, **_DRIVEN})]

    def _patch(self, key: str, component: Json, container: Json, given: Mapping[str, Any]) -> Json:
        """What the driver of a step has Argo change of the pod: most of all, its command."""
        pipeline = self.spec["pipelineInfo"]["name"]
        at = f"{self.root}/{pipeline}/{_UUID}/{key}/{_UUID}"
        command = [
            *("/kfp-launcher/launch", "--pipeline_name", pipeline),
            *("--run_id", _UUID, "--execution_id", "100"),
            *("--executor_input", json.dumps(_executor_input(component, given, at))),
            *("--component_spec", json.dumps(component)),
            *("--pod_name", "$(KFP_POD_NAME)", "--pod_uid", "$(KFP_POD_UID)", *_SERVERS),
            *("--publish_logs", "true", "--publish_logs", "true", "--"),
        ]
        started = [*container.get("command", ()), *container.get("args", ())]
        main = {
            **{"name": "main", "image": container.get("image", ""), "command": command},
            **{"args": started, "env": container.get("env", [])},
            "resources": {"limits": {"memory": "8Gi"}, "requests": {"cpu": "2", "memory": "4Gi"}},
        }
        return {"containers": [main]}

    def add_node(
        self, path: str, kind: str, inputs: Mapping[str, str], outputs: Mapping[str, str] = {}
    ) -> str:
        """Add what has ended, and its one try, which repeats all of it.

        Returns:
            The path of the try, below which is what is in it.
        """
        tried = f"{path}(0)"
        for shown, type_ in ((path, "Retry"), (tried, kind)):
            identity = (
                f"{path.partition('.')[0]}{_ID[: -len(str(len(self.nodes)))]}{len(self.nodes)}"
            )
            self.nodes[identity] = _node(identity, shown, type_, inputs, outputs, kind == "Pod")
        return tried


def _node(
    identity: str,
    path: str,
    kind: str,
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    has_pod: bool,
) -> Json:
    workflow = path.partition(".")[0].partition("(")[0]
    node: Json = {
        **{"id": identity, "name": path, "displayName": path.rpartition(".")[2], "type": kind},
        **{"templateName": "system-container-executor", "templateScope": f"local/{workflow}"},
        **{"boundaryID": f"{workflow}{_ID}", "children": [f"{workflow}{_ID}"] * 2},
        **{"phase": "Succeeded", "progress": "1/1", "startedAt": _TIME, "finishedAt": _TIME},
        **{"nodeFlag": {"retried": True}, "resourcesDuration": {"cpu": 10, "memory": 100}},
    }
    if inputs:
        node["inputs"] = {"parameters": [_parameter(*one) for one in inputs.items()]}
    if has_pod:
        logs = {
            "name": "main-logs",
            "s3": {"key": f"artifacts/{workflow}/2026/01/01/{path}/main.log"},
        }
        found = [
            {**_parameter(name, value), "valueFrom": {"path": f"/tmp/outputs/{name}"}}  # noqa: S108
            for name, value in outputs.items()
        ]
        node["outputs"] = {"parameters": found, "artifacts": [logs], "exitCode": "0"}
        node |= {"hostNodeName": "node-of-the-cluster", "taskResultSynced": True}
    return node


def _json(value: Any) -> str:
    """A value as Go writes it: `<`, `>` and `&` are escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _parameter(name: str, value: str) -> Json:
    return {"name": name, "value": value}


def _line(name: str, inputs: Mapping[str, str], *saved: str) -> Json:
    """A task of a template; it refers to what is saved among the workflow's arguments."""
    own = {key: one for key, one in inputs.items() if key not in ("component", "container")}
    refers = {one: f"{{{{workflow.parameters.{one}}}}}" for one in saved}
    parameters = [_parameter(*one) for one in {**own, **refers}.items()]
    return {"name": name, "template": "system", "depends": name, "arguments": parameters}


def _values(
    components: Json, outer: Json, task: Json, values: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """The values of a task's inputs."""
    for name, source in task.get("inputs", {}).get("parameters", {}).items():
        if "runtimeValue" in source:
            yield name, source["runtimeValue"].get("constant")
        elif produced := source.get("taskOutputParameter"):
            producer = outer["dag"]["tasks"][produced["producerTask"]]
            made = components[producer["componentRef"]["name"]]["outputDefinitions"]["parameters"]
            kind = made[produced["outputParameterKey"]]["parameterType"]
            yield name, "x" * _RETURNED_BYTES.get(kind, 5)
        elif "parameterExpressionSelector" in source:
            yield name, "x" * _RETURNED_BYTES["STRING"]
        else:
            yield name, values.get(source.get("componentInputParameter", ""))


def _executor_input(component: Json, given: Mapping[str, Any], at: str) -> Json:
    taken = component.get("inputDefinitions", {})
    made = component.get("outputDefinitions", {})
    logs = {"executor-logs": {"artifactType": {"schemaTitle": "system.Artifact"}}}
    return {
        "inputs": {
            "parameterValues": {
                name: given.get(name, one.get("defaultValue"))
                for name, one in taken.get("parameters", {}).items()
            },
            "artifacts": _artifacts(taken.get("artifacts", {}), at, _METADATA),
        },
        "outputs": {
            "parameters": {
                name: {"outputFile": f"/tmp/kfp/outputs/{name}"}  # noqa: S108 - KFP's
                for name in made.get("parameters", {})
            },
            "artifacts": _artifacts({**made.get("artifacts", {}), **logs}, at, {}),
            "outputFile": f"/{at.replace('://', '/')}/output_metadata.json",
        },
    }


def _artifacts(definitions: Json, at: str, metadata: Json) -> Json:
    return {
        name: {
            "artifacts": [
                {
                    **{"name": name, "uri": f"{at}/{name}", "type": one["artifactType"]},
                    "metadata": metadata,
                }
            ]
        }
        for name, one in definitions.items()
    }
