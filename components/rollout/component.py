"""The KFP interface of rollout."""

from kfp import dsl
from kfp.dsl import Artifact, Markdown, Output


@dsl.component(base_image="kfp-suite-python-deploy:0.1.0", install_kfp_package=False)
def rollout(
    store: str,
    model_name: str,
    endpoint: Output[Artifact],
    rollout_report: Output[Markdown],
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
    settings: dict = {},
    force: bool = False,
    ingress: str = "",
    timeout_seconds: int = 600,
) -> bool:
    """Roll a published version out: a share of the requests at a time, judged at each.

    Errors, refused requests, latency and, where labels or a metric endpoint say, quality are
    compared with the version that serves, by a sequential test that may be looked at at any
    time and says how sure it is. A candidate that is worse is rolled back at once; one that is
    not becomes the champion. A step that is killed is picked up by the next. The first version
    of an endpoint is deployed as it is; whatever was not measured is said to be so. A version
    that serves and that somebody took the champion from is not made champion again.

    Args:
        store: Where versions are: a folder, `gs://bucket/prefix` or `s3://bucket/prefix`.
        model_name: The model.
        version: A number, or an alias.
        target: `local`: a manifest that `kfp-suite serve` follows; `cluster`: KServe, by the
            canary of the mode that the endpoint runs in; empty: `cluster` if the step runs on
            one.
        namespace: The Kubernetes namespace.
        manifest: Of `local`: the path of the manifest.
        steps: Percent of the requests, ascending. At 0 it is started only; where the last one
            is below 100 both versions stay side by side, for an A/B test.
        shadow: Percent of the requests that the candidate gets copies of at 0 %, judged by
            errors and latency while nobody sees its answers; with `local` only.
        step_seconds: Seconds a step may take, above 0.
        look_seconds: Seconds between two looks at the metrics, above 0.
        undecided: What a step without a verdict in its time is: `rollback` or `go_on`.
        limits: `confidence` (default 0.95), `error_margin` (0.01), `latency_seconds` (what is
            slow; 0: slower than 99 % of the stable version's answers), `latency_margin`
            (0.05), `refusal_margin` (0: `error_margin`), `quality_margin` (0.02),
            `min_requests` (50).
        prometheus: Address of a Prometheus that scrapes the endpoint; empty: its servers' own
            `/metrics`.
        quality_url: A `/metrics` with `kfp_suite_predictions_total{model_version, outcome}`,
            outcome `right` or `wrong`; empty for none.
        labelled: A JSON Lines file of records with their label, each asked for once; empty for
            none.
        label: The name of the label in these.
        label_tolerance: How far a predicted number may be from its label.
        attempt: Which try of this version on this endpoint it is, 1 or more. A version that was
            rolled back stays it, whoever runs the step again; the next number tries again.
        by_header: On a cluster in Standard mode with the Gateway API: a request that names a
            version in the header `x-kfp-suite-version` gets it; in Knative mode, by its tags.
            `kfp-suite serve` always does.
        runtime: The model server: on a cluster `kfp-suite`, which counts by version; behind
            `kfp-suite serve`, which counts itself, any that takes raw records.
        runtime_options: Its own options; see deploy.
        settings: How the endpoint runs; see deploy.
        force: Take over fields that others have set to another value.
        ingress: Address of the cluster's ingress, to ask from outside; see deploy.
        timeout_seconds: How long a change may take to serve, at least 1.
        endpoint: A folder with `rollout.json` and `endpoint.json`.
        rollout_report: The rollout in words, with a table a step.

    Returns:
        Whether the version was promoted.
    """
    import shutil
    from pathlib import Path

    from kfp_suite.components.rollout.executor import SUMMARY
    from kfp_suite.components.rollout.executor import rollout as execute
    from kfp_suite.components.rollout.parameters import RolloutParameters
    from kfp_suite.kserve.target import target_of
    from kfp_suite.stores.step import step

    with step("rollout", endpoint):
        outcome = execute(
            RolloutParameters(
                store=store,
                model_name=model_name,
                version=version,
                target=target_of(target, endpoint.uri),
                namespace=namespace,
                manifest=manifest,
                steps=tuple(int(percent) for percent in steps),
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
                settings=settings,
                force=force,
                ingress=ingress,
                timeout_seconds=timeout_seconds,
            ),
            Path(endpoint.path),
        )
        shutil.copyfile(Path(endpoint.path) / SUMMARY, rollout_report.path)
        endpoint.metadata.update(
            model=outcome.model,
            version=str(outcome.version if outcome.promoted else outcome.before),
            promoted=outcome.promoted,
            share=outcome.share,
        )
        return outcome.promoted
