"""The KFP interface of train_tensorflow."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Markdown, Model, Output


@dsl.component(base_image="kfp-suite-python-tensorflow:0.1.0", install_kfp_package=False)
def train_tensorflow(
    dataset: Input[Dataset],
    transform: Input[Artifact],
    model: Output[Model],
    model_card: Output[Markdown],
    logs: Output[Artifact],
    label: str,
    task: str = "auto",
    network: str = "mlp",
    hyperparameters: dict = {},
    module: str = "",
    class_weight: dict = {},
    sample_weight: str = "",
    early_stopping: int = 0,
    threshold: float = 0.5,
    seed: int = 0,
    checkpoints: str = "",
):
    """Train a Keras network on the train split: a SavedModel that takes raw columns.

    The model is a folder that can be served as it is: the network and its weights, the
    fitted transform, and `saved_model`, in which transform, network and decision are one
    graph, with the signatures `serving_default` (a tensor a raw column), `serving_examples`
    (serialized `tf.Example`s) and `features`, and requests that warm a server up. The same
    dataset, transform, parameters and environment give the same weights and digest, also
    after a kill: a step that is run again goes on after the last whole epoch. It uses a GPU
    where the task is given one and its image has TensorFlow's CUDA libraries.

    Args:
        dataset: The Dataset artifact of ingest, with a split `train`; `eval` is used to
            judge epochs by.
        transform: The fitted transform of that dataset; without missing values.
        model: The Model artifact.
        model_card: The model card, in Markdown.
        logs: A folder of event files, for TensorBoard.
        label: The column to predict. Rows where it is null are left out.
        task: `auto`, `binary`, `multiclass` or `regression`; see train.
        network: `linear`; `mlp`; `wide_and_deep`, a linear model of the categories beside
            an mlp; `cnn`, for `image` features; `lstm`, for `tokens` features.
        hyperparameters: Of `epochs` (10), `batch_size` (256), `optimizer` (adam, adamw, sgd,
            rmsprop), `learning_rate` (0.001), `units` (widths of the hidden layers: 64, 32),
            `activation` (relu), `dropout` (0), `l2` (0); of cnn `filters` (16, 32) and
            `kernel_size` (3); of lstm `embedding` (32) and `cells` (32).
        module: A user's module, pinned by resolve (JSON with `uri` and `digest`), with
            `run_fn(fn_args)` that returns a Keras network; see `FnArgs` in
            `kfp_suite.components.train.keras.run_fn`. Empty: `network` is trained.
        class_weight: Class to weight, above 0; or `{"balanced": true}`. Empty: 1 each.
        sample_weight: The column of row weights, finite and at least 0. Empty: 1 each.
        early_stopping: Epochs without a lower loss on `eval` before training stops, with
            the best weights; 0: off.
        threshold: For two classes, the probability of the second from which it is
            predicted; between 0 and 1. It is served with the model.
        seed: The seed of everything random, 0 to 2^32-1.
        checkpoints: A folder that outlives the step, on a mounted volume, for the
            checkpoint of each epoch. Empty: beside the model, where a step that is run
            again in its place finds it.
    """
    import shutil
    from pathlib import Path

    from kfp_suite.stores.cached_outputs import METADATA_KEY
    from kfp_suite.stores.step import step

    with step("train", model, noted_in=dataset.metadata.get(METADATA_KEY, "")):
        from kfp_suite.components.train.keras.executor import KerasParameters, train_keras
        from kfp_suite.components.train.packaging import CARD
        from kfp_suite.stores.files import pin_from_json

        manifest = train_keras(
            KerasParameters(
                label=label,
                task=task,
                network=network,
                hyperparameters=hyperparameters,
                class_weight=class_weight,
                sample_weight=sample_weight,
                early_stopping=early_stopping,
                threshold=threshold,
                seed=seed,
            ),
            pin_from_json(module, "module") if module else None,
            Path(dataset.path),
            Path(transform.path),
            Path(model.path),
            Path(logs.path),
            Path(checkpoints) if checkpoints else None,
        )
        shutil.copyfile(Path(model.path) / CARD, model_card.path)
        model.metadata.update(
            framework=manifest.framework, task=manifest.task, digest=manifest.digest
        )
