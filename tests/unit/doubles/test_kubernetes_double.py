"""The Kubernetes double does what a Kubernetes API server with KServe does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

from kfp_suite.testing.kubernetes.cluster import Behaviour, KubernetesDouble, running
from tests.schemas import CRDS, MISSING

GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
NAMESPACE, NAME = "models", "iris"
KEY = f"{NAMESPACE}/{NAME}"
MODE = "serving.kserve.io/deploymentMode"
SCALER = "serving.kserve.io/autoscalerClass"
KNATIVE_SCALER = "autoscaling.knative.dev/class"
Json = dict[str, Any]

needs_crds = pytest.mark.skipif(CRDS is None, reason=MISSING)


def service(uri: str = "gs://bucket/1", mode: str = "", **predictor: Any) -> Json:
    metadata: Json = {"name": NAME, "namespace": NAMESPACE}
    if mode:
        metadata["annotations"] = {MODE: mode}
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": uri}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": {"minReplicas": 1, "model": model, **predictor}},
    }


def with_canary(uri: str, percent: int, **predictor: Any) -> Json:
    found = service(mode="Standard", **predictor)
    # A canary's model has a name by KServe's schema, a predictor's need not.
    model = {"name": "kserve-container", "modelFormat": {"name": "sklearn"}, "storageUri": uri}
    side = {"name": "v2", "model": model}
    found["spec"]["canary"] = [{"trafficPercent": percent, "predictor": side}]
    return found


class Caller:
    """The calls of the tests, through the real client."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.core = client.CoreV1Api(api)
        self.apps = client.AppsV1Api(api)
        self.custom = client.CustomObjectsApi(api)

    def apply(
        self, manifest: Json, manager: str | None = "kfp-suite", status: str = "", **query: str
    ) -> Json:
        asked = [*query.items(), *([("fieldManager", manager)] if manager else [])]
        plural = {"InferenceService": PLURAL, "ServingRuntime": "servingruntimes"}
        plural["InferenceGraph"] = "inferencegraphs"
        metadata = manifest["metadata"]
        where = f"/apis/{manifest['apiVersion']}/namespaces/{metadata['namespace']}"
        found: Json = self.api.call_api(
            f"{where}/{plural[manifest['kind']]}/{metadata['name']}{status}",
            "PATCH",
            query_params=asked,
            header_params={
                "Content-Type": "application/apply-patch+yaml",
                "Accept": "application/json",
            },
            body=manifest,
            response_type="object",
            auth_settings=["BearerToken"],
            _return_http_data_only=True,
        )
        return found

    def create(self, manifest: Json, **query: str) -> Json:
        found: Json = self.custom.create_namespaced_custom_object(
            GROUP, VERSION, NAMESPACE, PLURAL, manifest, **query
        )
        return found

    def get(self) -> Json:
        found: Json = self.custom.get_namespaced_custom_object(
            GROUP, VERSION, NAMESPACE, PLURAL, NAME
        )
        return found

    def replace(self, manifest: Json) -> Json:
        found: Json = self.custom.replace_namespaced_custom_object(
            GROUP, VERSION, NAMESPACE, PLURAL, NAME, manifest
        )
        return found

    def patch(self, changes: Any, **query: str) -> Json:
        found: Json = self.custom.patch_namespaced_custom_object(
            GROUP, VERSION, NAMESPACE, PLURAL, NAME, changes, **query
        )
        return found

    def delete(self) -> Json:
        found: Json = self.custom.delete_namespaced_custom_object(
            GROUP, VERSION, NAMESPACE, PLURAL, NAME
        )
        return found

    def pods(self, selector: str = f"serving.kserve.io/inferenceservice={NAME}") -> list[Any]:
        return list(self.core.list_namespaced_pod(NAMESPACE, label_selector=selector).items)


@pytest.fixture
def cluster() -> Iterator[KubernetesDouble]:
    with running(KubernetesDouble()) as found:
        yield found


@pytest.fixture
def kserve() -> Iterator[KubernetesDouble]:
    with running(KubernetesDouble(CRDS)) as found:
        yield found


@pytest.fixture
def standard() -> Iterator[KubernetesDouble]:
    with running(KubernetesDouble(knative=False)) as found:
        yield found


def refused(call: Any, *arguments: Any, **named: Any) -> tuple[int, Json]:
    import json

    with pytest.raises(ApiException) as caught:
        call(*arguments, **named)
    found: Json = json.loads(caught.value.body)
    assert found["kind"] == "Status"
    assert found["code"] == caught.value.status
    return caught.value.status, found


def conditions(found: Json) -> dict[str, str]:
    return {one["type"]: one["status"] for one in found["status"]["conditions"]}


def condition(found: Json, sort: str) -> Json:
    return next(dict(one) for one in found["status"]["conditions"] if one["type"] == sort)


