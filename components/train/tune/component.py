"""The KFP interface of tune."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output


@dsl.component(base_image="kfp-suite-python-sklearn:0.1.0", install_kfp_package=False)
def tune(
    dataset: Input[Dataset],
    transform: Input[Artifact],
    trials: Output[Artifact],
    label: str,
    search_space: dict,
    store: str,
    model_name: str,
    search: str = "tpe",
    count: int = 32,
    shard: int = 0,
    shards: int = 1,
    folds: int = 0,
    metric: str = "",
    prune: bool = True,
    task: str = "auto",
    class_weight: dict = {},
    sample_weight: str = "",
    early_stopping: int = 0,
    seed: int = 0,
    estimator: str = "",
    hyperparameters: dict = {},
) -> str:
    """Run the trials of a search, or of one shard of it, on all cores.

    Each trial is written to the store when it ends: a step that is killed and run again goes
    on where it was, and a search that is asked for more trials keeps those it has. The same
    inputs give the same trials on every machine.

    Args:
        dataset: The Dataset artifact of ingest: trials see `train`, and `eval`.
        transform: The fitted transform of that dataset.
        trials: A folder with `trials.json`: this shard's trials.
        label: The column to predict.
        search_space: Estimator to hyperparameters, each a value, a list of values, or a range:
            `low`, `high`, `type` (float or int), `log`, `step`, `share_of_rows` (`high` is at
            most this part of the rows of train).
        store: Where the trials are kept, beside the versions of the model.
        model_name: The model that is searched for.
        search: `random`, `grid`, or `tpe`: Optuna's tree-structured Parzen estimator (Bergstra
            et al., 2011), which looks where earlier trials were good.
        count: How many trials this shard runs, at least 1.
        shard: Which shard this is, from 0.
        shards: How many there are.
        folds: 2 or more: cross-validation over `train`, which keeps rows of one `key` of the
            dataset's split together. 0: fitted on growing parts of `train`
            and judged on `eval`.
        metric: What is searched for: roc_auc, average_precision, log_loss, brier, accuracy or
            f1; f1_macro, log_loss or accuracy; rmse, mae or r2. Empty: the first that fits.
        prune: Give up a trial that is worse, after a fold or a part, than the median of the
            finished ones was then.
        task: As train's.
        class_weight: As train's.
        sample_weight: As train's; fitting is weighted, judging is not.
        early_stopping: As train's; on the rows that judge.
        seed: The seed of the search, of the folds and of the estimators.
        estimator: What the search starts from: the first trial, unless it is a grid. If the
            space has no such estimator, it is the space's first.
        hyperparameters: Those of `estimator` that the search starts from; empty: the
            library's defaults.

    Returns:
        The URI of the study.
    """
    from pathlib import Path

    from kfp_suite.components.train.tune.executor import TuneParameters
    from kfp_suite.components.train.tune.executor import tune as execute
    from kfp_suite.stores.step import step

    with step("tune", trials):
        return execute(
            TuneParameters(
                label=label,
                task=task,
                class_weight=class_weight,
                sample_weight=sample_weight,
                early_stopping=early_stopping,
                seed=seed,
                estimator=estimator,
                hyperparameters=hyperparameters,
                search_space=search_space,
                search=search,
                trials=count,
                folds=folds,
                metric=metric,
                prune=prune,
                shard=shard,
                shards=shards,
                store=store,
                model_name=model_name,
            ),
            Path(dataset.path),
            Path(transform.path),
            Path(trials.path),
        ).uri
