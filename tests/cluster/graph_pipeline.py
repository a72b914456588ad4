"""A pipeline of one step, which deploys a graph; kfp reads its annotations as they are written."""

from pathlib import Path

from kfp import compiler, dsl

from kfp_suite.components.deploy.graph.component import deploy_graph


def compile_graph_pipeline(name: str, file: Path) -> None:
    """Compile the pipeline under a name."""

    def graph(name: str, nodes: dict, namespace: str) -> None:  # type: ignore[type-arg]
        deploy_graph(name=name, nodes=nodes, target="cluster", namespace=namespace)

    compiler.Compiler().compile(dsl.pipeline(name=name)(graph), str(file))
