"""The trials of a search, as `runs trials` and `runs cluster trials` show them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.table import Table

from kfp_suite.cli.tables import print_whole

if TYPE_CHECKING:
    from kfp_suite.components.train.tune.study import Trial


def print_trials(trials: Iterable[Trial], as_json: bool) -> None:
    """Print trials, best first.

    Args:
        trials: In any order.
        as_json: As one JSON value instead of a table.
    """
    from kfp_suite.components.train.tune.study import rank_trials

    found = rank_trials(trials)
    if as_json:
        click.echo(json.dumps([asdict(trial) for trial in found]))
        return
    table = Table("trial", "state", "metric", "estimator", "hyperparameters", box=None)
    for trial in found:
        value = "-" if trial.value is None else f"{trial.metric} {trial.value:.6g}"
        given = ", ".join(f"{key}={item}" for key, item in trial.hyperparameters.items())
        table.add_row(trial.name, trial.state, value, trial.estimator, given)
    print_whole(table)
