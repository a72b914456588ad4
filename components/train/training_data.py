"""What every way to train reads and checks: the objective, the rows, the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp_suite.components.train.fitting import Training
from kfp_suite.components.train.labels import Target, target_of
from kfp_suite.components.train.rows import Rows, class_weights, labels_of, read_rows
from kfp_suite.contracts.dataset import Dataset, read_dataset
from kfp_suite.contracts.environment import available_cpus
from kfp_suite.contracts.errors import ContractError, ParameterError
from kfp_suite.features.loading import Transform, load_transform
from kfp_suite.models.loading import DEFAULT_THRESHOLD


@dataclass(frozen=True)
class Objective:
    """The objective of a training and its rows, for any learner."""

    label: str
    task: str = "auto"
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    class_weight: Mapping[str, Any] = field(default_factory=dict)
    sample_weight: str = ""
    early_stopping: int = 0
    threshold: float = DEFAULT_THRESHOLD
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.label:
            raise ParameterError("no label", where="label", expected="a column of the dataset")
        if self.early_stopping < 0:
            raise ParameterError(
                "out of range", where="early_stopping", got=self.early_stopping, expected=">= 0"
            )
        if not 0 < self.threshold < 1:
            raise ParameterError(
                "out of range", where="threshold", got=self.threshold, expected="between 0 and 1"
            )
        if not 0 <= self.seed < 2**32:
            raise ParameterError(
                "out of range", where="seed", got=self.seed, expected="0 to 2^32-1"
            )


@dataclass(frozen=True)
class Inputs:
    """A dataset and its transform, read: what there is to learn from."""

    data: Dataset
    transform: Transform
    target: Target
    training: Training


def read_inputs(objective: Objective, dataset: Path, transform: Path, threads: int = 0) -> Inputs:
    """Read the rows of train and eval, with their labels and weights.

    Args:
        objective: The label, task and weights.
        dataset: A Dataset artifact.
        transform: The transform fitted on it.
        threads: How many threads training computes with; 0: as many as there are CPUs.

    Raises:
        ParameterError: a parameter that does not fit the data.
        DataError: labels or values that nothing can be learned from.
        MissingError, ContractError, IntegrityError: inputs that are not what they should be.
    """
    data = read_dataset(dataset)
    fitted = load_transform(transform)
    _check_transform(fitted, objective, transform)
    labels = labels_of(data, "train", objective.label)
    target = target_of(objective.label, labels.drop_null(), objective.task, str(dataset))
    rows = read_rows(data, "train", fitted, target, labels, objective.sample_weight)
    training = Training(
        train=_add_weights(rows, class_weights(objective.class_weight, target, rows.target)),
        eval=_eval_rows(data, fitted, target, objective),
        task=target.task,
        classes=target.classes,
        feature_names=tuple(fitted.output_names),
        hyperparameters=objective.hyperparameters,
        seed=objective.seed,
        threads=threads or available_cpus(),
    )
    return Inputs(data, fitted, target, training)


def _check_transform(fitted: Transform, objective: Objective, path: Path) -> None:
    if objective.label in {field.name for field in fitted.inputs}:
        raise ContractError(
            f"the transform reads the label '{objective.label}'",
            where=path,
            fix="give transform the same label, so that no feature reads it",
        )


def _eval_rows(
    data: Dataset, fitted: Transform, target: Target, objective: Objective
) -> Rows | None:
    split = data.manifest.splits.get("eval")
    if split is None or split.rows == 0:
        return None
    labels = labels_of(data, "eval", objective.label)
    return read_rows(data, "eval", fitted, target, labels, objective.sample_weight)


def _add_weights(rows: Rows, weights: Any) -> Rows:
    """The rows with the weights of their classes, times their own."""
    if weights is None:
        return rows
    own = 1.0 if rows.weight is None else rows.weight
    return Rows(rows.matrix, rows.target, own * weights[rows.target])
