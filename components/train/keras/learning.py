"""Fit a Keras network: seeded, resumable after a kill, stopped when it no longer improves.

A checkpoint after each epoch holds all that the rest of the training depends on (weights,
the optimizer's slots, the state of dropout's generators, the best weights so far); rows are
shuffled by seed and epoch. So a training that was killed and resumed ends with the very
weights of one that was not.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kfp_suite.components.train.fitting import Training
from kfp_suite.components.train.keras.networks import Hyperparameters
from kfp_suite.components.train.rows import Rows
from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.errors import DataError, ParameterError

log = logging.getLogger(__name__)

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """How far a training is: `losses` of train and `judged` of eval, one an epoch."""

    epoch: int = 0
    losses: tuple[float, ...] = ()
    judged: tuple[float, ...] = ()
    best_epoch: int = 0

    def waited(self) -> int:
        """Epochs since the best one."""
        return self.epoch - self.best_epoch


@dataclass(frozen=True)
class Scale:
    """The scale of predicted numbers: `mean + std * output`."""

    mean: float = 0.0
    std: float = 1.0


def set_thread_count(wanted: int) -> int:
    """Let an operation of TensorFlow compute with `wanted` threads; how many it does.

    The number cannot be changed once this process has computed anything with TensorFlow.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(wanted)
    except RuntimeError:
        fixed = int(tf.config.threading.get_intra_op_parallelism_threads())
        fixed = fixed or len(os.sched_getaffinity(0))
        if fixed != wanted:
            log.warning("TensorFlow has begun with %s threads, not %s", fixed, wanted)
        return fixed
    return wanted


def seed_everything(seed: int) -> None:
    """Make this process's TensorFlow give the same bits for the same seed."""
    keras.utils.clear_session()  # names of layers count up in a process
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def scale_of(training: Training) -> Scale:
    """The mean and the standard deviation of numeric labels; (0, 1) for classes."""
    if training.task != "regression":
        return Scale()
    target = training.train.target
    return Scale(float(target.mean()), float(target.std()) or 1.0)


def learn(
    network: Any,
    training: Training,
    hyper: Hyperparameters,
    early_stopping: int,
    checkpoint: Path,
    logs: Path,
) -> Progress:
    """Train `network` in place; the best weights by eval loss are its own in the end.

    Args:
        network: Gives logits for a matrix.
        training: Rows and settings.
        hyper: Epochs, batch size, optimizer.
        early_stopping: Epochs without a lower eval loss before it stops; 0: all epochs, and
            the last weights.
        checkpoint: The file to resume from, written after every epoch.
        logs: The folder of TensorBoard's event files.

    Raises:
        ParameterError: early stopping without rows to judge by.
        DataError: the loss is not a finite number.
    """
    if early_stopping and training.eval is None:
        raise ParameterError(
            "early stopping needs rows to judge by",
            where="early_stopping",
            got=early_stopping,
            fix="give ingest's split an eval part, or set early_stopping to 0",
        )
    _check_finite(training.train)
    scale = scale_of(training)
    network.compile(optimizer=_optimizer(hyper), loss=_loss(training))
    network.optimizer.build(network.trainable_variables)
    progress, best = _resume(network, checkpoint)
    targets = _targets(training.train, training, scale)
    writer = tf.summary.create_file_writer(str(logs))
    while progress.epoch < hyper.epochs:
        if early_stopping and progress.waited() >= early_stopping:
            log.info("no better for %s epochs: stopped", early_stopping)
            break
        progress = _one_epoch(network, training, targets, scale, hyper, progress)
        if progress.best_epoch == progress.epoch:
            best = weights_of(network)
        _save(network, progress, best, checkpoint)
        _write_logs(writer, progress)
    writer.close()
    if early_stopping:
        _assign(network.weights, best)
    return progress


def weights_of(network: Any) -> Arrays:
    """The weights by their paths."""
    return {variable.path: np.asarray(variable) for variable in network.weights}


def to_npz(arrays: Mapping[str, Any]) -> bytes:
    """Arrays as an .npz file: equal arrays give equal bytes (NumPy dates entries 1980)."""
    file = io.BytesIO()
    np.savez(file, **dict(sorted(arrays.items())))
    return file.getvalue()


