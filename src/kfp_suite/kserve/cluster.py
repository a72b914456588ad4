"""A cluster with KServe: apply, read and delete objects, retrying transient errors."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from yaml import YAMLError

from kfp_suite.contracts.errors import MissingError, StoreError, TransientError
from kfp_suite.kserve.canary import Mode, check_mode, mode_of
from kfp_suite.kserve.deletion import check_living
from kfp_suite.kserve.manifests import DEPLOYMENT_MODE
from kfp_suite.kserve.refusals import certificate_refused, is_transient, refused

FIELD_MANAGER = "kfp-suite"
SERVICES = ("serving.kserve.io", "v1beta1", "inferenceservices")
RUNTIMES = ("serving.kserve.io", "v1alpha1", "servingruntimes")
GRAPHS = ("serving.kserve.io", "v1alpha1", "inferencegraphs")
TRAINED_MODELS = ("serving.kserve.io", "v1alpha1", "trainedmodels")
HTTP_ROUTES = ("gateway.networking.k8s.io", "v1", "httproutes")
REVISIONS = ("serving.knative.dev", "v1", "revisions")
KNATIVE_SERVICES = ("serving.knative.dev", "v1", "services")
OF_SERVICE = "serving.kserve.io/inferenceservice"
OF_GRAPH = "serving.kserve.io/inferencegraph"
"""Labels of what KServe makes: whose it is."""
KINDS = {
    "InferenceService": SERVICES,
    "ServingRuntime": RUNTIMES,
    "InferenceGraph": GRAPHS,
    "TrainedModel": TRAINED_MODELS,
    "HTTPRoute": HTTP_ROUTES,
}
_TRIES = 5
_FIRST_PAUSE = 0.5
_SECONDS_A_CALL = 30
T = TypeVar("T")


class Cluster:
    """The Kubernetes API, as deploy and rollout use it.

    Args:
        api: An `ApiClient`; None: in-cluster credentials, else the kubeconfig.
        sleep: Waits between tries.
        is_outside: Whether this process is outside the cluster, where names that end in
            `.svc.cluster.local` are usually unknown.
        context: Of the kubeconfig, without `api`; empty: in-cluster credentials, else the current
            context.

    Every method raises StoreError if the API refuses, with the remedy, and TransientError if
    it did not answer after several tries.
    """

    def __init__(
        self,
        api: Any = None,
        sleep: Callable[[float], None] = time.sleep,
        *,
        is_outside: bool = False,
        context: str = "",
    ) -> None:
        self.is_outside = is_outside
        if api is None:
            self.is_outside = not _configure(context)
            api = _client()
        self._api = api
        self._custom = client.CustomObjectsApi(self._api)
        self._core = client.CoreV1Api(self._api)
        self.sleep = sleep

    def ask(self, where: str, ask: Callable[[Any], T]) -> T:
        """Call a method of the Kubernetes client.

        Args:
            where: The object of the request, for errors.
            ask: Gets the `ApiClient`.
        """
        return self._call(where, lambda: ask(self._api))

    def apply(
        self, manifest: Mapping[str, Any], *, force: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        """Server-side apply: create or update; fields that others set stay theirs.

        Args:
            manifest: An InferenceService, TrainedModel, ServingRuntime, InferenceGraph or
                HTTPRoute.
            force: Take fields that another manager set to another value.
            dry_run: Let the API check and merge it, and change nothing.

        Returns:
            The object as it is, or would be.

        Raises:
            AlreadyExistsError: another manager set a field to another value; with both names.
            BeingDeletedError: the object is being deleted, and the change would go with it.
        """
        name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
        group, version, plural = KINDS[manifest["kind"]]
        query = [("fieldManager", FIELD_MANAGER), ("force", str(force).lower())]
        if dry_run:
            query.append(("dryRun", "All"))

        def call() -> Any:
            # The client's own method for custom objects can only merge.
            return self._api.call_api(
                f"/apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}",
                "PATCH",
                query_params=query,
                header_params={
                    "Content-Type": "application/apply-patch+yaml",
                    "Accept": "application/json",
                },
                body=dict(manifest),
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=_SECONDS_A_CALL,
            )

        found: dict[str, Any] = self._call(f"{manifest['kind']} {namespace}/{name}", call)
        check_living(found)
        return found

    def annotate(
        self,
        name: str,
        namespace: str,
        annotations: Mapping[str, str],
        kind: tuple[str, str, str] = SERVICES,
    ) -> None:
        """Annotate an object and change nothing else of it. Raises MissingError."""
        group, version, plural = kind
        self._call(
            f"{plural} {namespace}/{name}",
            lambda: self._api.call_api(
                f"/apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}",
                "PATCH",
                query_params=[("fieldManager", FIELD_MANAGER)],
                header_params={
                    "Content-Type": "application/merge-patch+json",
                    "Accept": "application/json",
                },
                body={"metadata": {"annotations": dict(annotations)}},
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=_SECONDS_A_CALL,
            ),
        )

    def get(
        self, name: str, namespace: str, kind: tuple[str, str, str] = SERVICES
    ) -> dict[str, Any]:
        """One object. Raises MissingError."""
        group, version, plural = kind
        found: dict[str, Any] = self._call(
            f"{plural} {namespace}/{name}",
            lambda: self._custom.get_namespaced_custom_object(
                group, version, namespace, plural, name, _request_timeout=_SECONDS_A_CALL
            ),
        )
        return found

    def find(
        self, name: str, namespace: str, kind: tuple[str, str, str] = SERVICES
    ) -> dict[str, Any] | None:
        """One object, None if there is none."""
        try:
            return self.get(name, namespace, kind)
        except MissingError:
            return None

    def living(
        self, name: str, namespace: str, kind: tuple[str, str, str] = SERVICES
    ) -> dict[str, Any] | None:
        """One object, None if there is none. Raises BeingDeletedError while it is being
        deleted: neither can it be changed, nor made anew."""
        found = self.find(name, namespace, kind)
        if found is not None:
            check_living(found)
        return found

    def services(
        self, namespace: str, selector: str = "", kind: tuple[str, str, str] = SERVICES
    ) -> list[dict[str, Any]]:
        """The InferenceServices of a namespace, or its objects of another kind, by name."""
        group, version, plural = kind
        found = self._call(
            f"{plural} of {namespace}",
            lambda: self._custom.list_namespaced_custom_object(
                group,
                version,
                namespace,
                plural,
                label_selector=selector,
                _request_timeout=_SECONDS_A_CALL,
            ),
        )
        return sorted(found["items"], key=lambda item: str(item["metadata"]["name"]))

    def config_map(self, name: str, namespace: str) -> dict[str, str]:
        """The data of a ConfigMap. Raises MissingError."""
        found = self._call(
            f"configmap {namespace}/{name}",
            lambda: self._core.read_namespaced_config_map(
                name, namespace, _request_timeout=_SECONDS_A_CALL
            ),
        )
        return dict(found.data or {})

    def delete(self, name: str, namespace: str, kind: tuple[str, str, str] = SERVICES) -> None:
        """Delete an object. Raises MissingError."""
        group, version, plural = kind
        self._call(
            f"{plural} {namespace}/{name}",
            lambda: self._custom.delete_namespaced_custom_object(
                group, version, namespace, plural, name, _request_timeout=_SECONDS_A_CALL
            ),
        )

    def mode(
        self, service: Mapping[str, Any] | None, namespace: str = "", wanted: str = ""
    ) -> Mode:
        """The mode in which KServe runs a service, or would run a new one of a namespace: the
        wanted one, that of the live service, or KServe's default; else Knative if the cluster
        has it.

        Raises:
            ParameterError: the service is live in another mode than the wanted one.
        """
        found = mode_of(wanted) if service is None and wanted else self._mode(service, namespace)
        check_mode(wanted, found)
        return found

    def _mode(self, service: Mapping[str, Any] | None, namespace: str) -> Mode:
        if service is None and namespace:
            service = self.apply(_probe(namespace), dry_run=True)
        if service is not None:
            said = service.get("status", {}).get("deploymentMode") or service["metadata"].get(
                "annotations", {}
            ).get(DEPLOYMENT_MODE)
            if said:
                return mode_of(said)
        groups = self._call(
            "API groups", lambda: client.ApisApi(self._api).get_api_versions().groups
        )
        has_knative = any(group.name == "serving.knative.dev" for group in groups)
        return "Knative" if has_knative else "Standard"

    def deployments(self, name: str, namespace: str, label: str = OF_SERVICE) -> list[Any]:
        """The Deployments of a service, or with another label; without a name, of all that have
        the label."""
        found = self._call(
            f"deployments of {namespace}/{name}",
            lambda: client.AppsV1Api(self._api).list_namespaced_deployment(
                namespace, label_selector=_named(label, name), _request_timeout=_SECONDS_A_CALL
            ),
        )
        return list(found.items)

    def pods(self, name: str, namespace: str, label: str = OF_SERVICE) -> list[Any]:
        """The pods of a service, or with another label; without a name, of all that have the
        label."""
        found = self._call(
            f"pods of {namespace}/{name}",
            lambda: self._core.list_namespaced_pod(
                namespace,
                label_selector=_named(label, name),
                _request_timeout=_SECONDS_A_CALL,
            ),
        )
        return list(found.items)

    def events(self, kind: str, name: str, namespace: str) -> list[Any]:
        """The events of an object, oldest first."""
        found = self._call(
            f"events of {namespace}/{name}",
            lambda: self._core.list_namespaced_event(
                namespace,
                field_selector=f"involvedObject.kind={kind},involvedObject.name={name}",
                _request_timeout=_SECONDS_A_CALL,
            ),
        )
        return list(found.items)

    def log(self, pod: str, namespace: str, container: str, lines: int) -> str:
        """The last lines of a container's log; of its previous run, if this one has none."""
        where = f"log of {namespace}/{pod}/{container}"

        def read(*, previous: bool) -> str:
            response = self._core.read_namespaced_pod_log(
                pod,
                namespace,
                container=container,
                tail_lines=lines,
                previous=previous,
                _preload_content=False,
                _request_timeout=_SECONDS_A_CALL,
            )
            text: str = response.data.decode(errors="replace")
            return text

        return self._call(where, lambda: read(previous=False)) or self._call(
            where, lambda: read(previous=True)
        )

    def proxied(self, pod: str, namespace: str, port: int, path: str) -> str:
        """A pod's answer to a GET, through the API server."""
        where = f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/{path.lstrip('/')}"

        def call() -> str:
            response = self._api.call_api(
                where,
                "GET",
                header_params={"Accept": "*/*"},
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=_SECONDS_A_CALL,
            )
            text: str = response.data.decode(errors="replace")
            return text

        return self._call(where, call)

    def _call(self, where: str, call: Callable[[], T]) -> T:
        pause = _FIRST_PAUSE
        for tried in range(1, _TRIES + 1):
            try:
                return call()
            except ApiException as error:
                if not is_transient(error):
                    raise refused(error, where) from error
                reason: object = f"{error.status} {error.reason}"
                after = (error.headers or {}).get("Retry-After", "")
                wait = float(after) if str(after).isdigit() else pause
            except urllib3.exceptions.HTTPError as error:
                if (untrusted := certificate_refused(error, where)) is not None:
                    raise untrusted from error
                reason, wait = error, pause
            if tried < _TRIES:
                self.sleep(wait)
                pause *= 2
        raise TransientError(
            "the Kubernetes API does not answer",
            where=where,
            got=str(reason),
            fix=f"{_TRIES} tries failed; run the step again when it does",
        )


