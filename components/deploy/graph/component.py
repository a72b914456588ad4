"""The KFP interface of deploy_graph."""

from kfp import dsl
from kfp.dsl import Artifact, Output


@dsl.component(base_image="kfp-suite-python-deploy:0.1.0", install_kfp_package=False)
def deploy_graph(
    name: str,
    nodes: dict,
    graph: Output[Artifact],
    target: str = "",
    namespace: str = "default",
    request: dict = {},
    overlay: dict = {},
    dry_run: bool = False,
    force: bool = False,
    ingress: str = "",
    timeout_seconds: int = 600,
):
    """Deploy several endpoints as one: a KServe InferenceGraph.

    A sequence, a switch, an ensemble or a splitter of endpoints that are there, or graphs of
    them. On a cluster it is applied server-side, and the step ends when KServe routes by it and
    it has answered a request; or it fails with the reasons.

    Args:
        name: Of the graph: lower-case letters, digits and `-`.
        nodes: Node to `routerType` and `steps`, as KServe writes them; it begins at `root`.
        graph: A folder with `inferencegraph.yaml` and `graph.json`.
        target: `local` writes the manifest, for `kfp-suite serve`; `cluster` applies it; empty:
            `cluster` if the step runs on one.
        namespace: The Kubernetes namespace of the graph and its endpoints.
        request: What it is asked when it is ready; empty: the sample of the first endpoint's
            model.
        overlay: Anything else of the manifest, merged over it: replicas, resources, timeouts.
        dry_run: On a cluster, change nothing: log the difference to what is live.
        force: Take over fields that others have set to another value.
        ingress: `http(s)://host[:port]` of the cluster's ingress, to ask from outside; empty:
            its address inside the cluster.
        timeout_seconds: How long the cluster may take, at least 1.
    """
    from pathlib import Path

    from kfp_suite.components.deploy.graph.executor import GraphParameters
    from kfp_suite.components.deploy.graph.executor import deploy_graph as execute
    from kfp_suite.kserve.target import target_of
    from kfp_suite.stores.step import step

    with step("deploy_graph", graph):
        deployed = execute(
            GraphParameters(
                name=name,
                nodes=nodes,
                target=target_of(target, graph.uri),
                namespace=namespace,
                request=request,
                overlay=overlay,
                dry_run=dry_run,
                force=force,
                ingress=ingress,
                timeout_seconds=timeout_seconds,
            ),
            Path(graph.path),
        )
        graph.metadata.update(name=name, url=deployed["url"])