class TestObjects:
    def test_what_is_created_can_be_read_replaced_and_deleted(
        self, cluster: KubernetesDouble
    ) -> None:
        core = client.CoreV1Api(cluster.client())
        body = client.V1ConfigMap(
            metadata=client.V1ObjectMeta(name="a", labels={"x": "1"}), data={"k": "v"}
        )
        made = core.create_namespaced_config_map("ns", body)
        assert made.metadata.uid and made.metadata.creation_timestamp
        assert core.read_namespaced_config_map("a", "ns").data == {"k": "v"}
        made.data = {"k": "w"}
        changed = core.replace_namespaced_config_map("a", "ns", made)
        assert int(changed.metadata.resource_version) > int(made.metadata.resource_version)
        gone = core.delete_namespaced_config_map("a", "ns", propagation_policy="Foreground")
        assert gone.status == "Success"
        code, status = refused(core.read_namespaced_config_map, "a", "ns")
        assert (code, status["reason"]) == (404, "NotFound")
        assert status["message"] == 'configmaps "a" not found'

    def test_a_second_object_of_a_name_and_a_stale_one_are_conflicts(
        self, cluster: KubernetesDouble
    ) -> None:
        caller = Caller(cluster.client())
        first = caller.create(service())
        code, status = refused(caller.create, service())
        assert (code, status["reason"]) == (409, "AlreadyExists")
        assert status["message"] == 'inferenceservices.serving.kserve.io "iris" already exists'
        caller.patch({"metadata": {"labels": {"a": "b"}}})
        code, status = refused(caller.replace, first)
        assert (code, status["reason"]) == (409, "Conflict")
        assert "the object has been modified" in status["message"]
        del first["metadata"]["resourceVersion"]
        code, status = refused(caller.replace, first)
        assert code == 422
        assert status["details"]["causes"][0]["field"] == "metadata.resourceVersion"

    def test_generation_follows_the_spec_alone(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        assert caller.get()["metadata"]["generation"] == 1
        caller.patch({"metadata": {"labels": {"a": "b"}}})
        caller.patch({"status": {"url": "http://evil"}})
        found = caller.get()
        assert found["metadata"]["generation"] == 1
        assert found["status"]["url"] != "http://evil"
        caller.patch({"spec": {"predictor": {"minReplicas": 2}}})
        assert caller.get()["metadata"]["generation"] == 2

    def test_status_is_a_subresource(self, cluster: KubernetesDouble) -> None:
        cluster.behave("*", Behaviour("silent"))
        caller = Caller(cluster.client())
        made = caller.create({**service(), "status": {"url": "http://mine"}})
        assert "status" not in made
        patched = caller.custom.patch_namespaced_custom_object_status(
            GROUP,
            VERSION,
            NAMESPACE,
            PLURAL,
            NAME,
            {"status": {"url": "http://x"}, "spec": {"predictor": {"minReplicas": 7}}},
        )
        assert patched["status"] == {"url": "http://x"}
        assert patched["spec"]["predictor"]["minReplicas"] == 1
        assert patched["metadata"]["generation"] == 1

    def test_selectors_choose(self, cluster: KubernetesDouble) -> None:
        core = client.CoreV1Api(cluster.client())
        for name, labels in (("a", {"x": "1"}), ("b", {"x": "2", "y": ""}), ("c", {})):
            metadata = client.V1ObjectMeta(name=name, labels=labels)
            core.create_namespaced_config_map("ns", client.V1ConfigMap(metadata=metadata))

        def chosen(label: str = "", field: str = "") -> str:
            found = core.list_namespaced_config_map(
                "ns", label_selector=label, field_selector=field
            )
            return "".join(one.metadata.name for one in found.items)

        assert chosen() == "abc"
        assert chosen("x=1") == "a"
        assert chosen("x==2") == "b"
        assert chosen("x!=1") == "bc"
        assert chosen("x in (1, 2)") == "ab"
        assert chosen("x in (1,2),y") == "b"
        assert chosen("x notin (1)") == "bc"
        assert chosen("!x") == "c"
        assert chosen(field="metadata.name=c") == "c"
        assert chosen(field="metadata.name!=c") == "ab"
        assert refused(chosen, "x ~ 1")[0] == 400
        assert refused(chosen, field="data.k=v")[1]["message"].startswith("field label not supp")

    def test_a_long_list_comes_in_parts(self, cluster: KubernetesDouble) -> None:
        core = client.CoreV1Api(cluster.client())
        for number in range(5):
            metadata = client.V1ObjectMeta(name=f"c{number}")
            core.create_namespaced_config_map("ns", client.V1ConfigMap(metadata=metadata))
        names, token = [], None
        while True:
            found = core.list_namespaced_config_map("ns", limit=2, _continue=token)
            names += [one.metadata.name for one in found.items]
            token = found.metadata._continue
            if not token:
                break
        assert names == [f"c{number}" for number in range(5)]
        first = core.list_namespaced_config_map("ns", limit=2)
        assert first.metadata.remaining_item_count == 3
        cluster.forget_history()
        again = first.metadata._continue
        core.create_namespaced_config_map(
            "ns", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="d"))
        )
        cluster.forget_history()
        code, _ = refused(core.list_namespaced_config_map, "ns", limit=2, _continue=again)
        assert code == 410

    def test_names_are_generated_and_checked(self, cluster: KubernetesDouble) -> None:
        core = client.CoreV1Api(cluster.client())
        metadata = client.V1ObjectMeta(generate_name="a-")
        made = core.create_namespaced_config_map("ns", client.V1ConfigMap(metadata=metadata))
        assert made.metadata.name.startswith("a-") and len(made.metadata.name) == 7
        metadata = client.V1ObjectMeta(name="A_b")
        code, status = refused(
            core.create_namespaced_config_map, "ns", client.V1ConfigMap(metadata=metadata)
        )
        assert code == 422 and "RFC 1123" in status["message"]

    def test_a_namespace_can_be_missing(self) -> None:
        with running(KubernetesDouble(namespaces=["here"])) as cluster:
            code, status = refused(Caller(cluster.client()).apply, service())
            assert (code, status["message"]) == (404, 'namespaces "models" not found')

    def test_dry_run_changes_nothing(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        shown = caller.apply(service(), dryRun="All")
        assert shown["metadata"]["generation"] == 1
        assert refused(caller.get)[0] == 404
        caller.apply(service())
        before = caller.get()
        planned = caller.apply(service("gs://bucket/2"), dryRun="All")
        assert planned["metadata"]["generation"] == 2
        assert planned["spec"]["predictor"]["model"]["storageUri"] == "gs://bucket/2"
        caller.patch({"spec": {"predictor": {"minReplicas": 3}}}, dry_run="All")
        assert caller.get() == before
        assert refused(caller.create, {**service(), "metadata": {"name": NAME}}, dry_run="All")

    def test_patches_come_in_their_ways(self, cluster: KubernetesDouble) -> None:
        core = client.CoreV1Api(cluster.client())
        metadata = client.V1ObjectMeta(name="a")
        core.create_namespaced_config_map("ns", client.V1ConfigMap(metadata=metadata))
        core.patch_namespaced_config_map("a", "ns", {"data": {"x": "1", "y": "2"}})
        operations = [
            {"op": "test", "path": "/data/x", "value": "1"},
            {"op": "replace", "path": "/data/x", "value": "3"},
            {"op": "remove", "path": "/data/y"},
            {"op": "add", "path": "/data/a~1b", "value": "4"},
        ]
        found = core.patch_namespaced_config_map("a", "ns", operations)
        assert found.data == {"x": "3", "a/b": "4"}
        wrong = [{"op": "test", "path": "/data/x", "value": "9"}]
        assert refused(core.patch_namespaced_config_map, "a", "ns", wrong)[0] == 422

    def test_deleting_an_owner_deletes_what_it_owns(self, cluster: KubernetesDouble) -> None:
        core = client.CoreV1Api(cluster.client())

        def make(name: str, owner: Any = None) -> Any:
            owners = None
            if owner is not None:
                reference = client.V1OwnerReference(
                    api_version="v1",
                    kind="ConfigMap",
                    name=owner.metadata.name,
                    uid=owner.metadata.uid,
                )
                owners = [reference]
            metadata = client.V1ObjectMeta(name=name, owner_references=owners)
            return core.create_namespaced_config_map("ns", client.V1ConfigMap(metadata=metadata))

        make("child", make("parent"))
        core.delete_namespaced_config_map("parent", "ns", propagation_policy="Orphan")
        assert not core.read_namespaced_config_map("child", "ns").metadata.owner_references
        make("second", make("parent"))
        core.delete_namespaced_config_map("parent", "ns")
        assert refused(core.read_namespaced_config_map, "second", "ns")[0] == 404

    def test_a_deletion_can_have_preconditions(self, cluster: KubernetesDouble) -> None:
        core = client.CoreV1Api(cluster.client())
        metadata = client.V1ObjectMeta(name="a")
        core.create_namespaced_config_map("ns", client.V1ConfigMap(metadata=metadata))
        options = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="other"))
        code, status = refused(core.delete_namespaced_config_map, "a", "ns", body=options)
        assert code == 409 and "UID in precondition: other" in status["message"]

    def test_discovery_tells_what_is_there(self) -> None:
        def groups(cluster: KubernetesDouble) -> set[str]:
            found = client.ApisApi(cluster.client()).get_api_versions().groups
            return {group.name for group in found}

        with running(KubernetesDouble(knative=True)) as cluster:
            assert {"serving.knative.dev", GROUP} <= groups(cluster)
            assert client.VersionApi(cluster.client()).get_code().major == "1"
            listed = client.CustomObjectsApi(cluster.client()).get_api_resources(GROUP, VERSION)
            names = {one.name for one in listed.resources}
            assert names == {"inferenceservices", "inferenceservices/status"}
        with running(KubernetesDouble(knative=False, kserve=False)) as cluster:
            assert not {"serving.knative.dev", GROUP} & groups(cluster)
            with pytest.raises(ApiException) as caught:
                Caller(cluster.client()).get()
            assert caught.value.status == 404
            assert caught.value.body == "404 page not found\n"