def _named(label: str, name: str) -> str:
    """A selector: a label that is `name`; without a name, one that is there."""
    return f"{label}={name}" if name else label


def _probe(namespace: str) -> dict[str, Any]:
    """An InferenceService that KServe writes its default mode into, if that is Standard."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "kfp-suite-mode", "namespace": namespace},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "kfp-suite"}}}},
    }


def _configure(context: str) -> bool:
    """Take up the pod's own credentials, unless a context is named, else the kubeconfig's; whether
    they are the pod's."""
    try:
        if context:
            raise config.ConfigException
        config.load_incluster_config()
        return True
    except config.ConfigException:
        try:
            config.load_kube_config(context=context or None)
        # A kubeconfig that is not YAML, or not of its form, raises what the client falls over.
        except (config.ConfigException, OSError, YAMLError, TypeError, AttributeError) as error:
            raise StoreError(
                "no Kubernetes credentials",
                where="cluster",
                got=str(error),
                fix="set target to local, or KUBECONFIG to a cluster's",
            ) from error
    return False


def _client() -> Any:
    found = client.ApiClient()
    # Python 3.13 refuses certificates that Go takes: of a CA without keyUsage, as many clusters
    # have. kubectl and this client are to trust the same clusters.
    pool = found.rest_client.pool_manager.connection_pool_kw
    context = urllib3.util.ssl_.create_urllib3_context(cert_reqs=pool["cert_reqs"])
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    pool["ssl_context"] = context
    return found
