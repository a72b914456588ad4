"""deploy_graph: what KServe's router could not follow is refused; what it can answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_suite.components.deploy.graph.executor import GraphParameters, deploy_graph
from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    EndpointError,
    MissingError,
    ParameterError,
)
from kfp_suite.kserve.access import access
from kfp_suite.kserve.canary import Mode
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.graphs import inference_graph
from kfp_suite.kserve.manifests import inference_service
from kfp_suite.kserve.routing import wait_until_routing
from kfp_suite.kserve.waiting import wait_until_serving
from kfp_suite.server.gateway.graph import Graph
from kfp_suite.stores.versions import ModelStore
from kfp_suite.testing.kubernetes.cluster import Behaviour, KubernetesDouble
from kfp_suite.testing.kubernetes.workloads import Outcome
from tests.unit.deploy.conftest import on
from tests.unit.deploy.fleet import Fleet

Parameters = Callable[..., GraphParameters]
_DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "graphs.md"


REQUEST = {"instances": [{"legs": 4}]}


def node(router: str, *steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"routerType": router, "steps": list(steps), **more}


WINGS = {"root": node("Sequence", {"serviceName": "wings"}, {"serviceName": "feet"})}


@pytest.fixture
def parameters(fleet: Fleet) -> Callable[..., GraphParameters]:
    """The fleet is the ingress: nobody here can resolve a graph's name inside the cluster."""

    def made(**more: Any) -> GraphParameters:
        given: dict[str, Any] = {"name": "both", "nodes": WINGS, "target": "cluster"}
        given |= {"namespace": "models", "timeout_seconds": 5, "ingress": fleet.url}
        return GraphParameters(**{**given, **more})

    return made


def splitter(*weights: int | None) -> dict[str, Any]:
    steps = [{"serviceName": "a", **({} if one is None else {"weight": one})} for one in weights]
    return node("Splitter", *steps)


def serve(double: KubernetesDouble, models: ModelStore, *names: str) -> None:
    cluster = on(double)
    for name in names:
        served = Deployable.find(models, "wings", 1, name=name).served
        applied = cluster.apply(inference_service(served, namespace="models"))
        wait_until_serving(cluster, applied, 5)


def test_a_graph_is_ready_and_has_answered(
    double: KubernetesDouble,
    mode: Mode,
    fleet: Fleet,
    parameters: Parameters,
    models: ModelStore,
    tmp_path: Path,
) -> None:
    serve(double, models, "wings", "feet")
    asked = fleet.asked
    found = deploy_graph(parameters(), tmp_path / "graph", cluster=on(double))
    assert found["url"] == fleet.url
    assert fleet.asked == asked + 1
    assert json.loads((tmp_path / "graph" / "graph.json").read_text()) == found
    live = double.get("inferencegraphs", "models/both")
    assert live["spec"]["nodes"] == WINGS
    assert live["status"].get("observedGeneration") == (1 if mode == "Standard" else None)
    assert live["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "kfp-suite"}
    again = deploy_graph(parameters(dry_run=True), tmp_path / "again", cluster=on(double))
    assert again["changes"] == ""
    turned = {"root": node("Ensemble", *WINGS["root"]["steps"])}
    given = parameters(dry_run=True, nodes=turned)
    planned = deploy_graph(given, tmp_path / "planned", cluster=on(double))
    assert "-      routerType: Sequence" in planned["changes"]
    assert "+      routerType: Ensemble" in planned["changes"]


def test_one_that_is_not_ready_says_why(
    double: KubernetesDouble,
    fleet: Fleet,
    parameters: Parameters,
    models: ModelStore,
    tmp_path: Path,
) -> None:
    serve(double, models, "wings")
    double.behave("models/feet", Behaviour("crash_loop"))
    served = Deployable.find(models, "wings", 1, name="feet").served
    on(double).apply(inference_service(served, namespace="models"))
    with pytest.raises(EndpointError) as caught:
        deploy_graph(parameters(timeout_seconds=1), tmp_path / "graph", cluster=on(double))
    assert "the graph is not ready in time: endpoint feet is not ready" in str(caught.value)
    assert "got waits for the controller" in str(caught.value)
    assert not (tmp_path / "graph").exists()


def test_an_api_that_does_not_answer_meanwhile_is_waited_for(
    double: KubernetesDouble, fleet: Fleet, models: ModelStore
) -> None:
    serve(double, models, "wings", "feet")
    cluster = on(double)
    applied = cluster.apply(inference_graph("both", "models", WINGS, {}))

    def wait(seconds: float) -> dict[str, Any]:
        return wait_until_routing(
            cluster, applied, REQUEST, ingress=fleet.url, timeout_seconds=seconds
        )

    double.fail_next(503, times=12)  # more than one call asks again
    assert wait(5)["status"]["url"] == fleet.url
    double.fail_next(503, times=1000)
    with pytest.raises(EndpointError, match=r"got waits for .*does not answer; got 503"):
        wait(0)


def test_one_is_waited_for_until_its_own_router_runs(
    double: KubernetesDouble,
    fleet: Fleet,
    parameters: Parameters,
    models: ModelStore,
    tmp_path: Path,
) -> None:
    """KServe says Ready before the router's image is pulled, and of the router before."""
    serve(double, models, "wings", "feet")
    double.behave("models/both", Behaviour(after=0.5))
    for number, router in enumerate(("Sequence", "Ensemble")):
        given = parameters(nodes={"root": node(router, *WINGS["root"]["steps"])})
        deploy_graph(given, tmp_path / str(number), cluster=on(double))
        pods = [
            pod
            for pod in double.objects("pods", "models")
            if pod["metadata"]["labels"].get("serving.kserve.io/inferencegraph") == "both"
        ]
        newest = [pod for pod in pods if router in str(pod["spec"]["containers"][0]["args"])]
        assert [pod["status"]["conditions"][0]["status"] for pod in newest] == ["True"]


def test_a_change_that_leaves_the_routers_pods_alone_is_no_wait(
    double: KubernetesDouble,
    fleet: Fleet,
    parameters: Parameters,
    models: ModelStore,
    tmp_path: Path,
) -> None:
    serve(double, models, "wings", "feet")
    for number in (1, 2):
        given = parameters(overlay={"spec": {"maxReplicas": number}})
        deploy_graph(given, tmp_path / str(number), cluster=on(double))
    assert double.get("inferencegraphs", "models/both")["metadata"]["generation"] == 2


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ("image_pull", 'ImagePullBackOff Back-off pulling image "kserve/router:v0.20.0"'),
        ("crash_loop", "CrashLoopBackOff"),
        ("never_ready", "Readiness probe failed"),
    ],
)
def test_one_whose_router_does_not_run_says_why(
    double: KubernetesDouble,
    parameters: Parameters,
    models: ModelStore,
    outcome: Outcome,
    told: str,
    tmp_path: Path,
) -> None:
    serve(double, models, "wings", "feet")
    double.behave("models/both", Behaviour(outcome))
    with pytest.raises(EndpointError) as caught:
        deploy_graph(parameters(timeout_seconds=1), tmp_path / "graph", cluster=on(double))
    assert told in str(caught.value)


