"""Check a search, and cut it into shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from kfp_suite.components.train.tune.default_spaces import space_of
from kfp_suite.components.train.tune.search_space import parse_space
from kfp_suite.components.train.tune.study import Search
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_json
from kfp_suite.contracts.errors import ParameterError, did_you_mean
from kfp_suite.models.estimators import ESTIMATORS

PLAN = "plan.json"
_MAX_SHARDS = 1000


@dataclass(frozen=True)
class PlanParameters:
    """A search, and into how many parts it is cut."""

    search_space: Mapping[str, Any] = field(default_factory=dict)
    estimator: str = "hist_gradient_boosting"
    search: str = "tpe"
    trials: int = 32
    shards: int = 1


def plan_trials(parameters: PlanParameters, output: Path) -> list[dict[str, Any]]:
    """The shards, each with its number, how many trials it runs, and the search space; also
    as `plan.json` in the folder `output`.

    Raises:
        ParameterError: a parameter that is not allowed, or a space that is not right.
    """
    if parameters.search not in get_args(Search):
        raise ParameterError(
            "not allowed", where="search", got=parameters.search, expected="random, grid or tpe"
        )
    given = dict(parameters.search_space) or space_of(parameters.estimator)
    space = parse_space(given)
    for name in space.estimators:
        if name not in ESTIMATORS and "." not in name:
            raise ParameterError(
                f"unknown estimator '{name}'",
                where="search_space",
                fix=did_you_mean(name, ESTIMATORS),
            )
    trials = parameters.trials
    if parameters.search == "grid":
        combinations = len(space.grid())
        trials = min(trials, combinations) or combinations
    if trials < 1 or not 1 <= parameters.shards <= _MAX_SHARDS:
        raise ParameterError(
            "out of range",
            where="trials and shards",
            got=f"{parameters.trials} trials in {parameters.shards} shards",
            expected=f"at least one trial, and 1 to {_MAX_SHARDS:,} shards",
        )
    shards = min(parameters.shards, trials)
    found = [
        {
            "shard": shard,
            "shards": shards,
            # The first shards take what does not divide evenly.
            "count": trials // shards + (shard < trials % shards),
            "search_space": given,
        }
        for shard in range(shards)
    ]
    with whole_folder(output) as folder:
        write_json(folder / PLAN, found)
    return found
