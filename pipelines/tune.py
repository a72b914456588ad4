"""A search for hyperparameters, and the best of it as a live, versioned endpoint."""

from kfp import dsl

from kfp_suite.components.evaluate.component import evaluate
from kfp_suite.components.infra_validate.component import infra_validate
from kfp_suite.components.train.component import train
from kfp_suite.components.train.tune.best.component import best_trial
from kfp_suite.components.train.tune.component import tune as search_trials
from kfp_suite.components.train.tune.plan.component import plan_trials
from kfp_suite.components.transform.component import transform
from kfp_suite.components.validate.component import validate
from kfp_suite.pipelines.wiring.steps import (
    delivered,
    ingested,
    recorded,
    resolved,
    sized,
    small,
    validated,
)


@dsl.pipeline(name="tune")
def tune(
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
    search_space: dict = {},
    search: str = "tpe",
    trials: int = 32,
    shards: int = 1,
    folds: int = 0,
    metric: str = "",
    prune: bool = True,
    class_weight: dict = {},
    sample_weight: str = "",
    early_stopping: int = 0,
    threshold: float = 0.5,
    calibration: str = "",
    seed: int = 0,
    thresholds: dict = {},
    slices: list = [],
    min_slice_rows: int = 100,
    comparison: dict = {},
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
    """Search, train the best on all training rows, and take it to an endpoint if it is good.

    The trials run side by side: on a cluster a shard in each pod, and on all cores of it. Each
    is kept in the store when it ends; the same search run again goes on where it was.

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
        estimator: What the search starts from, and what is searched if there is no search
            space; see train.
        hyperparameters: Those of `estimator` that the search starts from: its first trial.
        search_space: Estimators with what their hyperparameters may be; empty: what is usual
            for `estimator`. See tune.
        search: `random`, `grid` or `tpe`.
        trials: How many, over all shards; 0 with `grid`: every combination.
        shards: How many parts of the search run side by side.
        folds: Of a cross-validation over train; 0: judged on eval.
        metric: What is searched for; empty: roc_auc, f1_macro or rmse. See tune.
        prune: Give up trials that look hopeless.
        class_weight: Class to weight, or `{"balanced": true}`.
        sample_weight: The column of row weights.
        early_stopping: Rounds without a better score on eval before it stops; 0: off.
        threshold: The probability from which the second of two classes is predicted.
        seed: The seed of training and of the bootstrap.
        calibration: `isotonic` or `sigmoid` corrects the probabilities on eval; empty: as is.
        thresholds: What a model must reach to be blessed, by metric; see evaluate.
        slices: Columns whose values are measured apart.
        min_slice_rows: Rows below which a slice is counted and not measured, at least 1.
        comparison: What is asked against the champion; see evaluate.
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
    name = "tune"
    with recorded(name, notify):
        shard_list = plan_trials(
            search_space=search_space,
            estimator=estimator,
            search=search,
            trials=trials,
            shards=shards,
        )
        small(shard_list).set_display_name("Plan the search")
        pinned = resolved(sources=sources, module_file="", store=store, model_name=model_name)
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
            fitted = transform(
                dataset=dataset, features=features, label=label, sample_weight=sample_weight
            )
            sized(fitted, "4Gi", "8Gi", cpu="2").set_display_name("Fit the features")
            transformed = fitted.outputs["transform"]
            with dsl.ParallelFor(
                shard_list.outputs["Output"], name="each-shard", parallelism=16
            ) as shard:
                searched = search_trials(
                    dataset=dataset,
                    transform=transformed,
                    label=label,
                    search_space=shard.search_space,
                    store=store,
                    model_name=model_name,
                    search=search,
                    count=shard.count,
                    shard=shard.shard,
                    shards=shard.shards,
                    folds=folds,
                    metric=metric,
                    prune=prune,
                    task=task,
                    class_weight=class_weight,
                    sample_weight=sample_weight,
                    early_stopping=early_stopping,
                    seed=seed,
                    estimator=estimator,
                    hyperparameters=hyperparameters,
                )
                sized(searched, "4Gi", "8Gi", cpu="4", hours=24)
                # Finished trials are in the study: no cache has to remember them.
                searched.set_caching_options(False).set_display_name("Search")
            best = best_trial(studies=dsl.Collected(searched.outputs["Output"]))
            small(best).set_caching_options(False).set_display_name("Choose the best")
            trained = train(
                dataset=dataset,
                transform=transformed,
                label=label,
                task=task,
                estimator=best.outputs["estimator"],
                hyperparameters=best.outputs["hyperparameters"],
                class_weight=class_weight,
                sample_weight=sample_weight,
                early_stopping=early_stopping,
                threshold=threshold,
                calibration=calibration,
                seed=seed,
            )
            trained.set_display_name("Train the best")
            delivered(
                dataset,
                sized(trained, "4Gi", "8Gi", cpu="2", hours=24).outputs["model"],
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
