"""The API server: what it keeps, what it refuses, and how it fails.

with running(KubernetesDouble(crds=folder)) as cluster:
    cluster.behave("models/late", Behaviour("crash_loop"))
    Cluster(cluster.client()).apply(manifest)

It is generic in kinds: whatever is sent below a group, version and plural is kept. KServe's
own kinds are checked against its CRDs where their folder is given.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from kubernetes import client

from kfp_suite.testing.cluster import apply as server_side
from kfp_suite.testing.cluster.controller import (
    CRASH_LOG,
    STORAGE_LOG,
    Behaviour,
    Service,
    events_of,
    step,
)
from kfp_suite.testing.cluster.objects import ApiError, Object, merge, selects
from kfp_suite.testing.cluster.schemas import Schemas

Key = tuple[str, str, str, str, str]
SERVICES = "inferenceservices"
_PATH = re.compile(
    r"^/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<sub>[a-z]+)(?P<rest>/.*)?)?)?$"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_HISTORY = 1000


@dataclass(frozen=True)
class Request:
    """One request that came in."""

    method: str
    path: str
    content_type: str
    body: Any


@dataclass
class _Fault:
    """An answer instead of the right one, `times` times; status 0: the connection drops."""

    status: int
    times: int
    verb: str | None
    plural: str | None
    retry_after: int | None


class KubernetesDouble:
    """The state of a cluster with KServe.

    Args:
        crds: A folder with KServe's CRDs; None: its objects are not checked.
        mode: How KServe runs endpoints by default: `Knative` or `Standard`.
    """

    def __init__(self, *, crds: Path | None = None, mode: str = "Standard") -> None:
        self.mode = mode
        self.latency = 0.0
        self.requests: list[Request] = []
        self.logs: dict[tuple[str, str], str] = {}
        self.endpoint = ""
        """Where endpoints answer: `status.url` of every InferenceService; empty: nowhere."""
        self.pod_address: dict[str, str] = {}
        """Pod to address, for `pods/proxy`."""
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.url = ""
        self._schemas = Schemas(crds)
        self._objects: dict[Key, Object] = {}
        self._managers: dict[Key, server_side.Managers] = {}
        self._services: dict[Key, Service] = {}
        self._behaviours: dict[str, Behaviour] = {}
        self._versions = itertools.count(1)
        self._history: deque[tuple[int, str, Key, Object]] = deque(maxlen=_HISTORY)
        self._faults: list[_Fault] = []
        self._denied: list[tuple[str, str]] = []
        self._allowed: list[Mapping[str, Any]] | None = None

    # What a test sets.

    def client(self) -> Any:
        """A Kubernetes `ApiClient` of this cluster."""
        configuration = client.Configuration()
        configuration.host = self.url
        configuration.retries = 0
        return client.ApiClient(configuration)

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig to this cluster."""
        named = {"cluster": "double", "user": "double", "namespace": "default"}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "double", "cluster": {"server": self.url}}],
            "users": [{"name": "double", "user": {}}],
            "contexts": [{"name": "double", "context": named}],
            "current-context": "double",
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def behave(self, service: str, behaviour: Behaviour) -> None:
        """What becomes of `namespace/name`, or of `*`, from now on."""
        with self.lock:
            self._behaviours[service] = behaviour

    def fail_next(
        self,
        status: int,
        times: int = 1,
        *,
        verb: str | None = None,
        plural: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        """Answer the next requests with `status`; 0: drop the connection."""
        with self.lock:
            self._faults.append(_Fault(status, times, verb, plural, retry_after))

    def deny(self, verb: str, plural: str) -> None:
        """Refuse a verb on a resource to everybody."""
        with self.lock:
            self._denied.append((verb, plural))

    def allow_only(self, rules: list[Mapping[str, Any]]) -> None:
        """Allow what the rules of a Role allow, and nothing else."""
        with self.lock:
            self._allowed = rules

    def edit(self, plural: str, name: str, patch: Object, manager: str = "kubectl-edit") -> Object:
        """A person's edit of `namespace/name`."""
        with self.lock:
            key = self._find(plural, name)
            return self._store(key, merge(self._objects[key], patch), manager)

    def get(self, plural: str, name: str) -> Object:
        """The object `namespace/name` as it is; KeyError where there is none."""
        with self.lock:
            key = self._find(plural, name)
            self._tick(key)
            return copy.deepcopy(self._objects[key])

    def add(self, found: Object, plural: str) -> None:
        """Put an object there: a ConfigMap, a Secret."""
        group, _, version = found["apiVersion"].rpartition("/")
        metadata = found["metadata"]
        key = (group, version, plural, metadata.get("namespace", ""), metadata["name"])
        with self.lock:
            self._store(key, found, "test")

    # What a request does.

    def answer(self, method: str, target: str, content_type: str, body: bytes) -> Any:
        """The JSON of an answer, text, or an iterator of watch events; with its status.

        Raises:
            ApiError: what is answered with a Status.
            ConnectionError: a dropped connection.
        """
        parts = urlsplit(target)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        parsed = yaml.safe_load(body) if body else None
        with self.lock:
            self.requests.append(Request(method, target, content_type, parsed))
        if self.latency:
            time.sleep(self.latency)
        if (root := parts.path.rstrip("/")) in ("/api", "/apis", "/version"):
            return 200, self._discovery(root)
        found = _PATH.match(parts.path)
        if found is None:
            raise ApiError(404, "the server could not find the requested resource")
        with self.lock:
            self._fault(method, found["plural"])
            self._authorize(method, query, found)
            return self._dispatch(method, query, content_type, parsed, found)

    def _dispatch(
        self, method: str, query: Object, content_type: str, body: Any, at: re.Match[str]
    ) -> tuple[int, Any]:
        group, version = at["group"] or "", at["core"] or at["version"]
        namespace, plural = at["namespace"] or "", at["plural"]
        key = (group, version, plural, namespace, at["name"] or "")
        if plural == "pods" or plural == "events":
            self._tick_all(namespace)
        if plural == "pods" and at["sub"] in ("log", "proxy"):
            return 200, self._from_pod(at, query, namespace)
        if plural == "selfsubjectaccessreviews":
            asked = body["spec"]["resourceAttributes"]
            allowed = self._may(asked["verb"], asked.get("group", ""), asked["resource"])
            return 201, {**body, "status": {"allowed": allowed}}
        if method == "GET" and at["name"]:
            return 200, self._read(key)
        if method == "GET":
            if query.get("watch") in ("true", "1"):
                return 200, self._watch(key, query)
            return 200, self._list(key, query)
        if method == "DELETE":
            return 200, self._delete(key)
        dry = query.get("dryRun") == "All"
        if method == "POST":
            key = (*key[:4], body["metadata"]["name"])
            if key in self._objects:
                raise ApiError(409, f'{plural}.{group} "{key[4]}" already exists')
            return 201, self._write(key, body, query, dry)
        if at["sub"] == "status":
            return 200, self._set_status(key, body)
        if method == "PUT":
            self._read(key)
            return 200, self._write(key, body, query, dry)
        if "apply-patch" in content_type:
            return self._apply(key, body, query, dry)
        if "merge-patch" in content_type or "strategic" in content_type:
            return 200, self._write(key, merge(self._read(key), body), query, dry)
        raise ApiError(415, f"the body of the request was in an unknown format: {content_type}")

    def _apply(self, key: Key, body: Object, query: Object, dry: bool) -> tuple[int, Object]:
        manager = query.get("fieldManager")
        if not manager:
            raise ApiError(400, "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value")
        if body["metadata"].get("name") != key[4]:
            raise ApiError(400, "the name of the object does not match the name on the URL")
        live = self._objects.get(key)
        managers = copy.deepcopy(self._managers.get(key, {}))
        force = query.get("force") == "true"
        after = server_side.apply(_own(live), _own(body) or {}, manager, managers, force=force)
        after = self._schemas.check(key[:3], after, strict=False)
        if dry:
            return 200, self._as_stored(key, after)
        stored = self._store(key, after, None)
        self._managers[key] = managers
        return (201 if live is None else 200), self._told(key, stored)

    def _write(self, key: Key, body: Object, query: Object, dry: bool) -> Object:
        sent = body.get("metadata", {}).get("resourceVersion")
        live = self._objects.get(key)
        if live is not None and sent and sent != live["metadata"]["resourceVersion"]:
            raise ApiError(
                409,
                f'Operation cannot be fulfilled on {key[2]}.{key[0]} "{key[4]}": the object has '
                "been modified; please apply your changes to the latest version and try again",
            )
        strict = query.get("fieldValidation") == "Strict"
        checked = self._schemas.check(key[:3], body, strict=strict)
        if dry:
            return self._as_stored(key, checked)
        return self._told(key, self._store(key, checked, query.get("fieldManager", "unknown")))

    def _store(self, key: Key, after: Object, manager: str | None) -> Object:
        before = self._objects.get(key)
        if manager is not None:
            managers = self._managers.setdefault(key, {})
            server_side.edited(_own(before), _own(after) or {}, manager, managers)
        stored = self._as_stored(key, after)
        if before is not None and _same(before, stored):
            return before
        stored["metadata"]["resourceVersion"] = self._next(
            "MODIFIED" if before else "ADDED", key, stored
        )
        self._objects[key] = stored
        self._tick(key)
        return stored

    def _as_stored(self, key: Key, after: Object) -> Object:
        before = self._objects.get(key)
        stored = copy.deepcopy(after)
        metadata = stored["metadata"]
        was = before["metadata"] if before else {}
        metadata["uid"] = was.get("uid", f"uid-{key[2]}-{key[4]}")
        metadata["creationTimestamp"] = was.get("creationTimestamp", "2024-01-01T00:00:00Z")
        metadata["resourceVersion"] = was.get("resourceVersion", "0")
        changed = before is not None and before.get("spec") != stored.get("spec")
        metadata["generation"] = was.get("generation", 0 if before is None else 1) + (
            1 if changed or before is None else 0
        )
        if key[3]:
            metadata["namespace"] = key[3]
        metadata.pop("managedFields", None)
        stored.pop("status", None)
        if before is not None and "status" in before:
            stored["status"] = before["status"]
        elif after.get("status") and key[0] == "":
            stored["status"] = after["status"]
        return stored

    def _set_status(self, key: Key, body: Object) -> Object:
        stored = copy.deepcopy(self._read(key))
        stored.pop("managedFields", None)
        stored["status"] = merge(stored.get("status"), body.get("status"))
        stored["metadata"]["resourceVersion"] = self._next("MODIFIED", key, stored)
        self._objects[key] = stored
        return stored

    def _next(self, kind: str, key: Key, stored: Object) -> str:
        number = next(self._versions)
        shown = copy.deepcopy(stored)
        shown["metadata"]["resourceVersion"] = str(number)
        self._history.append((number, kind, key, shown))
        self.changed.notify_all()
        return str(number)

    def _read(self, key: Key) -> Object:
        self._tick(key)
        found = self._objects.get(key)
        if found is None:
            suffix = f".{key[0]}" if key[0] else ""
            raise ApiError(404, f'{key[2]}{suffix} "{key[4]}" not found')
        return self._told(key, found)

    def _told(self, key: Key, found: Object) -> Object:
        shown = copy.deepcopy(found)
        if key in self._managers:
            version = f"{key[0]}/{key[1]}"
            fields = server_side.managed_fields(self._managers[key], version)
            shown["metadata"]["managedFields"] = fields
        return shown

    def _list(self, key: Key, query: Object) -> Object:
        if key[2] == SERVICES:
            self._tick_all(key[3])
        kind = key[2]
        items = [
            self._told(other, found)
            for other, found in sorted(self._objects.items())
            if other[:3] == key[:3]
            and (not key[3] or other[3] == key[3])
            and selects(found, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        ]
        version = f"{key[0]}/{key[1]}".lstrip("/")
        last = self._history[-1][0] if self._history else 0
        return {
            "apiVersion": version,
            "kind": f"{kind.capitalize()}List",
            "metadata": {"resourceVersion": str(last)},
            "items": items,
        }

    def _watch(self, key: Key, query: Object) -> Iterator[Object]:
        since = int(query.get("resourceVersion") or 0)
        oldest = self._history[0][0] if self._history else 0
        if since and since + 1 < oldest:
            raise ApiError(410, "too old resource version")
        ends = time.monotonic() + float(query.get("timeoutSeconds", 30))
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")

        def events() -> Iterator[Object]:
            seen = since
            while True:
                with self.lock:
                    new = [entry for entry in self._history if entry[0] > seen]
                    if not new:
                        left = ends - time.monotonic()
                        if left <= 0 or not self.url:
                            return
                        self.changed.wait(min(left, 0.05))
                        self._tick_all(key[3])
                        continue
                for number, kind, other, found in new:
                    seen = number
                    mine = other[:3] == key[:3] and (not key[3] or other[3] == key[3])
                    if mine and selects(found, labels, fields):
                        yield {"type": kind, "object": found}

        return events()

    def _delete(self, key: Key) -> Object:
        found = self._read(key)
        self._next("DELETED", key, found)
        self._objects.pop(key, None)
        self._managers.pop(key, None)
        service = self._services.pop(key, None)
        for pod in service.pods if service else ():
            self._objects.pop(("", "v1", "pods", key[3], pod), None)
        return {"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}}

    # What the controller does.

    def _tick_all(self, namespace: str) -> None:
        for key in list(self._objects):
            if key[2] == SERVICES and (not namespace or key[3] == namespace):
                self._tick(key)

    def _tick(self, key: Key) -> None:
        found = self._objects.get(key)
        if key[2] != SERVICES or found is None:
            return
        name = f"{key[3]}/{key[4]}"
        behaviour = self._behaviours.get(name) or self._behaviours.get("*") or Behaviour()
        service = self._services.setdefault(key, Service())
        said = found["metadata"].get("annotations", {}).get("serving.kserve.io/deploymentMode")
        mode = {"Serverless": "Knative", "RawDeployment": "Standard"}.get(said, said) or self.mode
        before = copy.deepcopy(found.get("status"))
        old = set(service.pods)
        step(service, found, behaviour, mode, self.endpoint)
        for pod in old - set(service.pods):
            self._objects.pop(("", "v1", "pods", key[3], pod), None)
        for pod, content in service.pods.items():
            self._objects[("", "v1", "pods", key[3], pod)] = content
            ready = content["status"]["phase"] == "Running"
            for event in [] if ready else events_of(content, behaviour.outcome):
                place = ("", "v1", "events", key[3], event["metadata"]["name"])
                self._objects[place] = event
        if found.get("status") != before:
            found["metadata"]["resourceVersion"] = self._next("MODIFIED", key, found)

    def _from_pod(self, at: re.Match[str], query: Object, namespace: str) -> str:
        name, _, _ = at["name"].partition(":")
        if ("", "v1", "pods", namespace, name) not in self._objects:
            raise ApiError(404, f'pods "{name}" not found')
        if at["sub"] == "proxy":
            address = self.pod_address.get(name, "")
            if not address:
                raise ApiError(503, "error trying to reach service: connection refused")
            with urllib.request.urlopen(address + (at["rest"] or "/"), timeout=10) as answer:
                return str(answer.read().decode())
        container = query.get("container", "kserve-container")
        found = self.logs.get((name, container))
        if found is None:
            found = STORAGE_LOG if container == "storage-initializer" else CRASH_LOG
        tail = int(query.get("tailLines", 0))
        return "".join(found.splitlines(keepends=True)[-tail:])

    # What it refuses.

    def _fault(self, method: str, plural: str) -> None:
        for fault in self._faults:
            fits = fault.verb in (None, method) and fault.plural in (None, plural)
            if fault.times and fits:
                fault.times -= 1
                if not fault.status:
                    raise ConnectionError
                error = ApiError(fault.status, "the server is currently unable to handle it")
                error.retry_after = fault.retry_after  # type: ignore[attr-defined]
                raise error

    def _authorize(self, method: str, query: Object, at: re.Match[str]) -> None:
        verb = _VERBS.get(method) or ("get" if at["name"] else "list")
        if verb == "list" and query.get("watch") in ("true", "1"):
            verb = "watch"
        plural = at["plural"] + (f"/{at['sub']}" if at["sub"] else "")
        group = at["group"] or ""
        if plural == "selfsubjectaccessreviews" or self._may(verb, group, plural):
            return
        name = f' "{at["name"]}"' if at["name"] else ""
        kind = f"{at['plural']}.{group}".rstrip(".")
        raise ApiError(
            403,
            f'{kind}{name} is forbidden: User "double" cannot {verb} resource "{plural}" in API '
            f'group "{group}" in the namespace "{at["namespace"]}"',
        )

    def _may(self, verb: str, group: str, plural: str) -> bool:
        if (verb, plural) in self._denied:
            return False
        if self._allowed is None:
            return True
        return any(
            group in rule["apiGroups"] and plural in rule["resources"] and verb in rule["verbs"]
            for rule in self._allowed
        )

    def _discovery(self, path: str) -> Object:
        if path == "/version":
            return {"major": "1", "minor": "31", "gitVersion": "v1.31.0"}
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        names = {"serving.kserve.io": "v1beta1", "apps": "v1"}
        if self.mode == "Knative":
            names["serving.knative.dev"] = "v1"
        groups = []
        for name, version in names.items():
            entry = {"groupVersion": f"{name}/{version}", "version": version}
            groups.append({"name": name, "versions": [entry], "preferredVersion": entry})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def _find(self, plural: str, name: str) -> Key:
        namespace, _, own = name.partition("/")
        return next(k for k in self._objects if k[2:] == (plural, namespace, own))


def _own(found: Object | None) -> Object | None:
    """An object without what the server keeps of it."""
    if found is None:
        return None
    metadata = {
        key: value
        for key, value in found["metadata"].items()
        if key in ("name", "namespace", "labels", "annotations")
    }
    return {**{k: v for k, v in found.items() if k != "status"}, "metadata": metadata}


def _same(before: Object, after: Object) -> bool:
    return json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)


@contextmanager
def running(double: KubernetesDouble) -> Iterator[KubernetesDouble]:
    """Serve the double on a free loopback port until the block ends."""
    from kfp_suite.testing.cluster.http import serve

    with serve(double):
        yield double