def test_one_is_asked_until_it_answers(
    double: KubernetesDouble,
    fleet: Fleet,
    parameters: Parameters,
    models: ModelStore,
    tmp_path: Path,
) -> None:
    serve(double, models, "wings", "feet")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(EndpointError, match=r"waits for an answer: .*did not answer"):
            deploy_graph(
                parameters(ingress=nobody, timeout_seconds=1), tmp_path / "a", cluster=on(double)
            )


def test_inside_the_cluster_one_is_asked_by_the_name_of_its_service(
    double: KubernetesDouble,
    fleet: Fleet,
    parameters: Parameters,
    models: ModelStore,
    tmp_path: Path,
) -> None:
    """KServe makes one in both modes; what its status says leads nowhere in Standard mode."""
    serve(double, models, "wings", "feet")
    with pytest.raises(EndpointError, match=r"http://both\.models\.svc\.cluster\.local/"):
        deploy_graph(parameters(ingress="", timeout_seconds=1), tmp_path / "a", cluster=on(double))


def test_the_role_is_enough(
    double: KubernetesDouble,
    parameters: Parameters,
    models: ModelStore,
    tmp_path: Path,
) -> None:
    serve(double, models, "wings", "feet")
    role = next(one for one in access("models", "deployer") if one["kind"] == "Role")
    double.allow_only("deployer", role["rules"], "models")
    deploy_graph(parameters(), tmp_path / "a", cluster=on(double, "deployer"))
    double.behave("models/both", Behaviour("crash_loop"))
    given = parameters(nodes={"root": node("Ensemble", *WINGS["root"]["steps"])}, timeout_seconds=1)
    with pytest.raises(EndpointError, match="CrashLoopBackOff") as caught:
        deploy_graph(given, tmp_path / "b", cluster=on(double, "deployer"))
    assert "cannot be read" not in str(caught.value)


def test_one_whose_endpoint_is_not_there_is_not_applied(
    double: KubernetesDouble,
    fleet: Fleet,
    parameters: Parameters,
    models: ModelStore,
    tmp_path: Path,
) -> None:
    serve(double, models, "wings")
    with pytest.raises(MissingError, match="no such endpoint; got feet"):
        deploy_graph(parameters(), tmp_path / "graph", cluster=on(double))
    assert double.objects("inferencegraphs") == []