class TestServerSideApply:
    def test_creates_then_changes_then_does_nothing(self, cluster: KubernetesDouble) -> None:
        cluster.behave("*", Behaviour("silent"))
        caller = Caller(cluster.client())
        first = caller.apply(service())
        entry = first["metadata"]["managedFields"][0]
        assert entry["manager"] == "kfp-suite" and entry["operation"] == "Apply"
        model = entry["fieldsV1"]["f:spec"]["f:predictor"]["f:model"]
        assert model == {"f:modelFormat": {"f:name": {}}, "f:storageUri": {}}
        again = caller.apply(service())
        assert again == first
        assert caller.apply(service("gs://bucket/2"))["metadata"]["generation"] == 2

    def test_needs_a_manager(self, cluster: KubernetesDouble) -> None:
        code, status = refused(Caller(cluster.client()).apply, service(), manager=None)
        assert code == 422
        assert status["message"] == (
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required '
            "for apply patch"
        )

    def test_the_field_of_another_is_a_conflict_until_it_is_taken(
        self, cluster: KubernetesDouble
    ) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        cluster.edit(PLURAL, KEY, {"spec": {"predictor": {"minReplicas": 4}}})
        code, status = refused(caller.apply, service())
        assert (code, status["reason"]) == (409, "Conflict")
        assert status["message"] == (
            'Apply failed with 1 conflict: conflict with "kubectl-edit" using '
            "serving.kserve.io/v1beta1: .spec.predictor.minReplicas"
        )
        assert status["details"]["causes"] == [
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "kubectl-edit" using serving.kserve.io/v1beta1',
                "field": ".spec.predictor.minReplicas",
            }
        ]
        taken = caller.apply(service(), force="true")
        assert taken["spec"]["predictor"]["minReplicas"] == 1
        managers = [one["manager"] for one in taken["metadata"]["managedFields"]]
        assert "kubectl-edit" not in managers

    def test_several_conflicts_are_told_together(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        changes = {"minReplicas": 4, "model": {"storageUri": "gs://other"}}
        cluster.edit(PLURAL, KEY, {"spec": {"predictor": changes}})
        _, status = refused(caller.apply, service())
        assert status["message"] == (
            'Apply failed with 2 conflicts: conflicts with "kubectl-edit" using '
            "serving.kserve.io/v1beta1:\n"
            "- .spec.predictor.minReplicas\n"
            "- .spec.predictor.model.storageUri"
        )

    def test_the_same_value_is_shared(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        caller.apply(service(), manager="argo")
        code, status = refused(caller.apply, service("gs://bucket/2"))
        assert code == 409
        assert status["message"].endswith('conflict with "argo": .spec.predictor.model.storageUri')
        smaller = service()
        del smaller["spec"]["predictor"]["minReplicas"]
        found = caller.apply(smaller)
        assert found["spec"]["predictor"]["minReplicas"] == 1
        found = caller.apply(smaller, manager="argo")
        assert "minReplicas" not in found["spec"]["predictor"]

    def test_what_is_no_longer_applied_goes_and_what_others_set_stays(
        self, cluster: KubernetesDouble
    ) -> None:
        caller = Caller(cluster.client())
        caller.apply(service(batcher={"maxBatchSize": 8}, labels={"a": "1"}))
        cluster.edit(
            PLURAL,
            KEY,
            {"metadata": {"labels": {"team": "x"}}, "spec": {"predictor": {"timeout": 5}}},
        )
        found = caller.apply(service())
        predictor = found["spec"]["predictor"]
        assert "batcher" not in predictor and "labels" not in predictor
        assert predictor["timeout"] == 5
        assert found["metadata"]["labels"] == {"team": "x"}

    def test_an_update_takes_what_it_changes(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        cluster.edit(PLURAL, KEY, {"spec": {"predictor": {"minReplicas": 4}}}, "somebody")
        fields = {
            one["manager"]: one["fieldsV1"].get("f:spec", {}).get("f:predictor", {})
            for one in caller.get()["metadata"]["managedFields"]
        }
        assert "f:minReplicas" not in fields["kfp-suite"]
        assert "f:minReplicas" in fields["somebody"]

    @needs_crds
    def test_lists_with_keys_merge_and_others_are_replaced(self, kserve: KubernetesDouble) -> None:
        caller = Caller(kserve.client())
        manifest = service()
        manifest["spec"]["predictor"]["model"]["env"] = [{"name": "A", "value": "1"}]
        manifest["spec"]["predictor"]["model"]["args"] = ["--x"]
        caller.apply(manifest)
        other = {
            **service(),
            "spec": {"predictor": {"model": {"env": [{"name": "B", "value": "2"}]}}},
        }
        found = caller.apply(other, manager="argo")
        env = found["spec"]["predictor"]["model"]["env"]
        assert [one["name"] for one in env] == ["A", "B"]
        other["spec"]["predictor"]["model"]["env"] = [{"name": "A", "value": "9"}]
        _, status = refused(caller.apply, other, manager="argo")
        assert status["details"]["causes"][0]["field"] == (
            '.spec.predictor.model.env[name="A"].value'
        )
        other["spec"]["predictor"]["model"] = {"args": ["--y"]}
        _, status = refused(caller.apply, other, manager="argo")
        assert status["details"]["causes"][0]["field"] == ".spec.predictor.model.args"
        found = caller.apply(service())
        assert "args" not in found["spec"]["predictor"]["model"]
        env = found["spec"]["predictor"]["model"]["env"]
        assert [one["name"] for one in env] == ["B"]

    def test_core_lists_merge_by_what_is_known(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())

        def deploy(container: str, manager: str) -> Json:
            body = {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "d"},
                "spec": {"template": {"spec": {"containers": [{"name": container}]}}},
            }
            found: Json = caller.api.call_api(
                "/apis/apps/v1/namespaces/ns/deployments/d",
                "PATCH",
                query_params=[("fieldManager", manager)],
                header_params={"Content-Type": "application/apply-patch+yaml"},
                body=body,
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
            )
            return found

        deploy("a", "one")
        found = deploy("b", "two")
        containers = found["spec"]["template"]["spec"]["containers"]
        assert [one["name"] for one in containers] == ["a", "b"]

    def test_the_controllers_status_is_its_own(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        entries = caller.get()["metadata"]["managedFields"]
        entry = next(one for one in entries if one["manager"] == "manager")
        assert entry["subresource"] == "status"
        assert set(entry["fieldsV1"]) == {"f:status"}

    def test_a_stale_version_is_a_conflict(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        manifest = service()
        manifest["metadata"]["resourceVersion"] = "1"
        assert refused(caller.apply, manifest)[0] == 409

    def test_managed_fields_cannot_be_applied(self, cluster: KubernetesDouble) -> None:
        manifest = service()
        manifest["metadata"]["managedFields"] = []
        code, status = refused(Caller(cluster.client()).apply, manifest)
        assert (code, status["message"]) == (400, "metadata.managedFields must be nil")


@needs_crds
class TestAdmission:
    def test_what_the_schema_takes_is_taken(self, kserve: KubernetesDouble) -> None:
        limits = {"cpu": 1, "memory": "1Gi"}
        manifest = service()
        manifest["spec"]["predictor"]["model"]["resources"] = {"limits": limits}
        found = Caller(kserve.client()).apply(manifest)
        assert found["spec"]["predictor"]["model"]["resources"]["limits"] == {
            "cpu": "1",
            "memory": "1Gi",
        }

    @pytest.mark.parametrize(
        ("changes", "field", "message"),
        [
            (
                {"minReplicas": "2"},
                "spec.predictor.minReplicas",
                'Invalid value: "string": spec.predictor.minReplicas in body must be of type '
                'integer: "string"',
            ),
            (
                {"scaleMetric": "queue"},
                "spec.predictor.scaleMetric",
                'Unsupported value: "queue": supported values: "cpu", "memory", "concurrency", '
                '"rps"',
            ),
            (
                {"name": "V2"},
                "spec.predictor.name",
                'Invalid value: "V2": spec.predictor.name in body should match '
                "'^[a-z]([-a-z0-9]*[a-z0-9])?$'",
            ),
            ({"minReplicas": 2**31}, "spec.predictor.minReplicas", ""),
            ({"containers": [{"image": "x"}]}, "spec.predictor.containers[0].name", ""),
        ],
    )
    def test_what_it_does_not_take_is_invalid(
        self, kserve: KubernetesDouble, changes: Json, field: str, message: str
    ) -> None:
        code, status = refused(Caller(kserve.client()).create, service(**changes))
        assert (code, status["reason"]) == (422, "Invalid")
        cause = status["details"]["causes"][0]
        assert cause["field"] == field
        assert message in cause["message"]
        start = f'InferenceService.serving.kserve.io "iris" is invalid: {field}: '
        assert status["message"].startswith(start)

    def test_a_missing_predictor_is_required(self, kserve: KubernetesDouble) -> None:
        _, status = refused(Caller(kserve.client()).create, {**service(), "spec": {}})
        assert status["message"] == (
            'InferenceService.serving.kserve.io "iris" is invalid: spec.predictor: Required value'
        )

    def test_unknown_fields_are_pruned_or_refused(self, kserve: KubernetesDouble) -> None:
        caller = Caller(kserve.client())
        manifest = service(predictr="x")
        code, status = refused(caller.create, manifest, field_validation="Strict")
        assert code == 400
        assert status["message"] == (
            'InferenceService in version "v1beta1" cannot be handled as a InferenceService: '
            'strict decoding error: unknown field "spec.predictor.predictr"'
        )
        made = caller.create(manifest)
        assert "predictr" not in made["spec"]["predictor"]

    def test_unknown_fields_cannot_be_applied(self, kserve: KubernetesDouble) -> None:
        code, status = refused(Caller(kserve.client()).apply, service(predictr="x"))
        assert code == 500 and "reason" not in status
        assert status["message"] == (
            "failed to create typed patch object (models/iris; serving.kserve.io/v1beta1, "
            "Kind=InferenceService): .spec.predictor.predictr: field not declared in schema"
        )

    def test_annotations_are_text(self, kserve: KubernetesDouble) -> None:
        manifest = service()
        manifest["metadata"]["annotations"] = {"version": 3}
        caller = Caller(kserve.client())
        assert refused(caller.create, manifest)[0] == 400
        code, status = refused(caller.apply, manifest)
        assert code == 500 and ".metadata.annotations.version: expected string" in status["message"]

    def test_a_canarys_model_has_a_name(self, kserve: KubernetesDouble) -> None:
        manifest = with_canary("gs://bucket/2", 20)
        del manifest["spec"]["canary"][0]["predictor"]["model"]["name"]
        code, status = refused(Caller(kserve.client()).apply, manifest)
        assert code == 422
        assert status["details"]["causes"][0]["field"] == "spec.canary[0].predictor.model.name"

    def test_kserves_webhook_has_its_say(self, kserve: KubernetesDouble) -> None:
        caller = Caller(kserve.client())
        manifest = with_canary("gs://bucket/2", 20)
        del manifest["metadata"]["annotations"]
        code, status = refused(caller.apply, manifest)
        assert code == 403
        assert status["message"] == (
            'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the '
            "request: canary is only supported in Standard deployment mode"
        )
        manifest = with_canary("gs://bucket/2", 20)
        manifest["spec"]["canary"][0]["predictor"]["maxReplicas"] = 3
        _, status = refused(caller.apply, manifest)
        assert 'canary "v2" must not set maxReplicas' in status["message"]
        caller.apply(service(mode="Standard"))
        _, status = refused(caller.apply, service(mode="Knative"))
        assert "cannot be changed from 'Standard' to 'Knative'" in status["message"]

    @pytest.mark.parametrize(
        ("mode", "annotations", "predictor", "message"),
        [
            (
                "Standard",
                {SCALER: "hpa"},
                {"scaleMetric": "rps"},
                "[rps] is not a supported metric",
            ),
            ("Standard", {SCALER: "hpa"}, {"scaleTarget": 101}, "should be a [1-100] integer"),
            ("Standard", {SCALER: "keda"}, {"scaleMetric": "cpu"}, "not supported for KEDA"),
            ("Standard", {SCALER: "mine"}, {}, "[mine] is not a supported autoscaler class type"),
            ("Standard", {}, {"scaleMetric": "rps", "minReplicas": 0}, ""),
            ("Standard", {SCALER: "hpa"}, {"scaleMetric": "memory", "scaleTarget": 70}, ""),
            ("Knative", {}, {"scaleMetric": "cpu"}, "[cpu] is not a supported metric"),
            ("", {}, {"scaleMetric": "memory"}, "[memory] is not a supported metric"),
            (
                "Knative",
                {},
                {"scaleMetric": "rps", "scaleTarget": 0},
                "rps should be greater than 1",
            ),
            (
                "Knative",
                {KNATIVE_SCALER: "hpa.autoscaling.knative.dev"},
                {"scaleMetric": "cpu"},
                "",
            ),
            ("Knative", {}, {"scaleMetric": "concurrency", "minReplicas": 0}, ""),
        ],
    )
    def test_kserve_refuses_what_its_autoscalers_do_not_do(
        self,
        kserve: KubernetesDouble,
        mode: str,
        annotations: Json,
        predictor: Json,
        message: str,
    ) -> None:
        manifest = service(mode=mode, **predictor)
        manifest["metadata"].setdefault("annotations", {}).update(annotations)
        caller = Caller(kserve.client())
        if not message:
            caller.apply(manifest)
            return
        code, status = refused(caller.apply, manifest)
        assert code == 403
        assert message in status["message"]

    @pytest.mark.parametrize(
        ("predictor", "model", "message"),
        [
            ({}, {"ports": [{"containerPort": 8080}, {"containerPort": 8081}]}, "more than one"),
            ({}, {"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}, "containers[0].lifecycle"),
            ({"terminationGracePeriodSeconds": 60}, {}, "terminationGracePeriodSeconds"),
        ],
    )
    def test_knative_refuses_what_it_does_itself(
        self, kserve: KubernetesDouble, predictor: Json, model: Json, message: str
    ) -> None:
        caller = Caller(kserve.client())
        for mode in ("Knative", "Standard"):
            manifest = service(mode=mode, **predictor)
            manifest["spec"]["predictor"]["model"] |= model
            if mode == "Standard":
                caller.apply(manifest)
                continue
            _, status = refused(caller.apply, manifest)
            assert "validation.webhook.serving.knative.dev" in status["message"]
            assert message in status["message"]

    def test_kserve_refuses_what_is_its_own_to_say(self, kserve: KubernetesDouble) -> None:
        caller, manifest = Caller(kserve.client()), service()
        manifest["spec"]["predictor"]["model"]["name"] = "kserve-container"
        _, status = refused(caller.apply, manifest)
        assert "the 'name' field is not allowed in standard predictor" in status["message"]
        manifest = service()
        manifest["spec"]["predictor"]["model"]["env"] = [{"name": "PYTHONPATH", "value": "/x"}]
        _, status = refused(caller.apply, manifest)
        assert "setting PYTHONPATH in container" in status["message"]

    def test_the_status_that_the_controller_writes_is_valid(self, kserve: KubernetesDouble) -> None:
        caller = Caller(kserve.client())
        outcomes = ("ready", "crash_loop", "storage_failed", "oom", "unschedulable")
        for mode in ("Knative", "Standard"):
            for outcome in outcomes:
                kserve.behave("*", Behaviour(outcome))  # type: ignore[arg-type]
                caller.apply(service(mode=mode))
                found = caller.get()
                path = f"/apis/{GROUP}/{VERSION}/namespaces/{NAMESPACE}/{PLURAL}/{NAME}/status"
                written = caller.api.call_api(
                    path,
                    "PUT",
                    header_params={"Content-Type": "application/json"},
                    query_params=[("fieldValidation", "Strict")],
                    body=found,
                    response_type="object",
                    auth_settings=["BearerToken"],
                    _return_http_data_only=True,
                )
                assert written["status"] == found["status"]
                caller.delete()


class TestWatch:
    def test_tells_what_happens(self, cluster: KubernetesDouble) -> None:
        core = client.CoreV1Api(cluster.client())
        listed = core.list_namespaced_config_map("ns")
        metadata = client.V1ObjectMeta(name="a", labels={"x": "1"})
        core.create_namespaced_config_map("ns", client.V1ConfigMap(metadata=metadata))
        core.patch_namespaced_config_map("a", "ns", {"data": {"k": "v"}})
        core.delete_namespaced_config_map("a", "ns")
        events = watch.Watch().stream(
            core.list_namespaced_config_map,
            "ns",
            resource_version=listed.metadata.resource_version,
            timeout_seconds=1,
            allow_watch_bookmarks=True,
        )
        found = []
        for event in events:
            found.append(event["type"])
            if event["type"] == "BOOKMARK":
                break
        assert found == ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]

    def test_starts_with_what_is_there_and_sees_labels_go(self, cluster: KubernetesDouble) -> None:
        core = client.CoreV1Api(cluster.client())
        metadata = client.V1ObjectMeta(name="a", labels={"x": "1"})
        core.create_namespaced_config_map("ns", client.V1ConfigMap(metadata=metadata))
        change = {"metadata": {"labels": {"x": "2"}}}
        timer = threading.Timer(0.1, lambda: cluster.edit("configmaps", "ns/a", change))
        timer.start()
        stream = watch.Watch()
        found = []
        for event in stream.stream(
            core.list_namespaced_config_map, "ns", label_selector="x=1", timeout_seconds=5
        ):
            found.append(event["type"])
            if event["type"] == "DELETED":
                stream.stop()
        timer.join()
        assert found == ["ADDED", "DELETED"]

    def test_sees_a_service_become_ready(self, cluster: KubernetesDouble) -> None:
        cluster.behave("*", Behaviour(after=0.15))
        caller = Caller(cluster.client())
        caller.apply(service())
        stream, start, ready = watch.Watch(), time.monotonic(), False
        for event in stream.stream(
            caller.custom.list_namespaced_custom_object,
            GROUP,
            VERSION,
            NAMESPACE,
            PLURAL,
            timeout_seconds=60,
        ):
            if conditions(event["object"]).get("Ready") == "True":
                ready = True
                stream.stop()
        assert ready and time.monotonic() - start > 0.05

    def test_too_old_a_version_is_gone(self, cluster: KubernetesDouble) -> None:
        core = client.CoreV1Api(cluster.client())
        version = core.list_namespaced_config_map("ns").metadata.resource_version
        metadata = client.V1ObjectMeta(name="a")
        core.create_namespaced_config_map("ns", client.V1ConfigMap(metadata=metadata))
        cluster.forget_history()
        with pytest.raises(ApiException) as caught:
            list(
                watch.Watch().stream(
                    core.list_namespaced_config_map, "ns", resource_version=version
                )
            )
        assert caught.value.status == 410


class TestAccess:
    RULES: tuple[Json, ...] = (
        {"apiGroups": [GROUP], "resources": [PLURAL], "verbs": ["get", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    )

    def test_a_role_allows_what_it_says(self, cluster: KubernetesDouble) -> None:
        cluster.allow_only("t", self.RULES, NAMESPACE, user="system:serviceaccount:models:deploy")
        Caller(cluster.client()).apply(service())
        caller = Caller(cluster.client("t"))
        assert caller.get()["metadata"]["name"] == NAME
        assert caller.apply(service("gs://bucket/2"))
        assert caller.pods()
        code, status = refused(caller.delete)
        assert (code, status["reason"]) == (403, "Forbidden")
        assert status["message"] == (
            'inferenceservices.serving.kserve.io "iris" is forbidden: User '
            '"system:serviceaccount:models:deploy" cannot delete resource "inferenceservices" in '
            'API group "serving.kserve.io" in the namespace "models"'
        )
        assert refused(caller.core.list_namespaced_pod, "other")[0] == 403
        code, status = refused(caller.core.list_namespaced_event, NAMESPACE)
        assert status["message"].startswith('events is forbidden: User "system:serviceaccount')

    def test_an_apply_that_creates_needs_create(self, cluster: KubernetesDouble) -> None:
        cluster.allow_only("t", self.RULES)
        code, status = refused(Caller(cluster.client("t")).apply, service())
        assert code == 403 and "cannot create resource" in status["message"]

    def test_subresources_have_rules_of_their_own(self, cluster: KubernetesDouble) -> None:
        cluster.allow_only("t", self.RULES)
        Caller(cluster.client()).apply(service())
        caller = Caller(cluster.client("t"))
        pod = caller.pods()[0].metadata.name
        _, status = refused(
            caller.core.read_namespaced_pod_log, pod, NAMESPACE, container="kserve-container"
        )
        assert 'cannot get resource "pods/log" in API group ""' in status["message"]

    def test_an_unknown_token_is_nobodys(self, cluster: KubernetesDouble) -> None:
        cluster.allow_only("t", self.RULES)
        configuration = client.Configuration()
        configuration.host = cluster.url
        configuration.api_key["authorization"] = "Bearer wrong"
        with client.ApiClient(configuration) as api:
            code, status = refused(Caller(api).get)
            api.rest_client.pool_manager.clear()
        assert (code, status["message"]) == (401, "Unauthorized")

    def test_one_action_can_be_denied(self, cluster: KubernetesDouble) -> None:
        cluster.deny("patch", PLURAL, NAMESPACE)
        code, status = refused(Caller(cluster.client()).apply, service())
        assert code == 403
        assert 'User "kubernetes-admin" cannot patch resource' in status["message"]
        cluster.deny("list", "pods", token="t")
        assert refused(Caller(cluster.client("t")).pods)[0] == 403
        assert Caller(cluster.client()).pods() == []

    def test_reviews_answer_from_the_rules(self, cluster: KubernetesDouble) -> None:
        cluster.allow_only("t", self.RULES)
        api = client.AuthorizationV1Api(cluster.client("t"))

        def may(verb: str, resource: str, group: str = GROUP, sub: str = "") -> bool:
            wanted = client.V1ResourceAttributes(
                verb=verb, resource=resource, group=group, namespace=NAMESPACE, subresource=sub
            )
            spec = client.V1SelfSubjectAccessReviewSpec(resource_attributes=wanted)
            cluster_review = client.V1SelfSubjectAccessReview(spec=spec)
            return bool(api.create_self_subject_access_review(cluster_review).status.allowed)

        assert may("patch", PLURAL)
        assert not may("delete", PLURAL)
        assert may("list", "pods", "")
        assert not may("get", "pods", "", "log")


class TestFaults:
    def test_the_next_requests_fail(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        cluster.fail_next(429, retry_after=3, verb="patch", resource=PLURAL)
        assert refused(caller.get)[0] == 404
        # The client itself tries a GET again after Retry-After, and a PATCH never.
        with pytest.raises(ApiException) as caught:
            caller.apply(service())
        assert caught.value.status == 429
        assert caught.value.headers["Retry-After"] == "3"
        assert caller.apply(service())
        cluster.fail_next(503, times=2)
        for _ in range(2):
            assert refused(caller.get)[0] == 503
        caller.get()

    def test_a_connection_can_be_dropped(self, cluster: KubernetesDouble) -> None:
        api = cluster.client()
        api.rest_client.pool_manager.connection_pool_kw["retries"] = False
        caller = Caller(api)
        cluster.fail_next(0)
        with pytest.raises(urllib3.exceptions.HTTPError):
            caller.get()
        assert caller.apply(service())

    def test_an_answer_can_be_lost_after_the_write(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        cluster.fail_next(500, verb="patch", performed=True)
        assert refused(caller.apply, service())[0] == 500
        assert caller.get()["metadata"]["generation"] == 1

    def test_answers_can_be_slow(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        cluster.latency = 0.1
        start = time.monotonic()
        caller.get()
        assert time.monotonic() - start >= 0.1


class TestKnative:
    def test_a_service_becomes_ready(self, cluster: KubernetesDouble) -> None:
        cluster.behave("*", Behaviour(after=60))
        caller = Caller(cluster.client())
        caller.apply(service())
        found = caller.get()
        assert conditions(found)["Ready"] == "Unknown"
        assert found["status"]["modelStatus"]["transitionStatus"] == "InProgress"
        assert "url" not in found["status"]
        cluster.advance(60)
        status = caller.get()["status"]
        assert set(conditions({"status": status}).values()) == {"True", "False"}
        assert conditions({"status": status})["Stopped"] == "False"
        assert status["deploymentMode"] == "Knative"
        assert status["url"] == "http://iris.models.example.com"
        assert status["address"]["url"] == "http://iris.models.svc.cluster.local"
        assert status["observedGeneration"] == 1
        assert status["modelStatus"]["states"] == {
            "activeModelState": "Loaded",
            "targetModelState": "Loaded",
        }
        predictor = status["components"]["predictor"]
        assert predictor["latestReadyRevision"] == "iris-predictor-00001"
        assert predictor["latestRolledoutRevision"] == "iris-predictor-00001"
        assert predictor["traffic"] == [
            {"latestRevision": True, "percent": 100, "revisionName": "iris-predictor-00001"}
        ]
        pod = caller.pods()[0]
        labels = pod.metadata.labels
        assert labels["serving.knative.dev/revision"] == "iris-predictor-00001"
        assert labels["component"] == "predictor"
        assert all(one.ready for one in pod.status.container_statuses)

    def test_a_new_revision_takes_over_and_the_old_pods_go(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        old = caller.pods()[0].metadata.name
        cluster.behave("*", Behaviour(after=60))
        caller.apply(service("gs://bucket/2"))
        found = caller.get()
        assert found["status"]["observedGeneration"] == 2
        assert condition(found, "Ready")["reason"] == "Predictor ingress not created"
        predictor = found["status"]["components"]["predictor"]
        assert predictor["latestCreatedRevision"] == "iris-predictor-00002"
        assert predictor["latestReadyRevision"] == "iris-predictor-00001"
        assert len(caller.pods()) == 2
        cluster.advance(60)
        assert conditions(caller.get())["Ready"] == "True"
        predictor = caller.get()["status"]["components"]["predictor"]
        assert predictor["previousRolledoutRevision"] == "iris-predictor-00001"
        assert [pod.metadata.name for pod in caller.pods()] != [old]
        assert len(caller.pods()) == 1

    def test_a_canary_splits_the_requests(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        caller.apply(service("gs://bucket/2", canaryTrafficPercent=10))
        predictor = caller.get()["status"]["components"]["predictor"]
        assert predictor["latestRolledoutRevision"] == "iris-predictor-00001"
        shares = {one["revisionName"]: one["percent"] for one in predictor["traffic"]}
        assert shares == {"iris-predictor-00002": 10, "iris-predictor-00001": 90}
        assert predictor["traffic"][1]["tag"] == "prev"
        assert len(caller.pods()) == 2
        caller.apply(service("gs://bucket/2"))
        predictor = caller.get()["status"]["components"]["predictor"]
        assert predictor["latestCreatedRevision"] == "iris-predictor-00002"
        assert predictor["latestRolledoutRevision"] == "iris-predictor-00002"
        assert len(caller.pods()) == 1

    def test_a_canary_that_fails_gets_nothing(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        cluster.behave(KEY, Behaviour("crash_loop"))
        caller.apply(service("gs://bucket/2", canaryTrafficPercent=10))
        predictor = caller.get()["status"]["components"]["predictor"]
        assert {one["revisionName"] for one in predictor["traffic"]} == {"iris-predictor-00001"}
        assert conditions(caller.get())["PredictorReady"] == "False"

    def test_an_endpoint_can_be_somewhere(self, cluster: KubernetesDouble) -> None:
        cluster.endpoint = "http://127.0.0.1:1"
        caller = Caller(cluster.client())
        caller.apply(service())
        status = caller.get()["status"]
        assert status["url"] == status["address"]["url"] == "http://127.0.0.1:1"

    def test_the_image_is_the_runtimes(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        runtime = {
            "apiVersion": f"{GROUP}/v1alpha1",
            "kind": "ServingRuntime",
            "metadata": {"name": "ours", "namespace": NAMESPACE},
            "spec": {"containers": [{"name": "kserve-container", "image": "ours:1"}]},
        }
        caller.apply(runtime)
        manifest = service()
        manifest["spec"]["predictor"]["model"]["runtime"] = "ours"
        caller.apply(manifest)
        assert caller.pods()[0].spec.containers[0].image == "ours:1"

    def test_an_annotation_of_the_service_is_a_new_revision(
        self, cluster: KubernetesDouble
    ) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        cluster.edit(PLURAL, KEY, {"metadata": {"annotations": {"a": "b"}}})
        found = caller.get()
        assert found["metadata"]["generation"] == 1
        assert found["status"]["observedGeneration"] == 2
        predictor = found["status"]["components"]["predictor"]
        assert predictor["latestReadyRevision"] == "iris-predictor-00002"

    def test_ready_can_be_the_old_revisions(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        cluster.behave("*", Behaviour("crash_loop", after=60, stale_ready=True))
        caller.apply(service("gs://bucket/2"))
        found = caller.get()
        assert conditions(found)["Ready"] == "True"
        assert found["metadata"]["generation"] == 2
        assert found["status"]["observedGeneration"] == 1
        cluster.advance(31)
        found = caller.get()
        assert conditions(found)["Ready"] == "True"
        assert found["status"]["observedGeneration"] == 2
        predictor = found["status"]["components"]["predictor"]
        assert predictor["latestCreatedRevision"] != predictor["latestReadyRevision"]
        cluster.advance(120)
        found = caller.get()
        assert conditions(found)["Ready"] == "True"
        assert found["status"]["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"

    def test_a_failed_rollout_leaves_the_old_revision_serving(
        self, cluster: KubernetesDouble
    ) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        cluster.behave(KEY, Behaviour("crash_loop"))
        caller.apply(service("gs://bucket/2"))
        found = caller.get()
        said = condition(found, "PredictorReady")
        assert said["status"] == "False" and said["reason"] == "RevisionFailed"
        assert 'Revision "iris-predictor-00002" failed with message' in said["message"]
        assert conditions(found)["RoutesReady"] == "True"
        ready = [
            pod.metadata.labels["serving.knative.dev/revision"]
            for pod in caller.pods()
            if all(one.ready for one in pod.status.container_statuses)
        ]
        assert ready == ["iris-predictor-00001"]
        cluster.behave(KEY, Behaviour())
        assert conditions(caller.get())["Ready"] == "True"


class TestStandard:
    def test_a_service_becomes_ready(self, standard: KubernetesDouble) -> None:
        caller = Caller(standard.client())
        caller.apply(service(minReplicas=2))
        status = caller.get()["status"]
        assert status["deploymentMode"] == "Standard"
        assert status["url"] == "http://iris-models.example.com"
        assert conditions({"status": status})["Ready"] == "True"
        assert "latestCreatedRevision" not in status["components"]["predictor"]
        assert len(caller.pods()) == 2
        deployment = caller.apps.read_namespaced_deployment("iris-predictor", NAMESPACE)
        assert deployment.status.available_replicas == 2
        assert len(caller.apps.list_namespaced_replica_set(NAMESPACE).items) == 1

    def test_names_of_modes_old_and_new(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        names = {"RawDeployment": "Standard", "Serverless": "Knative"}
        for said, meant in names.items():
            caller.apply(service(mode=said))
            assert caller.get()["status"]["deploymentMode"] == meant
            caller.delete()

    def test_the_percentage_of_knative_is_ignored(self, standard: KubernetesDouble) -> None:
        caller = Caller(standard.client())
        caller.apply(service())
        caller.apply(service("gs://bucket/2", canaryTrafficPercent=10))
        status = caller.get()["status"]
        assert "traffic" not in status["components"]["predictor"]
        assert "canaryStatuses" not in status
        assert len(caller.pods()) == 1

    def test_ready_is_the_old_pods_unless_told_otherwise(self, standard: KubernetesDouble) -> None:
        caller = Caller(standard.client())
        caller.apply(service())
        standard.behave("*", Behaviour("crash_loop"))
        caller.apply(service("gs://bucket/2"))
        found = caller.get()
        assert conditions(found)["Ready"] == "True"
        assert found["status"]["observedGeneration"] == 2
        assert len(caller.pods()) == 2
        standard.behave("*", Behaviour("crash_loop", stale_ready=False))
        found = caller.get()
        assert conditions(found)["Ready"] != "True"

    def test_going_back_takes_up_the_old_pods_while_they_serve(
        self, standard: KubernetesDouble
    ) -> None:
        caller = Caller(standard.client())
        caller.apply(service())
        old = [pod.metadata.name for pod in caller.pods()]
        standard.behave("*", Behaviour("crash_loop"))
        caller.apply(service("gs://bucket/2"))
        assert len(caller.pods()) == 2
        caller.apply(service())
        assert [pod.metadata.name for pod in caller.pods()] == old
        assert conditions(caller.get())["Ready"] == "True"
        standard.behave("*", Behaviour())
        caller.apply(service("gs://bucket/2"))
        caller.apply(service())
        again = [pod.metadata.name for pod in caller.pods()]
        assert len(again) == 1 and again != old

    def test_a_canary_is_beside_the_stable_predictor(self, standard: KubernetesDouble) -> None:
        caller = Caller(standard.client())
        caller.apply(service(mode="Standard"))
        stable = {pod.metadata.name for pod in caller.pods()}
        standard.behave(f"{KEY}/v2", Behaviour(after=60))
        caller.apply(with_canary("gs://bucket/2", 20))
        found = caller.get()
        assert found["status"]["canaryStatuses"] == [
            {
                "name": "v2",
                "ready": False,
                "trafficPercent": 20,
                "modelStatus": {"transitionStatus": ""},
            }
        ]
        assert condition(found, "CanaryPredictorReady")["reason"] == "CanariesNotReady"
        assert conditions(found)["Ready"] == "True"
        standard.advance(60)
        found = caller.get()
        assert found["status"]["canaryStatuses"][0]["ready"] is True
        assert condition(found, "CanaryPredictorReady")["reason"] == "AllCanariesReady"
        assert {pod.metadata.name for pod in caller.pods()} > stable
        sides = {pod.metadata.name.rsplit("-", 2)[0] for pod in caller.pods()}
        assert sides == {"iris-predictor", "iris-v2-predictor"}
        # KServe copies the Deployment's, which the canary does not change.
        assert found["metadata"]["generation"] == 2
        assert found["status"]["observedGeneration"] == 1
        caller.apply(service(mode="Standard"))
        found = caller.get()
        assert "canaryStatuses" not in found["status"]
        assert "CanaryPredictorReady" not in conditions(found)
        assert {pod.metadata.name for pod in caller.pods()} == stable

    def test_a_canary_is_promoted_without_a_restart(self, standard: KubernetesDouble) -> None:
        caller = Caller(standard.client())
        caller.apply(service(mode="Standard"))
        caller.apply(with_canary("gs://bucket/2", 50))
        canary = {
            pod.metadata.name
            for pod in caller.pods()
            if pod.metadata.name.startswith("iris-v2-predictor")
        }
        caller.apply(service("gs://bucket/2", mode="Standard", name="v2"))
        assert {pod.metadata.name for pod in caller.pods()} == canary
        assert conditions(caller.get())["Ready"] == "True"

    def test_a_canary_that_fails_leaves_the_rest_alone(self, standard: KubernetesDouble) -> None:
        caller = Caller(standard.client())
        caller.apply(service(mode="Standard"))
        standard.behave(f"{KEY}/v2", Behaviour("oom"))
        caller.apply(with_canary("gs://bucket/2", 20))
        found = caller.get()
        assert found["status"]["canaryStatuses"][0]["ready"] is False
        assert conditions(found)["Ready"] == "True"


def graph(router: str = "Sequence", **step: Any) -> Json:
    steps = [{"serviceName": NAME, **step}]
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "InferenceGraph",
        "metadata": {"name": "chain", "namespace": NAMESPACE, "annotations": {"team": "birds"}},
        "spec": {"nodes": {"root": {"routerType": router, "steps": steps}}},
    }


class TestGraphs:
    """As KServe does, which says less of a graph than it seems to."""

    def test_one_of_an_endpoint_without_an_address_gets_no_word(
        self, cluster: KubernetesDouble
    ) -> None:
        Caller(cluster.client()).apply(graph())
        assert "status" not in cluster.get("inferencegraphs", "models/chain")

    def test_in_standard_mode_one_is_ready_before_its_router(
        self, standard: KubernetesDouble
    ) -> None:
        caller = Caller(standard.client())
        caller.apply(service())
        standard.behave("models/chain", Behaviour("image_pull"))
        for number in (1, 2):
            made = graph()
            made["metadata"]["annotations"]["number"] = str(number)
            caller.apply(made)
        status = standard.get("inferencegraphs", "models/chain")["status"]
        assert {c["type"]: c["status"] for c in status["conditions"]}["Ready"] == "True"
        router = standard.get("deployments", "models/chain")
        assert status["observedGeneration"] == router["metadata"]["generation"] == 2
        assert "deploymentMode" not in status
        assert router["status"]["conditions"][0]["status"] == "False"
        assert router["spec"]["template"]["metadata"]["annotations"]["number"] == "2"

    def test_in_knative_mode_one_says_what_its_service_says(
        self, cluster: KubernetesDouble
    ) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        cluster.behave("models/chain", Behaviour("crash_loop"))
        caller.apply(graph())
        found = cluster.get("inferencegraphs", "models/chain")["status"]
        states = {c["type"]: c["status"] for c in found["conditions"]}
        assert states["Ready"] == states["ConfigurationsReady"] == "False"
        assert "url" not in found
        cluster.behave("models/chain", Behaviour())
        found = cluster.get("inferencegraphs", "models/chain")["status"]
        assert found["url"] == "http://chain.models.example.com"
        assert "observedGeneration" not in found

    @pytest.mark.parametrize(
        ("router", "step", "told"),
        [
            ("Splitter", {}, "missing the 'Weight'"),
            ("Splitter", {"weight": 70}, "the sum of traffic weights"),
            ("Sequence", {"nodeName": "root"}, "specifies more than one of nodeName"),
            ("Sequence", {"serviceName": ""}, "does not specify an inference target"),
        ],
    )
    def test_kserves_webhook_has_its_say(
        self, cluster: KubernetesDouble, router: str, step: Json, told: str
    ) -> None:
        with pytest.raises(ApiException) as caught:
            Caller(cluster.client()).apply(graph(router, **step))
        assert caught.value.status == 403
        assert told in caught.value.body


class TestFailures:
    @pytest.mark.parametrize("mode", ["Knative", "Standard"])
    @pytest.mark.parametrize(
        ("outcome", "reason", "code"),
        [("crash_loop", "Error", 1), ("oom", "OOMKilled", 137), ("storage_failed", "Error", 1)],
    )
    def test_a_container_that_ends(
        self, cluster: KubernetesDouble, mode: str, outcome: Any, reason: str, code: int
    ) -> None:
        cluster.behave("*", Behaviour(outcome))
        caller = Caller(cluster.client())
        caller.apply(service(mode=mode))
        status = caller.get()["status"]
        assert conditions({"status": status})["Ready"] != "True"
        assert status["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
        assert status["modelStatus"]["states"]["targetModelState"] == "FailedToLoad"
        failure = status["modelStatus"]["lastFailureInfo"]
        assert failure["reason"] == "ModelLoadFailed" and failure["exitCode"] == code
        pod = caller.pods()[0]
        states = (
            pod.status.init_container_statuses
            if outcome == "storage_failed"
            else pod.status.container_statuses
        )
        assert states[0].state.waiting.reason == "CrashLoopBackOff"
        ended = states[0].last_state.terminated
        assert (ended.reason, ended.exit_code) == (reason, code)
        text = caller.core.read_namespaced_pod_log(
            pod.metadata.name, NAMESPACE, container=states[0].name, tail_lines=1
        )
        assert text.count("\n") == 1
        if outcome == "storage_failed":
            assert "RuntimeError: Failed to fetch model" in text and "gs://bucket/1" in text

    @pytest.mark.parametrize(
        ("outcome", "reason"),
        [
            ("image_pull", "Failed"),
            ("unschedulable", "FailedScheduling"),
            ("crash_loop", "BackOff"),
            ("never_ready", "Unhealthy"),
        ],
    )
    def test_events_say_why(self, cluster: KubernetesDouble, outcome: Any, reason: str) -> None:
        cluster.behave("*", Behaviour(outcome))
        caller = Caller(cluster.client())
        caller.apply(service())
        pod = caller.pods()[0]
        events = caller.core.list_namespaced_event(
            NAMESPACE,
            field_selector=f"involvedObject.kind=Pod,involvedObject.name={pod.metadata.name}",
        ).items
        assert events and {event.type for event in events} == {"Warning"}
        assert reason in {event.reason for event in events}
        assert conditions(caller.get())["Ready"] != "True"
        if outcome == "image_pull":
            state = pod.status.container_statuses[0].state
            assert state.waiting.reason == "ImagePullBackOff"
            assert "Back-off pulling image" in state.waiting.message
            assert "Failed to pull image" in events[0].message + events[-1].message
        if outcome == "unschedulable":
            assert pod.status.phase == "Pending"

    def test_without_a_controller_nothing_happens(self, cluster: KubernetesDouble) -> None:
        cluster.behave(KEY, Behaviour("silent"))
        caller = Caller(cluster.client())
        caller.apply(service())
        assert "status" not in caller.get()
        assert caller.pods() == []
        cluster.behave(KEY, Behaviour())
        assert conditions(caller.get())["Ready"] == "True"

    def test_deleting_a_service_deletes_its_pods(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        assert caller.pods()
        assert caller.delete()["metadata"]["deletionTimestamp"]  # KServe's finalizer lets it go
        assert caller.pods() == []
        caller.apply(service())
        predictor = caller.get()["status"]["components"]["predictor"]
        assert predictor["latestReadyRevision"] == "iris-predictor-00001"


class TestPods:
    def test_logs_need_a_container_that_is_there_and_ran(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        cluster.behave("*", Behaviour("image_pull"))
        caller.apply(service())
        pod = caller.pods()[0].metadata.name
        read = caller.core.read_namespaced_pod_log
        _, status = refused(read, pod, NAMESPACE)
        assert status["message"] == (
            f"a container name must be specified for pod {pod}, choose one of: "
            "[kserve-container queue-proxy] or one of the init containers: [storage-initializer]"
        )
        _, status = refused(read, pod, NAMESPACE, container="x")
        assert status["message"] == f"container x is not valid for pod {pod}"
        _, status = refused(read, pod, NAMESPACE, container="kserve-container")
        assert status["message"].endswith("trying and failing to pull image")
        _, status = refused(read, pod, NAMESPACE, container="kserve-container", previous=True)
        assert status["message"].startswith('previous terminated container "kserve-container"')

    def test_logs_can_be_set(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        cluster.behave("*", Behaviour("crash_loop"))
        caller.apply(service())
        pod = caller.pods()[0].metadata.name
        key = (NAMESPACE, pod, "kserve-container")
        cluster.logs[key], cluster.previous_logs[key] = "", "a\nb\nc\n"
        read = caller.core.read_namespaced_pod_log
        assert read(pod, NAMESPACE, container=key[2]) == ""
        last = read(pod, NAMESPACE, container=key[2], previous=True, tail_lines=2)
        assert last == "b\nc\n"

    def test_a_pod_is_reached_through_the_server(self, cluster: KubernetesDouble) -> None:
        class Metrics(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f"asked {self.path}".encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        caller = Caller(cluster.client())
        caller.apply(service())
        pod = caller.pods()[0].metadata.name
        read = caller.core.connect_get_namespaced_pod_proxy_with_path
        code, status = refused(read, f"{pod}:8080", NAMESPACE, "metrics")
        assert code == 503 and "connection refused" in status["message"]
        with HTTPServer(("127.0.0.1", 0), Metrics) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            asked = []

            def address(one: Json, port: int) -> str:
                asked.append((one["metadata"]["name"], port))
                return f"http://127.0.0.1:{server.server_address[1]}"

            cluster.proxy = address
            assert read(f"{pod}:8080", NAMESPACE, "metrics") == "asked /metrics"
            server.shutdown()
            thread.join()
        assert asked == [(pod, 8080)]


class TestDouble:
    def test_stops_while_it_is_watched_and_leaves_no_thread(self) -> None:
        before = threading.active_count()
        with running(KubernetesDouble()) as cluster:
            Caller(cluster.client()).apply(service())
            core = client.CoreV1Api(cluster.client())
            stream = core.list_namespaced_pod(NAMESPACE, watch=True, _preload_content=False)
        stream.release_conn()
        stream.close()
        assert threading.active_count() == before

    def test_a_kubeconfig_leads_to_it(self, cluster: KubernetesDouble, tmp_path: Path) -> None:
        cluster.allow_only("t", [])
        file = cluster.kubeconfig(tmp_path / "config")
        api = config.new_client_from_config(str(file))
        assert Caller(api).pods() == []
        api.rest_client.pool_manager.clear()
        api = config.new_client_from_config(str(cluster.kubeconfig(file, token="t")))
        assert refused(Caller(api).pods)[0] == 403
        api.rest_client.pool_manager.clear()

    def test_requests_are_remembered(self, cluster: KubernetesDouble) -> None:
        Caller(cluster.client()).apply(service())
        method, path, content_type, body = cluster.requests[-1]
        assert method == "PATCH" and "fieldManager=kfp-suite" in path
        assert content_type == "application/apply-patch+yaml"
        assert body["metadata"]["name"] == NAME

    def test_its_own_view(self, cluster: KubernetesDouble) -> None:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns"}}
        cluster.add({**pod, "status": {"phase": "Running"}})
        assert cluster.get("pods", "ns/p")["status"]["phase"] == "Running"
        assert [one["metadata"]["name"] for one in cluster.objects("pods", "ns")] == ["p"]
        with pytest.raises(KeyError, match="pods ns/q"):
            cluster.get("pods", "ns/q")

    def test_many_clients_at_once(self, cluster: KubernetesDouble) -> None:
        caller = Caller(cluster.client())
        caller.apply(service())
        failed: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for step in range(10):
                    changes = {"metadata": {"labels": {f"l{number}": str(step)}}}
                    Caller(cluster.client()).patch(changes)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        labels = caller.get()["metadata"]["labels"]
        assert labels == {f"l{number}": "9" for number in range(8)}
