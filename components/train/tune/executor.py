"""Run the trials of a shard, a batch at a time, on all cores; each is kept when it ends."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast, get_args
from warnings import catch_warnings, filterwarnings

import numpy as np

from kfp_suite.components.train.fitting import Training
from kfp_suite.components.train.training_data import Inputs, Objective, read_inputs
from kfp_suite.components.train.tune.groups import groups_of_split
from kfp_suite.components.train.tune.scoring import Metric, Step, metric_of, score, steps_of
from kfp_suite.components.train.tune.search_space import Candidate, Space, parse_space
from kfp_suite.components.train.tune.study import (
    Asked,
    Sampler,
    Search,
    Study,
    Trial,
    lower_is_better,
    rank_trials,
    trial_name,
)
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import canonical_json, write_json
from kfp_suite.contracts.digests import PREFIX, digest_value
from kfp_suite.contracts.environment import available_cpus, code_digest
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.parameters import whole_numbers
from kfp_suite.contracts.run_record import TRIALS
from kfp_suite.stores.store import open_store

_BATCH = 8
"""Trials that are suggested together. Not the number of cores: a search gives the same
trials on every machine."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuneParameters(Objective):
    """A search, and the part of it that this shard does.

    The first trial is `estimator` with `hyperparameters`, so that a search does not end below
    what it starts from.
    """

    estimator: str = ""

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
    inputs = read_inputs(parameters, dataset, transform)
    space = parse_space(parameters.search_space).of_rows(len(inputs.training.train))
    _check_count(parameters, space)
    metric = metric_of(parameters.metric, inputs.target.task)
    key = _key(parameters, inputs, metric)
    study = Study(open_store(parameters.store), parameters.model_name, key)
    names = [trial_name(parameters.shard, number) for number in range(parameters.trials)]
    finished = {trial.name: trial for trial in study.trials() if trial.name in names}
    log.info("study %s: %s of %s trials are there", study.uri, len(finished), len(names))
    groups = groups_of_split(inputs.data, parameters.label) if parameters.folds else None
    steps = steps_of(inputs.training, parameters.folds, parameters.seed, groups)
    sampler = _sampler(parameters, space, metric)
    for first in range(0, parameters.trials, _BATCH):
        numbers = range(first, min(first + _BATCH, parameters.trials))
        before = {name: finished[name] for name in names[:first]}
        asked = [one for one in sampler.ask(numbers, before) if one.name not in finished]
        batch, repeated = _split_repeats(asked, finished)
        with (
            catch_warnings(),
            closing(_run(batch, inputs.training, steps, metric, parameters)) as ended,
        ):
            # If the batch is given up, its own error has the reason.
            filterwarnings("ignore", r"\d+ tasks (have been successfully|which were still being)")
            for trial in ended:
                study.keep(trial)
                finished[trial.name] = trial
                log.info(
                    "trial %d of %d, best so far %s; trial %s %s",
                    len(finished),
                    len(names),
                    _value(rank_trials(finished.values())[0]),
                    trial.name,
                    _describe_trial(trial),
                )
        for one in repeated:
            trial = replace(_find_same(one.candidate, finished), name=one.name)
            study.keep(trial)
            finished[trial.name] = trial
    with whole_folder(output) as folder:
        write_json(folder / TRIALS, [asdict(finished[name]) for name in names])
    return study


def _check_count(parameters: TuneParameters, space: Space) -> None:
    if parameters.search != "grid":
        return
    combinations = len(space.grid())
    most = len(range(parameters.shard, combinations, parameters.shards))
    if parameters.trials > most:
        raise ParameterError(
            "more trials than the grid has combinations",
            where="count",
            got=parameters.trials,
            expected=f"at most {most}, of {combinations} in {parameters.shards} shards",
        )


def _candidate_key(estimator: str, hyperparameters: Mapping[str, Any]) -> bytes:
    return canonical_json([estimator, dict(hyperparameters)])


def _split_repeats(
    asked: Sequence[Asked], finished: Mapping[str, Trial]
) -> tuple[list[Asked], list[Asked]]:
    """The suggestions to fit, and those whose candidate another trial has fitted."""
    seen = {_candidate_key(one.estimator, one.hyperparameters) for one in finished.values()}
    new: list[Asked] = []
    repeated: list[Asked] = []
    for one in asked:
        key = _candidate_key(one.candidate.estimator, one.candidate.hyperparameters)
        (repeated if key in seen else new).append(one)
        seen.add(key)
    return new, repeated


def _find_same(candidate: Candidate, finished: Mapping[str, Trial]) -> Trial:
    """The first trial of a candidate."""
    key = _candidate_key(candidate.estimator, candidate.hyperparameters)
    return next(
        trial
        for _, trial in sorted(finished.items())
        if _candidate_key(trial.estimator, trial.hyperparameters) == key
    )


def _key(parameters: TuneParameters, inputs: Inputs, metric: Metric) -> str:
    """The digest of everything that the trials' results depend on; not their number."""
    not_in_it = {"trials", "shard", "store", "model_name"}
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
        start=space.start(parameters.estimator, whole_numbers(dict(parameters.hyperparameters)))
        if parameters.shard == 0 and parameters.search != "grid"
        else None,
    )


def _run(
    batch: Sequence[Asked],
    training: Training,
    steps: Sequence[Step],
    metric: Metric,
    parameters: TuneParameters,
) -> Generator[Trial]:
    """The trials of a batch, each as soon as it ends, whichever is first."""
    from joblib import Parallel, delayed

    jobs = max(1, min(available_cpus(), len(batch)))
    found: Generator[Trial] = Parallel(n_jobs=jobs, return_as="generator_unordered")(
        delayed(_try_candidate)(asked, training, steps, metric, parameters) for asked in batch
    )
    return found


def _try_candidate(
    asked: Asked,
    training: Training,
    steps: Sequence[Step],
    metric: Metric,
    parameters: TuneParameters,
) -> Trial:
    """A trial, step by step, until it fails or is hopeless beside those of earlier batches."""
    scores: list[float] = []
    value = 0.0
    for number, step in enumerate(steps):
        result = score(training, asked.candidate, step, metric, parameters.early_stopping)
        if result.value is None:
            return _trial(asked, metric, scores, "failed", result.why)
        scores.append(result.value)
        # A fold counts as the mean with the folds before it; a rung stands for itself.
        value = float(np.mean(scores)) if parameters.folds else result.value
        if number < len(steps) - 1 and asked.hopeless(number, value):
            why = f"worse than the median after step {number}"
            return _trial(asked, metric, scores, "pruned", why)
    return _trial(asked, metric, scores, "complete", value=value)


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


def _describe_trial(trial: Trial) -> str:
    return f"{trial.state}: {trial.estimator} {trial.hyperparameters}: {_value(trial)}"


def _value(trial: Trial) -> str:
    return f"{trial.metric} {trial.value:.6g}" if trial.value is not None else trial.why
