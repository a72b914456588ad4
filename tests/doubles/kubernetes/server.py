"""HTTP: paths, verbs, discovery, watches, logs and the way through to pods."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from kfp_suite.testing.kubernetes.access import action_on
from kfp_suite.testing.kubernetes.answers import Refusal, bad_request, not_found
from kfp_suite.testing.kubernetes.faults import DROPPED
from kfp_suite.testing.kubernetes.kinds import (
    ACCESS_REVIEW,
    KINDS,
    KNATIVE,
    NAMESPACE,
    POD,
    SERVING,
    Json,
    Kind,
    clone,
)
from kfp_suite.testing.kubernetes.objects import Change
from kfp_suite.testing.kubernetes.selectors import Test, field_test, label_test
from kfp_suite.testing.kubernetes.verbs import Answer, Asked

if TYPE_CHECKING:
    from kfp_suite.testing.kubernetes.cluster import KubernetesDouble

_OBJECT_VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COLLECTION_VERBS = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_WRITES = ("create", "update", "patch", "delete", "deletecollection")
_ALL_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_WATCH_SECONDS = 1800.0
_POLL_SECONDS = 0.02


class _NoPath(Exception):
    """The server has no such path: it answers in plain text."""


class Server(ThreadingHTTPServer):
    """The HTTP server of a cluster, on a free loopback port."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, cluster: Any) -> None:
        super().__init__(("127.0.0.1", 0), _handler(cluster))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_POLL_SECONDS,), name="kubernetes-double"
        )

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving; every thread has ended afterwards."""
        self.shutdown()
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client has gone
        self.server_close()
        self._thread.join()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, to end it when the server stops."""
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection."""
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent where a client has gone; a mistake of the double is told."""
        import sys

        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def _handler(cluster: KubernetesDouble) -> Callable[..., BaseHTTPRequestHandler]:
    def make(*arguments: Any) -> BaseHTTPRequestHandler:
        return _Handler(cluster, *arguments)

    return make


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, cluster: KubernetesDouble, *arguments: Any) -> None:
        self._cluster = cluster
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        content_type = (self.headers.get("content-type") or "").split(";")[0].strip()
        self._cluster.record(self.command, self.path, content_type, body)
        self._cluster.pause()
        try:
            self._answer(body, content_type)
        except Refusal as refusal:
            self._send(refusal.code, refusal.status(), refusal.headers)
        except _NoPath:
            self._send_text(404, "404 page not found\n")

    def _answer(self, body: bytes, content_type: str) -> None:
        path, _, raw_query = self.path.partition("?")
        query = dict(urllib.parse.parse_qsl(raw_query, keep_blank_values=True))
        parts = [urllib.parse.unquote(part) for part in path.strip("/").split("/")]
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ").strip()
        cluster = self._cluster
        cluster.access.user_of(token)
        found = self._discovery(parts)
        if found is not None:
            self._faulty("get", "")
            self._send(200, found)
            return
        kind, namespace, name, rest = self._route(parts)
        subresource = rest[0] if rest else ""
        verbs = _OBJECT_VERBS if name else _COLLECTION_VERBS
        verb = verbs.get(self.command, "")
        if not verb or (subresource in ("proxy", "log") and verb != "get"):
            raise Refusal(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            )
        target = name.split(":")[0] if subresource == "proxy" else name
        asked = Asked(
            kind,
            namespace,
            target,
            subresource,
            query,
            body,
            content_type,
            token,
            self.headers.get("user-agent") or "",
        )
        if verb == "list" and asked.flag("watch"):
            verb = "watch"
        action = action_on(kind, verb, namespace, target, subresource)
        fault_after = self._faulty(verb, action.resource)
        # Everybody may ask what they may do.
        if kind is not ACCESS_REVIEW:
            cluster.access.check(token, action)
        if subresource == "proxy":
            self._proxy(namespace, name, "/".join(rest[1:]), raw_query)
        elif subresource == "log":
            self._send_text(200, self._log(asked))
        elif verb == "watch":
            self._watch(asked)
        else:
            answer = self._do(verb, asked)
            if fault_after is not None:
                self._fail(fault_after)
                return
            self._send(answer.code, answer.content, {}, [*map(_warning, answer.warnings)])

    def _do(self, verb: str, asked: Asked) -> Answer:
        cluster = self._cluster
        known = ("", "status") if asked.kind.status else ("",)
        if asked.subresource not in known:
            raise _NoPath
        does = {
            "get": cluster.verbs.get,
            "list": cluster.verbs.collection,
            "create": cluster.verbs.create,
            "update": cluster.verbs.update,
            "patch": cluster.verbs.patch,
            "delete": cluster.verbs.delete,
            "deletecollection": cluster.verbs.delete_all,
        }[verb]
        with cluster.store.lock:
            cluster.controller.tick()
            answer = does(asked)
            if verb in _WRITES:
                cluster.controller.tick()
                cluster.store.changed.notify_all()
        return answer

    def _route(self, parts: list[str]) -> tuple[Kind, str, str, list[str]]:
        """Kind, namespace, name, and what follows the name."""
        if parts[:2] == ["api", "v1"]:
            group, version, rest = "", "v1", parts[2:]
        elif parts[0] == "apis" and len(parts) > 3:
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            raise _NoPath
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        if not rest:
            raise _NoPath
        for kind in self._cluster.kinds:
            if (kind.group, kind.version, kind.plural) == (group, version, rest[0]):
                break
        else:
            raise _NoPath
        name = rest[1] if len(rest) > 1 else ""
        if (bool(namespace) and not kind.namespaced) or (
            kind.namespaced and not namespace and (name or self.command == "POST")
        ):
            raise _NoPath
        if kind is NAMESPACE and name:
            with self._cluster.store.lock:
                self._cluster.store.has_namespace(name)
        return kind, namespace, name, rest[2:]

    def _faulty(self, verb: str, resource: str) -> Any:
        """Let go wrong what shall; the fault where the request is carried out first."""
        fault = self._cluster.faults.take(verb, resource)
        if fault is None or (fault.performed and verb in _WRITES):
            return fault
        if fault.status == DROPPED:
            self._fail(fault)
            raise ConnectionAbortedError
        raise fault.refusal()

    def _fail(self, fault: Any) -> None:
        if fault.status == DROPPED:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            raise fault.refusal()

    def _discovery(self, parts: list[str]) -> Json | None:
        kinds = self._cluster.kinds
        groups: dict[str, list[str]] = {}
        for kind in kinds:
            versions = groups.setdefault(kind.group, [])
            if kind.version not in versions:
                versions.append(kind.version)
        if self.command != "GET":
            return None
        if parts == ["version"]:
            return dict(self._cluster.VERSION)
        if parts[0] in ("healthz", "livez", "readyz"):
            return {"status": "ok"}
        if parts == ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        if parts == ["apis"]:
            listed = [_group(name, versions) for name, versions in groups.items() if name]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        if parts[0] == "apis" and len(parts) == 2 and parts[1] in groups:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1], groups[parts[1]])}
        if parts == ["api", "v1"]:
            return _resources(kinds, "", "v1")
        if parts[0] == "apis" and len(parts) == 3 and parts[2] in groups.get(parts[1], ()):
            return _resources(kinds, parts[1], parts[2])
        return None

    def _log(self, asked: Asked) -> str:
        """The log of a container of a pod."""
        cluster = self._cluster
        with cluster.store.lock:
            cluster.controller.tick()
            stored = cluster.store.get(POD, asked.namespace, asked.name)
            if stored is None:
                raise not_found(POD, asked.name)
            pod = clone(stored.content)
        container = _container(pod, asked.query.get("container", ""))
        status = pod.get("status", {})
        state: Json = next(
            (
                one
                for key in ("initContainerStatuses", "containerStatuses")
                for one in status.get(key, ())
                if one["name"] == container
            ),
            {},
        )
        key = (asked.namespace, asked.name, container)
        if asked.flag("previous"):
            if "terminated" not in state.get("lastState", {}):
                raise bad_request(
                    f'previous terminated container "{container}" in pod "{asked.name}" not found'
                )
            text = cluster.previous_logs.get(key, cluster.logs.get(key, ""))
        else:
            waiting = state.get("state", {}).get("waiting")
            ran = "terminated" in state.get("lastState", {})
            if waiting and not ran and key not in cluster.logs:
                reason = waiting["reason"]
                pulls = reason in ("ImagePullBackOff", "ErrImagePull")
                said = "trying and failing to pull image" if pulls else reason
                raise bad_request(
                    f'container "{container}" in pod "{asked.name}" is waiting to start: {said}'
                )
            text = cluster.logs.get(key, "")
        lines = text.splitlines(keepends=True)
        if "tailLines" in asked.query:
            wanted = int(asked.query["tailLines"])
            lines = lines[-wanted:] if wanted else []
        return "".join(lines)

    def _proxy(self, namespace: str, target: str, path: str, query: str) -> None:
        """Pass a GET on to where the test says that the pod is."""
        name, _, port = target.partition(":")
        cluster = self._cluster
        with cluster.store.lock:
            cluster.controller.tick()
            stored = cluster.store.get(POD, namespace, name)
            if stored is None:
                raise not_found(POD, name)
            pod = clone(stored.content)
        number = int(port) if port.isdigit() else 80
        base = cluster.proxy(pod, number) if callable(cluster.proxy) else cluster.proxy
        unreachable = Refusal(
            503,
            "ServiceUnavailable",
            f"error trying to reach service: dial tcp 10.0.0.1:{number}: connect: connection "
            "refused",
        )
        if not base:
            raise unreachable
        url = f"{base.rstrip('/')}/{path}" + (f"?{query}" if query else "")
        request = urllib.request.Request(url, headers={"Accept": "*/*"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                self._send_bytes(answer.status, answer.read(), answer.headers.get_content_type())
        except urllib.error.HTTPError as error:
            with error:
                self._send_bytes(error.code, error.read(), error.headers.get_content_type())
        except OSError as error:
            raise unreachable from error

    def _watch(self, asked: Asked) -> None:
        """What happens, as lines of JSON, until the time is over or the server stops."""
        cluster, store = self._cluster, self._cluster.store
        labels = label_test(asked.query.get("labelSelector", ""))
        fields = field_test(asked.query.get("fieldSelector", ""), asked.kind)
        seconds = float(asked.query.get("timeoutSeconds") or _WATCH_SECONDS)
        deadline = time.monotonic() + seconds
        since = asked.query.get("resourceVersion") or "0"
        if not since.isdigit():
            raise bad_request(f'Invalid value: "{since}": resourceVersion must be a number')
        version = int(since)
        first: list[Json] = []
        with store.lock:
            cluster.controller.tick()
            if version == 0:
                version = store.version
                for stored in cluster.verbs.selected(asked):
                    first.append({"type": "ADDED", "object": stored.view()})
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in first:
            self._chunk(event)
        while True:
            with store.changed:
                cluster.controller.tick()
                try:
                    changes = store.since(version)
                except Refusal as refusal:
                    self._chunk({"type": "ERROR", "object": refusal.status()})
                    break
                left = deadline - time.monotonic()
                if not changes and left > 0 and not store.closed:
                    due = cluster.controller.due_in()
                    store.changed.wait(left if due is None else min(left, due + 0.001))
                    continue
                over = not changes
                version = max([version, *(change.version for change in changes)])
            for change in changes:
                seen = _event(change, asked, lambda item: labels(item) and fields(item))
                if seen is not None:
                    self._chunk(seen)
            if over:
                break
        if asked.flag("allowWatchBookmarks"):
            mark = {
                "kind": asked.kind.kind,
                "apiVersion": asked.kind.api_version,
                "metadata": {"resourceVersion": str(version), "creationTimestamp": None},
            }
            self._chunk({"type": "BOOKMARK", "object": mark})
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, event: Json) -> None:
        line = json.dumps(event).encode() + b"\n"
        self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))

    def _send(
        self,
        status: int,
        content: Json,
        headers: dict[str, str] | None = None,
        warned: list[str] | None = None,
    ) -> None:
        body = json.dumps(content).encode()
        more = [("Warning", one) for one in warned or ()]
        self._send_bytes(status, body, "application/json", [*(headers or {}).items(), *more])

    def _send_text(self, status: int, text: str) -> None:
        self._send_bytes(status, text.encode(), "text/plain; charset=utf-8")

    def _send_bytes(
        self, status: int, body: bytes, sort: str, headers: list[tuple[str, str]] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", sort)
        self.send_header("content-length", str(len(body)))
        for name, value in headers or ():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _warning(text: str) -> str:
    return f"299 - {json.dumps(text)}"


def _event(change: Change, asked: Asked, chosen: Test) -> Json | None:
    """A change as a watch with selectors sees it, None where it does not."""
    if change.kind != asked.kind:
        return None
    metadata = change.after["metadata"]
    if asked.namespace and metadata.get("namespace") != asked.namespace:
        return None
    was = change.before is not None and chosen(change.before)
    now = change.sort != "DELETED" and chosen(change.after)
    if not was and not now:
        return None
    sort = "MODIFIED" if was and now else "ADDED" if now else "DELETED"
    return {"type": sort, "object": change.after}


def _container(pod: Json, named: str) -> str:
    """The container that a log is asked of."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    usual = [one["name"] for one in spec.get("containers", ())]
    initial = [one["name"] for one in spec.get("initContainers", ())]
    if not named and len(usual) == 1:
        return str(usual[0])
    if not named:
        also = f" or one of the init containers: [{' '.join(initial)}]" if initial else ""
        raise bad_request(
            f"a container name must be specified for pod {name}, choose one of: "
            f"[{' '.join(usual)}]{also}"
        )
    if named not in (*usual, *initial):
        raise bad_request(f"container {named} is not valid for pod {name}")
    return named


def _group(name: str, versions: list[str]) -> Json:
    preferred = "v1beta1" if "v1beta1" in versions else versions[0]
    listed = [{"groupVersion": f"{name}/{one}", "version": one} for one in versions]
    return {
        "name": name,
        "versions": listed,
        "preferredVersion": {"groupVersion": f"{name}/{preferred}", "version": preferred},
    }


def _resources(kinds: tuple[Kind, ...], group: str, version: str) -> Json:
    found: list[Json] = []
    for kind in kinds:
        if (kind.group, kind.version) != (group, version):
            continue
        entry: Json = {
            "name": kind.plural,
            "singularName": kind.kind.lower(),
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": _ALL_VERBS,
        }
        found.append(entry)
        subresources = ["status"] if kind.status else []
        if kind is POD:
            subresources += ["log", "proxy"]
        for one in subresources:
            verbs = ["get"] if one in ("log", "proxy") else ["get", "patch", "update"]
            found.append({**entry, "name": f"{kind.plural}/{one}", "verbs": verbs})
    named = f"{group}/{version}" if group else version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": named,
        "resources": found,
    }


def served(*, kserve: bool, knative: bool) -> tuple[Kind, ...]:
    """The kinds of a cluster."""
    absent = {*(() if kserve else (SERVING,)), *(() if knative else (KNATIVE,))}
    return tuple(kind for kind in KINDS if kind.group not in absent)