def test_what_another_has_set_is_taken_by_force_alone(
    double: KubernetesDouble,
    fleet: Fleet,
    parameters: Parameters,
    models: ModelStore,
    tmp_path: Path,
) -> None:
    serve(double, models, "wings", "feet")
    deploy_graph(
        parameters(overlay={"spec": {"minReplicas": 1}}), tmp_path / "a", cluster=on(double)
    )
    double.edit("inferencegraphs", "models/both", {"spec": {"minReplicas": 2}})
    given = {"overlay": {"spec": {"minReplicas": 3.0}}}
    with pytest.raises(AlreadyExistsError, match="minReplicas"):
        deploy_graph(parameters(**given), tmp_path / "b", cluster=on(double))
    deploy_graph(parameters(**given, force=True), tmp_path / "c", cluster=on(double))
    assert double.get("inferencegraphs", "models/both")["spec"]["minReplicas"] == 3


def test_an_endpoint_of_others_is_asked_what_is_said(
    double: KubernetesDouble,
    fleet: Fleet,
    parameters: Parameters,
    models: ModelStore,
    tmp_path: Path,
) -> None:
    serve(double, models, "wings")
    spec = {"predictor": {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "gs://b/m"}}}
    metadata = {"name": "feet", "namespace": "models"}
    kind = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
    on(double).apply({**kind, "metadata": metadata, "spec": spec})
    turned = {"root": node("Sequence", {"serviceName": "feet"}, {"serviceName": "wings"})}
    with pytest.raises(ParameterError, match="request: nobody knows what to ask the graph"):
        deploy_graph(parameters(nodes=turned), tmp_path / "a", cluster=on(double))
    given = parameters(nodes=turned, request={"instances": [{"legs": 4}]})
    assert deploy_graph(given, tmp_path / "b", cluster=on(double))["url"] == fleet.url


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ({}, "nodes: no node 'root'"),
        ({"root": node("Sequenz", {"serviceName": "a"})}, "nodes.root: not a node"),
        ({"root": node("Sequence")}, "nodes.root: no steps"),
        ({"root": node("Sequence", {"serviceName": "a"}, wait=3)}, "unknown key; got wait"),
        ({"root": node("Sequence", {"servicename": "a"})}, "did you mean 'serviceName'?"),
        ({"root": node("Sequence", {"name": "a"})}, "steps[0]: a step asks one"),
        ({"root": node("Sequence", {"serviceName": "a", "nodeName": "b"})}, "a step asks one"),
        ({"root": node("Sequence", {"serviceName": 3})}, "steps[0].serviceName: of another type"),
        ({"root": node("Sequence", {"nodeName": "b"})}, "no node 'b'; got root"),
        ({"root": node("Sequence", {"nodeName": "root"})}, "nodes go round; got root → root"),
        ({"root": node("Splitter", {"serviceName": "a", "weight": 70})}, "weights that are not"),
        ({"root": splitter(150, -50)}, "steps[0].weight: not a share; got 150"),
        ({"root": splitter(100, None)}, "steps[1].weight: not a share; expected"),
        ({"root": node("Sequence", *[{"name": "a", "serviceName": "b"}] * 2)}, "with one name"),
        ({"root": node("Switch", {"serviceName": "a"})}, "a switch that is never taken"),
        ({"root": node("Sequence", {"serviceName": "a", "dependency": "hard"})}, "Soft or Hard"),
    ],
)
def test_what_no_router_could_follow_is_refused(nodes: dict[str, Any], told: str) -> None:
    with pytest.raises(ParameterError) as caught:
        GraphParameters("both", nodes)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("overlay", "told"),
    [
        ({"spec": {"nodes": {"root": {"routerType": "Nonsense"}}}}, "nodes.root: not a node"),
        ({"spec": {"nodes": None}}, "nodes: not nodes"),
        ({"spec": {"nodes": {"more": splitter(30)}}}, "weights that are not 100"),
        ({"metadata": {"annotations": {"api-key": "sk-0123456789"}}}, "looks like a secret"),
    ],
)
def test_an_overlay_is_checked_as_the_nodes_are(overlay: dict[str, Any], told: str) -> None:
    with pytest.raises(ParameterError) as caught:
        GraphParameters("both", WINGS, overlay=overlay)
    assert told in str(caught.value)


def test_an_address_with_a_password_is_refused() -> None:
    nodes = {"root": node("Sequence", {"serviceUrl": "http://user:pass@host/x"})}
    with pytest.raises(ParameterError, match="serviceUrl") as caught:
        GraphParameters("both", nodes)
    assert "pass@" not in str(caught.value)


def test_every_documented_graph_is_one(
    double: KubernetesDouble, models: ModelStore, tmp_path: Path
) -> None:
    """Here, behind `kfp-suite serve`, and by KServe's schema."""
    blocks = _DOCUMENT.read_text().split("```yaml\n")[1:]
    routers = set()
    for block in blocks:
        nodes = yaml.safe_load(block.split("```")[0])["nodes"]
        found = deploy_graph(GraphParameters("both", nodes, namespace="models"), tmp_path / "graph")
        manifest = yaml.safe_load(Path(found["manifest"]).read_text())
        Graph(manifest)
        on(double).apply(manifest)
        routers |= {one["routerType"] for one in nodes.values()}
    assert routers == {"Sequence", "Switch", "Ensemble", "Splitter"}
