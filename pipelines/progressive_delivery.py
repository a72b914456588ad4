"""A published version, rolled out: a share of the requests at a time, judged at each."""

from kfp import dsl

from kfp_suite.components.rollout.component import rollout
from kfp_suite.pipelines.wiring.steps import recorded, small


@dsl.pipeline(name="progressive-delivery")
def progressive_delivery(
    model_name: str,
    store: str,
    version: str = "challenger",
    target: str = "",
    namespace: str = "default",
    manifest: str = "",
    steps: list = [0, 10, 50, 100],
    shadow: int = 0,
    step_seconds: float = 600.0,
    look_seconds: float = 10.0,
    undecided: str = "rollback",
    limits: dict = {},
    prometheus: str = "",
    quality_url: str = "",
    labelled: str = "",
    label: str = "",
    label_tolerance: float = 0.0,
    attempt: int = 1,
    by_header: bool = False,
    runtime: str = "kfp-suite",
    runtime_options: dict = {},
    endpoint: dict = {},
    force: bool = False,
    ingress: str = "",
    timeout_seconds: int = 600,
    notify: dict = {},
):
    """Roll a published version out, and promote it or roll it back.

    A version that is rolled back is a run that succeeded, with the reasons in the run
    record.

    Args:
        model_name: The model.
        store: Where versions live.
        version: A number, or an alias.
        target: `local`: a manifest that `kfp-suite serve` follows; `cluster`: KServe; empty:
            `cluster` if the run is on one.
        namespace: The Kubernetes namespace of the endpoint.
        manifest: Of `local`: the path of the manifest.
        steps: Percent of the requests, ascending; an A/B test where the last one is below 100.
        shadow: Percent of the requests copied to the candidate at 0 %; see rollout.
        step_seconds: Seconds a step may take.
        look_seconds: Seconds between two looks at the metrics.
        undecided: What a step without a verdict in its time is: `rollback` or `go_on`.
        limits: What the candidate may cost, and how sure the judge has to be; see rollout.
        prometheus: Address of a Prometheus; empty: the servers' own metrics.
        quality_url: A `/metrics` that counts right and wrong predictions; empty for none.
        labelled: A JSON Lines file of records with their label; empty for none.
        label: The name of the label in these.
        label_tolerance: How far a predicted number may be from its label.
        attempt: Which try of this version it is: one more, after a rollback; see rollout.
        by_header: A request may name its version in a header; see rollout.
        runtime: The model server; see deploy.
        runtime_options: Its own options; see deploy.
        endpoint: How the endpoint runs; see deploy.
        force: Take over what others have set of the endpoint.
        ingress: Address of the cluster's ingress, to ask from outside.
        timeout_seconds: How long a change may take to serve.
        notify: Who is told how the run ended: Slack, webhooks, e-mail; see record.
    """
    with recorded("progressive_delivery", notify):
        rolled = rollout(
            store=store,
            model_name=model_name,
            version=version,
            target=target,
            namespace=namespace,
            manifest=manifest,
            steps=steps,
            shadow=shadow,
            step_seconds=step_seconds,
            look_seconds=look_seconds,
            undecided=undecided,
            limits=limits,
            prometheus=prometheus,
            quality_url=quality_url,
            labelled=labelled,
            label=label,
            label_tolerance=label_tolerance,
            attempt=attempt,
            by_header=by_header,
            runtime=runtime,
            runtime_options=runtime_options,
            settings=endpoint,
            force=force,
            ingress=ingress,
            timeout_seconds=timeout_seconds,
        )
        # A step that was killed goes on where it was; a try that is cut short would leave the
        # traffic split.
        small(rolled, hours=0).set_caching_options(False).set_display_name("Roll out and judge")
