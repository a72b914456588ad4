"""Run the trials of a shard, a batch at a time, on all cores; each is kept when it ends."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from kfp_suite.components.contracts.atomic import whole_folder
from kfp_suite.components.contracts.canonical import write_json
from kfp_suite.components.contracts.digests import PREFIX, digest_value
from kfp_suite.components.contracts.environment import available_cpus, code_digest
from kfp_suite.components.contracts.errors import ParameterError
from kfp_suite.components.contracts.run_record import TRIALS
from kfp_suite.components.stores.store import open_store
from kfp_suite.components.train.fitting import Training
from kfp_suite.components.train.inputs import Inputs, Objective, read_inputs
from kfp_suite.components.train.tune.scoring import Metric, Score, metric_of, score, steps_of
from kfp_suite.components.train.tune.space import Space, parse_space
from kfp_suite.components.train.tune.study import (
    Asked,
    Sampler,
    Search,
    Study,
    Trial,
    lower_is_better,
    trial_name,
)

_BATCH = 8
"""Trials that are suggested together. Not the number of cores: a search gives the same
trials on every machine."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuneParameters(Objective):
    """What to search, by what, and which part of it this shard does.

    `hyperparameters` of an Objective are not read: the trials have their own.
    """

    search_space: Mapping[str, Any] = field(default_factory=dict)
    search: str = "tpe"
    trials: int = 32
    folds: int = 0
    metric: str = ""
    prune: bool = True
    shard: int = 0
    shards: int = 1
    store: str = ""
    model_name: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.search not in get_args(Search):
            raise ParameterError(
                "not allowed", where="search", got=self.search, expected="random, grid or tpe"
            )
        if self.trials < 1 or not 0 <= self.shard < self.shards:
            raise ParameterError(
                "out of range",
                where="trials and shard",
                got=f"{self.trials} trials, shard {self.shard} of {self.shards}",
                expected="at least one trial, and a shard below the number of shards",
            )


def tune(parameters: TuneParameters, dataset: Path, transform: Path, output: Path) -> Study:
    """Run a shard's trials, and write them to `trials.json` in the folder `output`.

    Args:
        parameters: What to search.
        dataset: A Dataset artifact with a split `train`, and `eval` to judge by or for early
            stopping.
        transform: The transform fitted on it.
        output: The folder.

    Returns:
        The study: it has the trials of the other shards too.

    Raises:
        ParameterError: a parameter that is not allowed, or does not fit the data.
        DataError: labels or values that nothing can be learned from.
    """
    space = parse_space(parameters.search_space)
    inputs = read_inputs(parameters, dataset, transform)
    metric = metric_of(parameters.metric, inputs.target.task)
    key = _key(parameters, inputs, metric)
    study = Study(open_store(parameters.store), parameters.model_name, key)
    names = [trial_name(parameters.shard, number) for number in range(parameters.trials)]
    finished = {trial.name: trial for trial in study.trials() if trial.name in names}
    log.info("study %s: %s of %s trials are there", study.uri, len(finished), len(names))
    steps = steps_of(inputs.training, parameters.folds, parameters.seed)
    sampler = _sampler(parameters, space, metric)
    for first in range(0, parameters.trials, _BATCH):
        numbers = range(first, min(first + _BATCH, parameters.trials))
        before = {name: finished[name] for name in names[:first]}
        batch = [one for one in sampler.ask(numbers, before) if one.name not in finished]
        for trial in _run(batch, inputs.training, steps, metric, parameters):
            study.keep(trial)
            finished[trial.name] = trial
            log.info("trial %s: %s", trial.name, _told(trial))
    with whole_folder(output) as folder:
        write_json(folder / TRIALS, [asdict(finished[name]) for name in names])
    return study


def _key(parameters: TuneParameters, inputs: Inputs, metric: Metric) -> str:
    """The digest of what the trials' outcome rests on. Not how many there are."""
    not_in_it = {"trials", "shard", "store", "model_name", "hyperparameters"}
    made_of = {
        **{k: v for k, v in asdict(parameters).items() if k not in not_in_it},
        "metric": metric.name,
        "dataset": inputs.data.manifest.digest,
        "transform": inputs.transform.digest,
        "code": code_digest(),
        "batch": _BATCH,
    }
    return digest_value(made_of).removeprefix(PREFIX)[:16]


def _sampler(parameters: TuneParameters, space: Space, metric: Metric) -> Sampler:
    return Sampler(
        search=cast(Search, parameters.search),
        space=space,
        seed=parameters.seed,
        shard=parameters.shard,
        shards=parameters.shards,
        lower_is_better=lower_is_better(metric.name),
        prune=parameters.prune,
    )


def _run(
    batch: Sequence[Asked],
    training: Training,
    steps: Sequence[Any],
    metric: Metric,
    parameters: TuneParameters,
) -> Iterable[Trial]:
    """The trials of a batch as they end: every step of all of them, then the next step of
    those that are not hopeless."""
    scores: dict[str, list[float]] = {asked.name: [] for asked in batch}
    running = list(batch)
    for number, step in enumerate(steps):
        found = _scored(running, training, step, metric, parameters.early_stopping)
        going_on = []
        for asked, result in zip(running, found, strict=True):
            so_far = scores[asked.name]
            if result.value is None:
                yield _trial(asked, metric, so_far, "failed", result.why)
                continue
            # A fold says what its mean with the folds before says; a rung stands for itself.
            folds = [*so_far, result.value]
            value = float(np.mean(folds)) if parameters.folds else result.value
            so_far.append(result.value)
            if number == len(steps) - 1:
                yield _trial(asked, metric, so_far, "complete", value=value)
            elif asked.hopeless(number, value):
                yield _trial(
                    asked, metric, so_far, "pruned", f"worse than the median after step {number}"
                )
            else:
                going_on.append(asked)
        running = going_on


def _scored(
    running: Sequence[Asked], training: Training, step: Any, metric: Metric, early_stopping: int
) -> list[Score]:
    from joblib import Parallel, delayed

    jobs = min(available_cpus(), len(running))
    found: list[Score] = Parallel(n_jobs=max(1, jobs))(
        delayed(score)(training, asked.candidate, step, metric, early_stopping) for asked in running
    )
    return found


def _trial(
    asked: Asked,
    metric: Metric,
    scores: Sequence[float],
    state: Any,
    why: str = "",
    value: float | None = None,
) -> Trial:
    return Trial(
        name=asked.name,
        estimator=asked.candidate.estimator,
        hyperparameters=dict(asked.candidate.hyperparameters),
        state=state,
        metric=metric.name,
        scores=tuple(scores),
        value=value,
        why=why,
    )


def _told(trial: Trial) -> str:
    found = f"{trial.metric} {trial.value:.6g}" if trial.value is not None else trial.why
    return f"{trial.state}: {trial.estimator} {trial.hyperparameters}: {found}"
