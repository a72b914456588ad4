"""A user's own training: `run_fn(fn_args)`, as TFX calls it, that returns a Keras network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kfp_suite.components.train.fitting import Training
from kfp_suite.components.train.rows import Rows
from kfp_suite.contracts.errors import DataError, ParameterError, did_you_mean
from kfp_suite.models.user_modules import describe_failure, mend_module

FUNCTION = "run_fn"


@dataclass(frozen=True)
class FnArgs:
    """The argument of `run_fn(fn_args)`.

    `train_dataset` and `eval_dataset` (None if there is no eval split) are
    `tf.data.Dataset`s of one row each, in order: a matrix row (float32, shape (features,)),
    its target (a class position, or a number) and its weight. Shuffle and batch them as you
    like, with `seed`. Return a Keras model that gives logits for the matrix, shape (rows,
    outputs): one output for two classes, one a class for more, or the number itself.
    `model_run_dir` is for TensorBoard; `custom_config` holds the hyperparameters.
    """

    train_dataset: Any
    eval_dataset: Any
    feature_names: tuple[str, ...]
    task: str
    classes: tuple[str | int | bool, ...]
    outputs: int
    custom_config: Mapping[str, Any]
    model_run_dir: str
    seed: int


def train_by_module(module: ModuleType, training: Training, outputs: int, logs: Path) -> Any:
    """The network that the user's `run_fn(fn_args)` returns.

    Raises:
        ParameterError: no such function, it failed, or it returned no such network.
        DataError: its weights are not finite.
    """
    function = getattr(module, FUNCTION, None)
    if not callable(function):
        names = [name for name, value in vars(module).items() if callable(value)]
        raise ParameterError(
            f"no function '{FUNCTION}(fn_args)'",
            where="module_file",
            fix=did_you_mean(FUNCTION, names),
        )
    arguments = FnArgs(
        train_dataset=_dataset(training.train),
        eval_dataset=None if training.eval is None else _dataset(training.eval),
        feature_names=training.feature_names,
        task=training.task,
        classes=training.classes,
        outputs=outputs,
        custom_config=training.hyperparameters,
        model_run_dir=str(logs),
        seed=training.seed,
    )
    try:
        network = function(arguments)
    except (Exception, SystemExit) as error:
        raise ParameterError(
            f"{FUNCTION}(fn_args) failed",
            where="module_file",
            got=describe_failure(error),
            fix=mend_module(error),
        ) from error
    _check(network, training, outputs)
    return network


def _dataset(rows: Rows) -> Any:
    weight = np.ones(len(rows)) if rows.weight is None else rows.weight
    return tf.data.Dataset.from_tensor_slices((rows.matrix, rows.target, weight.astype(np.float32)))


def _check(network: Any, training: Training, outputs: int) -> None:
    expected = f"a Keras model that gives (rows, {outputs}) for (rows, features)"
    if not isinstance(network, keras.Model):
        raise ParameterError(
            f"{FUNCTION}(fn_args) returned no network",
            where="module_file",
            got=type(network).__name__,
            expected=expected,
        )
    few = training.train.matrix[:2]
    shape = tuple(network(few, training=False).shape)
    if shape != (len(few), outputs):
        raise ParameterError(
            f"{FUNCTION}(fn_args) returned another network",
            where="module_file",
            got=f"outputs of shape {shape}",
            expected=expected,
        )
    if not all(np.isfinite(weight).all() for weight in network.get_weights()):
        raise DataError(
            "the weights are no longer finite numbers",
            where="module_file",
            fix="scale the features, or lower the learning rate",
        )
