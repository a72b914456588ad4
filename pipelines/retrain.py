"""For schedules: train if something is new, and serve a model only if it is better."""

from kfp import dsl

from kfp_suite.components.evaluate.component import evaluate
from kfp_suite.components.infra_validate.component import infra_validate
from kfp_suite.components.resolve.changed.component import changed
from kfp_suite.components.validate.component import validate
from kfp_suite.pipelines.wiring.sklearn import trained
from kfp_suite.pipelines.wiring.steps import (
    delivered,
    ingested,
    recorded,
    small,
    validated,
)


@dsl.pipeline(name="retrain")
def retrain(
    model_name: str,
    sources: dict,
    label: str,
    store: str,
    sql: str = "",
    split: dict = {"by": "hash", "eval": 0.1, "test": 0.1},
    on_bad_rows: str = "fail",
    max_bad_fraction: float = 0.0,
    max_query_seconds: int = 3600,
    schema: dict = {},
    validation: dict = {},
    baseline_statistics: str = "",
    features: dict = {},
    task: str = "auto",
    estimator: str = "hist_gradient_boosting",
    hyperparameters: dict = {},
    module_file: str = "",
    class_weight: dict = {},
    sample_weight: str = "",
    early_stopping: int = 0,
    threshold: float = 0.5,
    calibration: str = "",
    seed: int = 0,
    thresholds: dict = {},
    slices: list = [],
    min_slice_rows: int = 100,
    comparison: dict = {"min_improvement": 0.0001},
    force: bool = False,
    target: str = "",
    namespace: str = "default",
    ingress: str = "",
    infra_place: str = "auto",
    infra_limits: dict = {},
    runtime: str = "kfp-suite",
    runtime_options: dict = {},
    endpoint: dict = {},
    deploy_force: bool = False,
    deploy_on_failure: str = "rollback",
    notify: dict = {},
):
    """Train again if sources, module or parameters are new; serve a better model only.

    For recurring runs. Sources are resolved to digests first: if nothing is new since the
    champion was made, the run ends there, successfully, and says so. A model is published
    and served only if it is better than the champion on the same rows of today's data; and
    served only if no other run has made another champion meanwhile.

    Args:
        model_name: Lower-case letters, digits and `-`: the model's and the endpoint's name.
        sources: Name to URI, or to a mapping with `uri` and how to read it; see resolve.
        label: The column to predict.
        store: Where versions live: a folder, `gs://bucket/prefix` or `s3://bucket/prefix`.
        sql: One SELECT over the sources; empty: the only source as it is. See ingest.
        split: How rows are split: by hash, time or column; see ingest.
        on_bad_rows: `fail` or `quarantine`.
        max_bad_fraction: The largest fraction of bad rows to quarantine, 0 to 1.
        max_query_seconds: How long the query of `sql` may take, at least 1.
        schema: What the data should be; empty: inferred from train. See validate.
        validation: Options of validate: skew, drift, warnings_are_errors.
        baseline_statistics: Statistics of an earlier dataset, to measure drift against.
        features: The feature spec; empty: default features. See transform.
        task: `auto`, `binary`, `multiclass` or `regression`.
        estimator: The estimator's name; see train.
        hyperparameters: The estimator's keyword arguments.
        module_file: A Python file with your own `fit(training)`; empty for none.
        class_weight: Class to weight, or `{"balanced": true}`.
        sample_weight: The column of row weights.
        early_stopping: Rounds without a better score on eval before it stops; 0: off.
        threshold: The probability from which the second of two classes is predicted.
        seed: The seed of training and of the bootstrap.
        calibration: `isotonic` or `sigmoid` corrects the probabilities on eval; empty: as is.
        thresholds: What a model must reach to be blessed, by metric; see evaluate.
        slices: Columns whose values are measured apart.
        min_slice_rows: Rows below which a slice is counted and not measured, at least 1.
        comparison: What is asked against the champion; see evaluate. By default the model has
            to be better on the same rows, by 0.0001 of the metric.
        force: Train, whatever is new.
        target: `local` writes the endpoint's manifest, `cluster` applies it; empty: `cluster`
            if the run is on one. See deploy.
        namespace: The Kubernetes namespace of the endpoint.
        ingress: Address of the cluster's ingress, for runs outside the cluster; see deploy.
        infra_place: Where it is tried before it is published: `auto`, `process` or `cluster`;
            see infra_validate.
        infra_limits: What serving the model may cost, for it to be published; see
            infra_validate.
        runtime: The model server of the endpoint; see deploy.
        runtime_options: Its own options: batching, version policy, backend; see deploy.
        endpoint: How the endpoint runs: name, resources, replicas and more; see deploy.
        deploy_force: Take over what others have set of the endpoint, and end a rollout of it.
        deploy_on_failure: What becomes of a version that does not serve: `rollback` puts back
            what served before, `keep` leaves it to be looked at.
        notify: Who is told how the run ended: Slack, webhooks, e-mail; see record.
    """
    name = "retrain"
    with recorded(name, notify):
        pinned = changed(
            sources=sources,
            module_file=module_file,
            store=store,
            model_name=model_name,
            sql=sql,
            split=split,
            features=features,
            label=label,
            task=task,
            estimator=estimator,
            hyperparameters=hyperparameters,
            class_weight=class_weight,
            sample_weight=sample_weight,
            early_stopping=early_stopping,
            threshold=threshold,
            calibration=calibration,
            seed=seed,
            force=force,
        )
        small(pinned).set_caching_options(False).set_display_name("Resolve; is anything new?")
        with dsl.If(pinned.outputs["Output"] == True, name="if-changed"):  # noqa: E712
            dataset = ingested(
                pinned,
                sql=sql,
                split=split,
                on_bad_rows=on_bad_rows,
                max_bad_fraction=max_bad_fraction,
                max_query_seconds=max_query_seconds,
            ).outputs["dataset"]
            valid = validated(
                validate,
                dataset,
                schema=schema,
                label=label,
                options=validation,
                baseline_statistics=baseline_statistics,
            )
            with dsl.If(valid.outputs["Output"] == True, name="if-valid"):  # noqa: E712
                model = trained(
                    dataset,
                    pinned,
                    features=features,
                    label=label,
                    sample_weight=sample_weight,
                    task=task,
                    estimator=estimator,
                    hyperparameters=hyperparameters,
                    class_weight=class_weight,
                    early_stopping=early_stopping,
                    threshold=threshold,
                    calibration=calibration,
                    seed=seed,
                )
                delivered(
                    dataset,
                    model,
                    pinned,
                    pipeline=name,
                    evaluate=evaluate,
                    infra_validate=infra_validate,
                    thresholds=thresholds,
                    slices=slices,
                    min_slice_rows=min_slice_rows,
                    comparison=comparison,
                    seed=seed,
                    infra_place=infra_place,
                    infra_limits=infra_limits,
                    store=store,
                    model_name=model_name,
                    target=target,
                    namespace=namespace,
                    ingress=ingress,
                    runtime=runtime,
                    runtime_options=runtime_options,
                    settings=endpoint,
                    force=deploy_force,
                    on_failure=deploy_on_failure,
                )
