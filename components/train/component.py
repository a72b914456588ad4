"""The KFP interface of train."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Markdown, Model, Output


@dsl.component(base_image="kfp-suite-python-sklearn:0.1.0", install_kfp_package=False)
def train(
    dataset: Input[Dataset],
    transform: Input[Artifact],
    model: Output[Model],
    model_card: Output[Markdown],
    label: str,
    task: str = "auto",
    estimator: str = "hist_gradient_boosting",
    hyperparameters: dict = {},
    module: str = "",
    class_weight: dict = {},
    sample_weight: str = "",
    early_stopping: int = 0,
    threshold: float = 0.5,
    calibration: str = "",
    seed: int = 0,
):
    """Train on the train split: a model that takes raw rows, with its lineage.

    The model is a folder that can be served as it is: the fitted transform, the estimator
    in a format that runs no code (skops) and, where it is proven to predict the same, as
    an ONNX graph; a signature, a sample request, a model card and `model.json`. The same
    dataset, transform, parameters and environment give the same digest.

    Args:
        dataset: The Dataset artifact of ingest, with a split `train`; `eval` is used for
            early stopping alone.
        transform: The fitted transform of that dataset.
        model: The Model artifact.
        model_card: The model card, in Markdown.
        label: The column to predict. Rows where it is null are left out.
        task: `auto`, `binary`, `multiclass` or `regression`. `auto`: booleans and text are
            classes, two integers are two classes, floats are numbers.
        estimator: ada_boost, decision_tree, dummy, elastic_net, extra_trees,
            gaussian_naive_bayes, gradient_boosting, hist_gradient_boosting, k_neighbors,
            lasso, lightgbm, linear_regression, logistic_regression, mlp, random_forest,
            ridge, sgd, svm, xgboost; or the import path of a scikit-learn estimator class.
        hyperparameters: The estimator's keyword arguments, by its library's names.
        module: A user's module, pinned by resolve (JSON with `uri` and `digest`), with a
            function `fit(training)` that returns a fitted estimator; see `Training` in
            `kfp_suite.components.train.fitting`. Empty: `estimator` is trained.
        class_weight: Class to weight, above 0; or `{"balanced": true}`: rows / (classes *
            rows of the class). Empty: 1 each.
        sample_weight: The column of row weights, finite and at least 0. Empty: 1 each.
        early_stopping: Rounds without a better score on `eval` before training stops; 0:
            off. For hist_gradient_boosting, lightgbm and xgboost.
        threshold: For two classes, the probability of the second from which it is
            predicted; between 0 and 1. It is served with the model.
        calibration: `isotonic` (for a thousand rows of eval or more) or `sigmoid` (for
            few): corrects the probabilities on `eval`, and is served with the model, before
            the threshold. Empty: as the estimator says.
        seed: The seed of everything random, 0 to 2^32-1.
    """
    import shutil
    from pathlib import Path

    from kfp_suite.components.train.executor import TrainParameters
    from kfp_suite.components.train.executor import train as execute
    from kfp_suite.components.train.packaging import CARD
    from kfp_suite.stores.cached_outputs import METADATA_KEY
    from kfp_suite.stores.files import pin_from_json
    from kfp_suite.stores.step import step

    with step("train", model, noted_in=dataset.metadata.get(METADATA_KEY, "")):
        manifest = execute(
            TrainParameters(
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
            ),
            pin_from_json(module, "module") if module else None,
            Path(dataset.path),
            Path(transform.path),
            Path(model.path),
        )
        shutil.copyfile(Path(model.path) / CARD, model_card.path)
        model.metadata.update(
            framework=manifest.framework, task=manifest.task, digest=manifest.digest
        )
