"""Train a Keras network and write a Model artifact that TensorFlow Serving can serve."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import pyarrow as pa

from kfp_suite.components.train.keras.export import TOLERANCE, export, scores_of
from kfp_suite.components.train.keras.learning import (
    Progress,
    Scale,
    learn,
    scale_of,
    seed_everything,
    set_thread_count,
    to_npz,
    weights_of,
)
from kfp_suite.components.train.keras.networks import (
    Hyperparameters,
    layout_of,
    make_network,
    parse_hyperparameters,
)
from kfp_suite.components.train.keras.run_fn import train_by_module
from kfp_suite.components.train.labels import check_precision
from kfp_suite.components.train.packaging import TrainedModel, pack, threshold_of
from kfp_suite.components.train.rows import rows_to_compare
from kfp_suite.components.train.training_data import Inputs, Objective, read_inputs
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file, write_json
from kfp_suite.contracts.digests import PREFIX, digest_value
from kfp_suite.contracts.environment import available_cpus
from kfp_suite.contracts.model import ESTIMATOR_ONNX, SAVED_MODEL, ModelManifest
from kfp_suite.models.equivalence import Proof, in_blocks, keep_if_equal
from kfp_suite.models.saved_model import SavedModelScorer
from kfp_suite.models.user_modules import MODULE, import_module
from kfp_suite.stores.files import PinnedFile

NETWORK = "keras/network.json"
WEIGHTS = "keras/weights.npz"
SCALE = "keras/scale.json"
_COMPARED_ROWS = 4096

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KerasParameters(Objective):
    """What to train. Everything here goes into the lineage."""

    network: str = "mlp"


def train_keras(
    parameters: KerasParameters,
    module: PinnedFile | None,
    dataset: Path,
    transform: Path,
    output: Path,
    logs: Path,
    checkpoints: Path | None = None,
    threads: int = 0,
) -> ModelManifest:
    """Fit a network on the train split and write the Model artifact `output`.

    Args:
        parameters: What to train.
        module: The user's own `run_fn(fn_args)` instead of a named network.
        dataset: A Dataset artifact with a split `train`, and `eval` to judge epochs by.
        transform: The transform fitted on it.
        output: The Model artifact.
        logs: The folder of TensorBoard's event files.
        checkpoints: A folder that outlives a killed step; by default beside `output`. What
            another training left there is not used.
        threads: As `train`.

    Raises:
        As `train`.
    """
    hyper = None if module else parse_hyperparameters(parameters.hyperparameters)
    threads = set_thread_count(threads or available_cpus())
    inputs = read_inputs(parameters, dataset, transform, threads)
    if inputs.target.task == "regression":
        check_precision(inputs.training.train.target, "a network")
    seed_everything(parameters.seed)
    outputs = len(inputs.target.classes) if inputs.target.task == "multiclass" else 1
    folder_of_checkpoints = checkpoints or output.with_name(f"{output.name}.checkpoints")
    checkpoint = folder_of_checkpoints / f"{_training_digest(parameters, inputs)}.npz"
    scale = Scale()
    notes: dict[str, Any] = {}
    with whole_folder(output) as folder:
        if module is not None:
            source = module.read()
            user = import_module(source, module.digest)
            network = train_by_module(user, inputs.training, outputs, logs)
            write_file(folder / MODULE, source)
        else:
            assert hyper is not None
            layout = layout_of(inputs.transform)
            network = make_network(parameters.network, layout, outputs, hyper)
            progress = learn(
                network, inputs.training, hyper, parameters.early_stopping, checkpoint, logs
            )
            scale = scale_of(inputs.training)
            network = _without_optimizer(network)
            notes["training"] = _told(progress)
            write_file(folder / NETWORK, network.to_json().encode())
        logs.mkdir(parents=True, exist_ok=True)
        write_file(folder / WEIGHTS, to_npz(weights_of(network)))
        write_json(folder / SCALE, asdict(scale))
        agreement = export(
            network,
            scale,
            inputs.target,
            threshold_of(inputs.target, parameters),
            inputs.transform,
            _some_rows(inputs),
            folder / SAVED_MODEL,
        )
        proof = _keep_graph(network, scale, inputs, parameters, folder)
        made = TrainedModel(
            framework="tensorflow",
            family="tensorflow",
            described=_describe_network(parameters, hyper, module),
            has_probabilities=inputs.target.task != "regression",
            derived=(f"{SAVED_MODEL}/", ESTIMATOR_ONNX),
            notes=notes | {"saved_model": asdict(agreement), "onnx": asdict(proof)},
            scorer=SavedModelScorer(folder / SAVED_MODEL),
        )
        if hyper is not None:  # with its defaults, which may be others one day
            parameters = replace(parameters, hyperparameters=asdict(hyper))
        manifest = pack(inputs, parameters, module, made, transform, folder)
    checkpoint.unlink(missing_ok=True)
    if checkpoints is None:
        shutil.rmtree(folder_of_checkpoints, ignore_errors=True)
    return manifest


def _keep_graph(
    network: Any, scale: Scale, inputs: Inputs, parameters: KerasParameters, folder: Path
) -> Proof:
    """Write the network's ONNX graph where it predicts the same on real rows."""
    target, training = inputs.target, inputs.training
    matrix = rows_to_compare(training.train, training.eval)

    def scores(rows: Any) -> Any:
        return scores_of(network(rows, training=False), target, scale).numpy()

    def convert() -> bytes:
        # The image of TFX has no converter: a network that is trained there has no graph.
        from kfp_suite.components.train.keras.to_onnx import to_onnx

        return to_onnx(network, scale, target, matrix.shape[1])

    proof = keep_if_equal(
        convert,
        target.task,
        matrix,
        in_blocks(scores, matrix),
        parameters.threshold,
        folder,
        tolerance=TOLERANCE,
    )
    log.info("ONNX: %s", "proven equal" if proof.equal else f"not kept: {proof.why}")
    return proof


def _without_optimizer(network: Any) -> Any:
    """The same network, fit to be served: the optimizer's slots are twice its size."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    return copy


def _training_digest(parameters: KerasParameters, inputs: Inputs) -> str:
    made_of = {
        "dataset": inputs.data.manifest.digest,
        "transform": inputs.transform.digest,
        "parameters": asdict(parameters),
    }
    return digest_value(made_of).removeprefix(PREFIX)[:32]


def _some_rows(inputs: Inputs) -> pa.Table:
    names = [field.name for field in inputs.transform.inputs]
    return inputs.data.head("train", _COMPARED_ROWS, names)


def _told(progress: Progress) -> dict[str, object]:
    """How training went, for people."""
    return {
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "loss": progress.losses[-1],
        "eval_loss": progress.judged[progress.best_epoch - 1],
    }


def _describe_network(
    parameters: KerasParameters, hyper: Hyperparameters | None, module: PinnedFile | None
) -> str:
    if module is not None or hyper is None:
        return "run_fn, of the user's module"
    given = ", ".join(f"{key}={getattr(hyper, key)}" for key in parameters.hyperparameters)
    return f"{parameters.network}({given})"
