"""The KFP interface of deploy."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output


@dsl.component(base_image="kfp-suite-python-deploy:0.1.0", install_kfp_package=False)
def deploy(
    version: Input[Artifact],
    endpoint: Output[Artifact],
    target: str = "",
    namespace: str = "default",
    runtime: str = "kfp-suite",
    runtime_options: dict = {},
    versions: list = [],
    expected_champion: str = "any",
    settings: dict = {},
    dry_run: bool = False,
    force: bool = False,
    ingress: str = "",
    timeout_seconds: int = 600,
    on_failure: str = "rollback",
):
    """Deploy a published version as a KServe InferenceService.

    The manifest's annotations name model, version and manifest digest. On a cluster it is
    applied server-side, and the step ends when the endpoint serves this version and answers
    the model's sample as the model does; or it fails with the reasons: conditions, pods,
    events and the last lines of their logs. Only then is the version the champion. A version
    that another has overtaken meanwhile is not deployed, and `endpoint.json` says so.

    Args:
        version: The published version, from push.
        endpoint: A folder with `inferenceservice.yaml`, `endpoint.json` and, where our
            server serves, its `servingruntime.yaml`.
        target: `local` writes the manifests, for `kfp-suite serve`; `cluster` applies them;
            empty: `cluster` if the step runs on one. `local` on a cluster serves nothing, and
            the version is the champion by its verdicts.
        namespace: The Kubernetes namespace of the endpoint.
        runtime: The model server: `kfp-suite`, `sklearn`, `mlserver`, `tensorflow-serving`,
            `triton` or `torchserve`. The version is laid out for it, once.
        runtime_options: The server's own options: batching, version policy, labels, backend.
        versions: Versions served beside it, where the server serves several.
        expected_champion: The champion that the model was compared with, from resolve (empty:
            none); where another is champion by now, nothing is deployed. `any`: whoever is.
        settings: How it runs: name, image, transformer_image, service_account, requests, limits,
            min_replicas, max_replicas, scale_metric, scale_target, timeout, batcher, logger,
            node_selector, affinity, tolerations, priority_class, env, labels, annotations,
            deployment_mode, shared, model_memory, transformer, overlay.
        dry_run: On a cluster, change nothing: log the difference to what is live.
        force: Take over fields that others have set to another value.
        ingress: `http(s)://host[:port]` of the cluster's ingress, to ask the endpoint from
            outside; empty: its address inside the cluster.
        timeout_seconds: How long the cluster may take to serve the version, at least 1.
        on_failure: `rollback`: a version that does not serve in time or answers wrongly is taken
            back, what served before is waited for, and the step fails with both; a first
            version stays, for nothing served before. `keep`: each stays, for who looks.
    """
    from pathlib import Path

    from kfp_suite.components.deploy.executor import DeployParameters
    from kfp_suite.components.deploy.executor import deploy as execute
    from kfp_suite.kserve.target import runs_on_cluster, target_of
    from kfp_suite.stores.step import step

    with step("deploy", endpoint):
        deployed = execute(
            DeployParameters(
                target=target_of(target, endpoint.uri),
                unattended=runs_on_cluster(endpoint.uri),
                namespace=namespace,
                runtime=runtime,
                runtime_options=runtime_options,
                versions=tuple(int(number) for number in versions),
                expected_champion=expected_champion,
                settings=settings,
                dry_run=dry_run,
                force=force,
                ingress=ingress,
                timeout_seconds=timeout_seconds,
                on_failure=on_failure,
            ),
            Path(version.path),
            Path(endpoint.path),
        )
        endpoint.metadata.update(
            model=deployed["model"], version=str(deployed["version"]), url=deployed["url"]
        )
