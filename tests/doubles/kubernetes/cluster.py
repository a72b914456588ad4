"""A Kubernetes cluster with KServe, as far as its API shows it.

with running(KubernetesDouble()) as cluster:
    cluster.behave("models/iris", Behaviour("crash_loop"))
    Cluster(cluster.client()).apply(manifest)
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import yaml
from kubernetes import client

from kfp_suite.testing.kubernetes.access import Access
from kfp_suite.testing.kubernetes.controller import Controller
from kfp_suite.testing.kubernetes.faults import Fault, Faults
from kfp_suite.testing.kubernetes.kinds import Json, Kind, clone, split_key
from kfp_suite.testing.kubernetes.objects import Store, Stored
from kfp_suite.testing.kubernetes.rollouts import Mode
from kfp_suite.testing.kubernetes.schemas import Schemas
from kfp_suite.testing.kubernetes.server import Server, served
from kfp_suite.testing.kubernetes.verbs import MERGE, Asked, Verbs
from kfp_suite.testing.kubernetes.workloads import Behaviour

__all__ = ["Behaviour", "KubernetesDouble", "Request", "running"]


class Request(NamedTuple):
    """A request as it came; `path` with its query, `body` None where there is none."""

    method: str
    path: str
    content_type: str
    body: Any


class KubernetesDouble:
    """A cluster in memory.

    Args:
        crds: A folder of CustomResourceDefinitions as YAML files; None: KServe's kinds have no
            schema, and everything is allowed.
        knative: Whether Knative is there.
        kserve: Whether KServe is there.
        mode: Of InferenceServices that do not say theirs; None: Knative where it is there.
        namespaces: Those that exist; None: every namespace does as soon as it is used.
        splits: Whether KServe routes to canaries in Standard mode; KServe 0.20 does not.

    Attributes:
        logs: What containers wrote, by namespace, pod and container; filled by the controller
            where nothing is set.
        previous_logs: What containers wrote in the life before, where that was something else.
        requests: Every request, the oldest first.
        proxy: Where requests through pods/proxy go: a URL, or a function from the pod and the
            port to one; empty: no pod can be reached.
        latency: Seconds that every answer takes.
    """

    VERSION: ClassVar[Mapping[str, str]] = {
        "major": "1",
        "minor": "34",
        "gitVersion": "v1.34.0",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2025-08-27T10:11:12Z",
        "goVersion": "go1.24.6",
        "compiler": "gc",
        "platform": "linux/amd64",
    }

    def __init__(
        self,
        crds: Path | None = None,
        *,
        knative: bool = True,
        kserve: bool = True,
        mode: Mode | None = None,
        namespaces: Iterable[str] | None = None,
        splits: bool = True,
    ) -> None:
        self.logs: dict[tuple[str, str, str], str] = {}
        self.previous_logs: dict[tuple[str, str, str], str] = {}
        self.requests: list[Request] = []
        self.proxy: str | Callable[[Json, int], str] = ""
        self.latency = 0.0
        self.kinds = served(kserve=kserve, knative=knative)
        self.store = Store(None if namespaces is None else tuple(namespaces))
        self.access = Access(secrets.token_hex(8))
        self.faults = Faults()
        schemas = Schemas(crds)
        mode = mode or ("Knative" if knative else "Standard")
        self.verbs = Verbs(self.store, schemas, self.access, mode)
        self.controller = Controller(self.store, schemas, self.logs, mode)
        self.controller.splits = splits
        self._stopping = threading.Event()
        self._clients: list[Any] = []
        self._url = ""

    @property
    def url(self) -> str:
        """Its address, while it runs."""
        return self._url

    @property
    def endpoint(self) -> str | Callable[[str, str], str]:
        """Where InferenceServices say that they serve: a URL, or a function from namespace and
        name to one; empty: names inside the cluster, which nobody outside can resolve."""
        return self.controller.endpoint

    @endpoint.setter
    def endpoint(self, value: str | Callable[[str, str], str]) -> None:
        self.controller.endpoint = value

    def client(self, token: str | None = None) -> Any:
        """A Kubernetes `ApiClient`; with a token, somebody else's than the administrator's."""
        if token is not None:
            self.access.know(token)
        configuration = client.Configuration()
        configuration.host = self._url
        configuration.api_key["authorization"] = token or self.access.admin_token
        configuration.api_key_prefix["authorization"] = "Bearer"
        found = client.ApiClient(configuration)
        self._clients.append(found)
        return found

    def kubeconfig(self, path: Path, token: str | None = None, namespace: str = "default") -> Path:
        """Write a kubeconfig file; gives `path`."""
        if token is not None:
            self.access.know(token)
        user = {"token": token or self.access.admin_token}
        context = {"cluster": "double", "user": "double", "namespace": namespace}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "double", "cluster": {"server": self._url}}],
            "users": [{"name": "double", "user": user}],
            "contexts": [{"name": "double", "context": context}],
            "current-context": "double",
        }
        path.write_text(yaml.safe_dump(content))
        path.chmod(0o600)
        return path

    def behave(self, key: str, behaviour: Behaviour, *, started: bool = True) -> None:
        """What becomes of the next rollouts, and of those that are not ready yet.

        Args:
            key: `namespace/name` of an InferenceService, `namespace/name/canary` of one of its
                canaries in Standard mode, or `*`.
            behaviour: What becomes of them.
            started: Whether also of those that have started; pods that were made with what has
                been mended since go on as they do.
        """
        with self.store.changed:
            self.controller.behave(key, behaviour, started=started)
            self.store.changed.notify_all()

    def advance(self, seconds: float) -> None:
        """Let time pass for the controller."""
        self.store.advance(seconds)

    def deny(
        self, verb: str, resource: str, namespace: str | None = None, token: str | None = None
    ) -> None:
        """Answer 403.

        Args:
            verb: As RBAC names it, or `*`.
            resource: A plural, with its subresource (`pods/log`), or `*`.
            namespace: None: in each.
            token: Whom; None: everybody.
        """
        self.access.deny(verb, resource, namespace, token)

    def allow_only(
        self,
        token: str,
        rules: Iterable[Mapping[str, Any]],
        namespace: str | None = None,
        user: str = "",
    ) -> None:
        """Give a token the rules of a Role and nothing else; unknown tokens get 401 from now on.

        Args:
            token: Whose.
            rules: `rules` of a Role.
            namespace: Of the Role; None: those of a ClusterRole.
            user: The name in messages; empty: a service account's.
        """
        self.access.allow_only(token, rules, namespace, user)

    def fail_next(
        self,
        status: int,
        times: int = 1,
        verb: str | None = None,
        resource: str | None = None,
        retry_after: int | None = None,
        *,
        performed: bool = False,
    ) -> None:
        """Let the next requests fail.

        Args:
            status: The HTTP status; 0: the connection is dropped without an answer.
            times: For how many requests.
            verb: As RBAC names it; None: any.
            resource: A plural, with its subresource; None: any.
            retry_after: Seconds, for the Retry-After header.
            performed: A write is carried out, and only its answer is lost.
        """
        self.faults.add(Fault(status, times, verb, resource, retry_after, performed))

    def forget_history(self) -> None:
        """Make every resourceVersion so far too old to watch from: 410."""
        self.store.forget()

    def get(self, plural: str, key: str) -> Json:
        """An object as it is. Raises KeyError.

        Args:
            plural: `pods`, or with its group where that is needed: `services.serving.knative.dev`.
            key: `namespace/name`, or the name of what has no namespace.
        """
        kind, (namespace, name) = self._kind(plural), split_key(key)
        with self.store.lock:
            self.controller.tick()
            found = self.store.get(kind, namespace, name)
            if found is None:
                raise KeyError(f"{kind.qualified} {key}")
            return found.view()

    def objects(self, plural: str, namespace: str = "") -> list[Json]:
        """The objects of a kind, of every namespace for an empty one."""
        kind = self._kind(plural)
        with self.store.lock:
            self.controller.tick()
            return [stored.view() for stored in self.store.all(kind, namespace)]

    def add(self, content: Mapping[str, Any]) -> Json:
        """Put an object into the cluster as it is, with its status and without any check."""
        kind = next(
            kind
            for kind in self.kinds
            if (kind.api_version, kind.kind) == (content["apiVersion"], content["kind"])
        )
        copied: Json = clone(dict(content))
        if kind.namespaced:
            copied["metadata"].setdefault("namespace", "default")
        with self.store.changed:
            self.store.has_namespace(copied["metadata"].get("namespace", ""))
            found = self.store.put(Stored(kind, copied)).view()
            self.controller.tick()
        return found

    def edit(
        self, plural: str, key: str, changes: Mapping[str, Any], manager: str = "kubectl-edit"
    ) -> Json:
        """A person's edit: a JSON merge patch by another field manager.

        Raises:
            Refusal: the object is not there, or the change is not allowed.
        """
        kind, (namespace, name) = self._kind(plural), split_key(key)
        asked = Asked(
            kind,
            namespace,
            name,
            query={"fieldManager": manager},
            body=json.dumps(dict(changes)).encode(),
            content_type=MERGE,
        )
        with self.store.changed:
            self.controller.tick()
            found = self.verbs.patch(asked).content
            self.controller.tick()
        return found

    def record(self, method: str, path: str, content_type: str, body: bytes) -> None:
        """Remember a request."""
        read: Any = None
        if body:
            try:
                read = json.loads(body)
            except ValueError:
                try:
                    read = yaml.safe_load(body)
                except yaml.YAMLError:
                    read = body
        self.requests.append(Request(method, path, content_type, read))

    def pause(self) -> None:
        """Wait for as long as an answer takes."""
        if self.latency:
            self._stopping.wait(self.latency)

    def _kind(self, plural: str) -> Kind:
        for kind in self.kinds:
            if plural in (kind.plural, kind.qualified):
                return kind
        raise KeyError(plural)

    @contextmanager
    def _running(self) -> Iterator[None]:
        server = Server(self)
        self._url = server.url
        ticker = threading.Thread(target=self._tick, name="kubernetes-double-controller")
        server.start()
        ticker.start()
        try:
            yield
        finally:
            self._stopping.set()
            self.store.close()
            for one in self._clients:
                one.rest_client.pool_manager.clear()
                one.close()
            server.stop()
            ticker.join()

    def _tick(self) -> None:
        """Let the controller do what is due, so that watches see it."""
        with self.store.changed:
            while not self.store.closed:
                self.controller.tick()
                self.store.changed.wait(self.controller.due_in())


@contextmanager
def running(double: KubernetesDouble) -> Iterator[KubernetesDouble]:
    """Serve the double on a free loopback port until the block ends."""
    with double._running():
        yield double
