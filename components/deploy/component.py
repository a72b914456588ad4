"""The KFP interface of deploy."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output


@dsl.component(base_image="kfp-suite-python-deploy:0.1.0", install_kfp_package=False)
def deploy(
    version: Input[Artifact],
    endpoint: Output[Artifact],
    target: str = "local",
    namespace: str = "default",
    server_image: str = "kfp-suite-python-serving:0.1.0",
    dry_run: bool = False,
    timeout_seconds: int = 600,
):
    """Deploy a published version as a KServe InferenceService.

    The manifest's annotations name model, version and manifest digest. On a cluster it is
    applied server-side, and the step ends when the endpoint serves this version, or fails
    with its conditions and its pods' last errors.

    Args:
        version: The published version, from push.
        endpoint: A folder with `inferenceservice.yaml` and `endpoint.json`.
        target: `local` writes the manifest, for `kfp-suite serve`; `cluster` applies it.
        namespace: The Kubernetes namespace of the endpoint.
        server_image: The image of the model server.
        dry_run: On a cluster, too, write the manifest alone.
        timeout_seconds: How long the cluster may take to serve the version, at least 1.
    """
    from pathlib import Path

    from kfp_suite.components.contracts.step import step
    from kfp_suite.components.deploy.executor import DeployParameters
    from kfp_suite.components.deploy.executor import deploy as execute

    with step("deploy", endpoint.path):
        deployed = execute(
            DeployParameters(
                target=target,
                namespace=namespace,
                image=server_image,
                dry_run=dry_run,
                timeout_seconds=timeout_seconds,
            ),
            Path(version.path),
            Path(endpoint.path),
        )
        endpoint.metadata.update(
            model=deployed["model"], version=str(deployed["version"]), url=deployed["url"]
        )
