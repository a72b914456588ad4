"""A study: trials in a store, each written once when it ends; so nothing finished is lost.

    <store>/<model>/_studies/<key>/<shard>-<number>.json

The key is the digest of everything that a trial's result depends on. A step that is killed
and run again, or a search that is extended by more trials, reuses the finished ones.

A shard is a search of its own: its suggestions depend only on its own finished trials, a
batch at a time. So a search gives the same trials on one machine or on ten, at any speed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kfp_suite.components.train.tune.search_space import Candidate, Plain, Space
from kfp_suite.contracts.canonical import pretty_json
from kfp_suite.contracts.errors import AlreadyExistsError, ContractError
from kfp_suite.contracts.parameters import parse
from kfp_suite.stores.store import Store, open_store
from kfp_suite.stores.versions import check_model_name

FORMAT_VERSION = 1
_STUDIES = "_studies"
_TRIAL = re.compile(r"\d+-\d{4,}\.json", re.ASCII)
_STARTUP_TRIALS = 5
_MAX_STEP_ERROR = 1e-8
"""Of a number of steps, as Optuna allows it."""
_LOWER = frozenset({"log_loss", "brier", "rmse", "mae"})
Search = Literal["random", "grid", "tpe"]
State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    `scores`: of each step that it reached, in the direction of the metric; `value`: the last
    one of a complete trial. `why`: the reason that it was given up, or failed.
    """

    name: str
    estimator: str
    hyperparameters: dict[str, Plain]
    state: State
    metric: str
    scores: tuple[float, ...]
    value: float | None
    why: str = ""
    format_version: int = FORMAT_VERSION