def _one_epoch(
    network: Any,
    training: Training,
    targets: Any,
    scale: Scale,
    hyper: Hyperparameters,
    progress: Progress,
) -> Progress:
    rows = training.train
    generator = np.random.Generator(np.random.PCG64([training.seed, progress.epoch]))
    order = generator.permutation(len(rows))
    history = network.fit(
        rows.matrix[order],
        targets[order],
        sample_weight=None if rows.weight is None else rows.weight[order],
        batch_size=hyper.batch_size,
        shuffle=False,
        verbose=0,
    )
    loss = float(history.history["loss"][0])
    judged = loss
    if training.eval is not None:
        judged = float(
            network.evaluate(
                training.eval.matrix,
                _targets(training.eval, training, scale),
                sample_weight=training.eval.weight,
                batch_size=max(hyper.batch_size, 4096),
                verbose=0,
            )
        )
    if not (math.isfinite(loss) and math.isfinite(judged)):
        raise DataError(
            "the loss is no longer a finite number",
            where=f"epoch {progress.epoch + 1}",
            got=loss,
            fix="scale the features, or lower the learning rate",
        )
    log.info("epoch %s: loss %.5f, eval loss %.5f", progress.epoch + 1, loss, judged)
    epoch = progress.epoch + 1
    better = not progress.judged or judged < min(progress.judged)
    return replace(
        progress,
        epoch=epoch,
        losses=(*progress.losses, loss),
        judged=(*progress.judged, judged),
        best_epoch=epoch if better else progress.best_epoch,
    )


def _check_finite(rows: Rows) -> None:
    if not np.isfinite(rows.matrix).all():
        raise DataError(
            "a network takes no missing values",
            where="features",
            fix="impute them: leave out keep_missing",
        )


def _optimizer(hyper: Hyperparameters) -> Any:
    rate = hyper.learning_rate
    if hyper.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9)
    kinds = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "rmsprop": keras.optimizers.RMSprop,
    }
    return kinds[hyper.optimizer](rate)


def _loss(training: Training) -> Any:
    if training.task == "regression":
        return keras.losses.MeanSquaredError()
    if training.task == "binary":
        return keras.losses.BinaryCrossentropy(from_logits=True)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _targets(rows: Rows, training: Training, scale: Scale) -> Any:
    if training.task == "regression":
        return ((rows.target - scale.mean) / scale.std).astype(np.float32)[:, None]
    if training.task == "binary":
        return rows.target.astype(np.float32)[:, None]
    return rows.target


def _variables(network: Any) -> list[Any]:
    """Everything the rest of a training depends on; metrics start anew each epoch."""
    metrics = {id(v) for metric in network.metrics for v in metric.variables}
    own = [v for v in network.variables if id(v) not in metrics]
    return list({v.path: v for v in (*own, *network.optimizer.variables)}.values())


def _save(network: Any, progress: Progress, best: Arrays, checkpoint: Path) -> None:
    state = {f"state/{v.path}": np.asarray(v) for v in _variables(network)}
    kept = {f"best/{path}": array for path, array in best.items()}
    told = np.frombuffer(json.dumps(asdict(progress)).encode(), np.uint8)
    write_file(checkpoint, to_npz({**state, **kept, "progress": told}))


def _resume(network: Any, checkpoint: Path) -> tuple[Progress, Arrays]:
    if not checkpoint.exists():
        return Progress(), weights_of(network)
    with np.load(checkpoint, allow_pickle=False) as file:
        told = json.loads(file["progress"].tobytes())
        arrays = {name: file[name] for name in file.files}
    _assign(_variables(network), _below("state/", arrays))
    progress = Progress(
        told["epoch"], tuple(told["losses"]), tuple(told["judged"]), told["best_epoch"]
    )
    log.info("resumed after epoch %s", progress.epoch)
    return progress, _below("best/", arrays)


def _below(prefix: str, arrays: Arrays) -> Arrays:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _assign(variables: list[Any], arrays: Arrays) -> None:
    for variable in variables:
        variable.assign(arrays[variable.path])


def _write_logs(writer: Any, progress: Progress) -> None:
    # As `tf.summary.scalar`, which needs TensorBoard installed to write for it.
    plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
    metadata = tf.compat.v1.SummaryMetadata(plugin_data=plugin)
    losses = {"loss/train": progress.losses[-1], "loss/eval": progress.judged[-1]}
    with writer.as_default():
        for tag, loss in losses.items():
            tf.summary.write(tag, tf.constant(loss), progress.epoch, metadata)
    writer.flush()
