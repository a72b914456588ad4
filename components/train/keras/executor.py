"""Train a Keras network and write a Model artifact that TensorFlow Serving can serve."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import pyarrow as pa

from kfp_suite.components.contracts.atomic import whole_folder
from kfp_suite.components.contracts.canonical import write_file, write_json
from kfp_suite.components.contracts.digests import PREFIX, digest_value
from kfp_suite.components.contracts.model import SAVED_MODEL, ModelManifest
from kfp_suite.components.contracts.parameters import parse
from kfp_suite.components.train.inputs import Inputs, Objective, read_inputs
from kfp_suite.components.train.keras.export import export
from kfp_suite.components.train.keras.learning import (
    Progress,
    learn,
    scale_of,
    seed_everything,
    to_npz,
    weights_of,
)
from kfp_suite.components.train.keras.networks import Hyperparameters, layout_of, make_network
from kfp_suite.components.train.packing import Made, pack, threshold_of

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
    dataset: Path,
    transform: Path,
    output: Path,
    logs: Path,
    checkpoints: Path | None = None,
) -> ModelManifest:
    """Fit a network on the train split and write the Model artifact `output`.

    Args:
        parameters: What to train.
        dataset: A Dataset artifact with a split `train`, and `eval` to judge epochs by.
        transform: The transform fitted on it.
        output: The Model artifact.
        logs: The folder of TensorBoard's event files.
        checkpoints: A folder that outlives a killed step; by default beside `output`. What
            another training left there is not used.

    Raises:
        As `train`.
    """
    hyper = parse(Hyperparameters, parameters.hyperparameters, "hyperparameters")
    hyper.check()
    inputs = read_inputs(parameters, dataset, transform)
    seed_everything(parameters.seed)
    outputs = len(inputs.target.classes) if inputs.target.task == "multiclass" else 1
    network = make_network(parameters.network, layout_of(inputs.transform), outputs, hyper)
    folder_of_checkpoints = checkpoints or output.with_name(f"{output.name}.checkpoints")
    checkpoint = folder_of_checkpoints / f"{_training_digest(parameters, inputs)}.npz"
    progress = learn(network, inputs.training, hyper, parameters.early_stopping, checkpoint, logs)
    scale = scale_of(inputs.training)
    with whole_folder(output) as folder:
        write_file(folder / NETWORK, network.to_json().encode())
        write_file(folder / WEIGHTS, to_npz(weights_of(network)))
        write_json(folder / SCALE, asdict(scale))
        agreement = export(
            _without_optimizer(network),
            scale,
            inputs.target,
            threshold_of(inputs.target, parameters),
            inputs.transform,
            _some_rows(inputs),
            folder / SAVED_MODEL,
        )
        made = Made(
            framework="tensorflow",
            family="tensorflow",
            described=_described(parameters, hyper),
            has_probabilities=inputs.target.task != "regression",
            derived=(f"{SAVED_MODEL}/",),
            notes={"saved_model": asdict(agreement), "training": _told(progress)},
        )
        manifest = pack(
            inputs,
            replace(parameters, hyperparameters=asdict(hyper)),
            None,
            made,
            transform,
            folder,
        )
    checkpoint.unlink(missing_ok=True)
    if checkpoints is None:
        shutil.rmtree(folder_of_checkpoints, ignore_errors=True)
    return manifest


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


def _described(parameters: KerasParameters, hyper: Hyperparameters) -> str:
    given = ", ".join(f"{key}={getattr(hyper, key)}" for key in parameters.hyperparameters)
    return f"{parameters.network}({given})"