def trial_name(shard: int, number: int) -> str:
    """The name of a shard's trial: `0-0007`."""
    return f"{shard}-{number:04}"


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is more."""
    return metric in _LOWER


def rank_trials(trials: Iterable[Trial]) -> list[Trial]:
    """Best first, of equals the one with the smaller name; then those that have no value."""

    def place(trial: Trial) -> tuple[bool, float, str]:
        value = 0.0 if trial.value is None else trial.value
        sign = 1.0 if lower_is_better(trial.metric) else -1.0
        return trial.value is None, sign * value, trial.name

    return sorted(trials, key=place)


class Study:
    """The trials of a study, in a store."""

    def __init__(self, store: Store, model: str, key: str) -> None:
        self._store = store
        self._folder = f"{check_model_name(model)}/{_STUDIES}/{key}"
        self.uri = f"{store.uri.rstrip('/')}/{self._folder}"

    @classmethod
    def open(cls, uri: str) -> Study:
        """The study at the URI of another."""
        store, model, studies, key = uri.rsplit("/", 3)
        if studies != _STUDIES:
            raise ContractError("not a study", where=uri, expected=f"STORE/MODEL/{_STUDIES}/KEY")
        return cls(open_store(store), model, key)

    def trials(self) -> list[Trial]:
        """The finished trials, by name.

        Raises:
            ContractError: a file there is not a trial.
        """
        return sorted(self._read(), key=lambda trial: trial.name)

    def _read(self) -> Iterator[Trial]:
        for info in self._store.list(f"{self._folder}/"):
            if not _TRIAL.fullmatch(info.name.removeprefix(f"{self._folder}/")):
                continue  # not ours: an object named like a folder, a file of a desktop
            where = f"{self._store.uri}/{info.name}"
            try:
                value = json.loads(self._store.read(info.name))
            except ValueError as error:
                raise ContractError("not valid JSON", where=where, got=str(error)) from error
            yield parse(Trial, value, where)

    def keep(self, trial: Trial) -> None:
        """Write a finished trial; one that a step before has written stays."""
        with suppress(AlreadyExistsError):
            self._store.create(f"{self._folder}/{trial.name}.json", pretty_json(asdict(trial)))


@dataclass(frozen=True)
class Asked:
    """A suggestion, to be scored a step at a time."""

    name: str
    candidate: Candidate
    _trial: Any
    _study: Any

    def hopeless(self, step: int, score: float) -> bool:
        """Whether the trial is worse, so far, than the median of those that were finished."""
        self._trial.report(score, step)
        return bool(self._trial.should_prune())


@dataclass(frozen=True)
class Sampler:
    """Suggests a shard's trials; `start`: the candidate of the first one."""

    search: Search
    space: Space
    seed: int
    shard: int
    shards: int
    lower_is_better: bool
    prune: bool
    start: Candidate | None = None

    def ask(self, numbers: Sequence[int], finished: Mapping[str, Trial]) -> list[Asked]:
        """Suggest the trials `numbers` of a batch, from the results of earlier batches.

        Args:
            numbers: Of the trials, within the shard.
            finished: The shard's trials of earlier batches, by name.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            direction="minimize" if self.lower_is_better else "maximize",
            sampler=self._sampler(optuna, numbers[0]),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS)
            if self.prune
            else optuna.pruners.NopPruner(),
        )
        for name in sorted(finished):
            _tell(optuna, study, self.space, finished[name])
        grid = self.space.grid() if self.search == "grid" else []
        return [self._ask(study, number, grid) for number in numbers]

    def _ask(self, study: Any, number: int, grid: Sequence[Candidate]) -> Asked:
        name, trial = trial_name(self.shard, number), study.ask()
        if number == 0 and self.start is not None:
            return Asked(name, self.start, trial, study)
        at = number * self.shards + self.shard
        return Asked(name, grid[at] if grid else self.space.suggest(trial), trial, study)

    def _sampler(self, optuna: Any, first: int) -> Any:
        """A sampler seeded by the batch, so that a resumed step suggests the same trials."""
        material = f"{self.seed}/{self.shard}/{first}".encode()
        seed = int.from_bytes(hashlib.sha256(material).digest()[:4], "big")
        if self.search == "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)


def _tell(optuna: Any, study: Any, space: Space, trial: Trial) -> None:
    """Let Optuna know a finished trial; not one that is outside the space, as the first may be."""
    states = optuna.trial.TrialState
    fixed = _Fixed(optuna, trial)
    try:
        space.suggest(fixed)
    except _OutsideSpaceError:
        return
    study.add_trial(
        optuna.trial.create_trial(
            state=states.COMPLETE
            if trial.state == "complete"
            else states.PRUNED
            if trial.state == "pruned"
            else states.FAIL,
            value=trial.value,
            params=fixed.params,
            distributions=fixed.distributions,
            intermediate_values=dict(enumerate(trial.scores)),
        )
    )


class _OutsideSpaceError(Exception):
    """A trial lacks a value that the space has, or has one that the space does not allow."""


class _Fixed:
    """A finished trial in place of Optuna's: keeps each value with its distribution."""

    def __init__(self, optuna: Any, trial: Trial) -> None:
        self._distributions = optuna.distributions
        self._values = {f"{trial.estimator}.{k}": v for k, v in trial.hyperparameters.items()}
        self._values["estimator"] = trial.estimator
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, Any] = {}

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> Any:
        return self._keep(name, self._distributions.IntDistribution(low, high, log, step))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None, log: bool
    ) -> Any:
        return self._keep(name, self._distributions.FloatDistribution(low, high, log, step))

    def suggest_categorical(self, name: str, choices: Sequence[Plain]) -> Any:
        return self._keep(name, self._distributions.CategoricalDistribution(choices))

    def _keep(self, name: str, distribution: Any) -> Any:
        if name not in self._values or not self._allows(distribution, self._values[name]):
            raise _OutsideSpaceError(name)
        self.params[name], self.distributions[name] = self._values[name], distribution
        return self._values[name]

    def _allows(self, distribution: Any, value: Plain) -> bool:
        if isinstance(distribution, self._distributions.CategoricalDistribution):
            return value in distribution.choices
        if not isinstance(value, int | float) or not distribution.low <= value <= distribution.high:
            return False
        steps: float = (value - distribution.low) / (distribution.step or math.inf)
        return abs(steps - round(steps)) < _MAX_STEP_ERROR
