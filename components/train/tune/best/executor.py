"""The best of a study's trials, and the report of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from markupsafe import Markup

from kfp_suite.components.train.tune.study import State, Study, Trial, lower_is_better, rank_trials
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file, write_json
from kfp_suite.contracts.errors import DataError, ParameterError
from kfp_suite.contracts.run_record import STUDY
from kfp_suite.reports.charts import Series, lines
from kfp_suite.reports.formatting import number
from kfp_suite.reports.page import Cell, Page, Tone, code, tag

FORMAT_VERSION = 1
_MAX_ROWS = 200
_TONES: dict[State, Tone] = {"complete": "good", "pruned": "calm", "failed": "bad"}


def best_trial(studies: Sequence[str], output: Path, report: Path) -> Trial:
    """Write `study.json` to the folder `output`, and the report.

    Args:
        studies: URIs of the shards' study: one and the same.
        output: The folder.
        report: The page.

    Raises:
        ParameterError: the shards are not of one study.
        DataError: no trial was completed, with what kept the first from it.
    """
    if len(set(studies)) != 1:
        raise ParameterError(
            "the shards are not of one study", where="studies", got=", ".join(sorted(set(studies)))
        )
    trials = Study.open(studies[0]).trials()
    if all(trial.state != "complete" for trial in trials):
        failed = next((trial.why for trial in trials if trial.state == "failed"), "no trials")
        raise DataError(
            "no trial was completed",
            where=studies[0],
            got=failed,
            fix="mend the search space, or choose another metric",
        )
    ordered = rank_trials(trials)
    with whole_folder(output) as folder:
        write_json(
            folder / STUDY,
            {
                "format_version": FORMAT_VERSION,
                "uri": studies[0],
                "metric": ordered[0].metric,
                "trials": dict(Counter(trial.state for trial in trials)),
                "best": asdict(ordered[0]),
            },
        )
    write_file(report, _page(studies[0], ordered).html().encode())
    return ordered[0]


def _page(uri: str, trials: Sequence[Trial]) -> Page:
    best, metric = trials[0], trials[0].metric
    complete = [trial for trial in trials if trial.state == "complete"]
    page = Page("Search", f"{len(trials)} trials for {metric}")
    page.facts(
        {
            "Best": number(best.value),
            "Estimator": best.estimator,
            "Completed": len(complete),
            "Given up early": sum(trial.state == "pruned" for trial in trials),
            "Failed": sum(trial.state == "failed" for trial in trials),
            "Trials": uri,
        }
    )
    page.heading("The best")
    page.table(
        ["Hyperparameter", "Value"],
        [[name, _plain(value)] for name, value in best.hyperparameters.items()],
    )
    page.heading("Progress")
    page.figure(_progress(complete), f"{metric} of the trials, in the order of their names")
    page.heading("Trials")
    page.table(
        ["Trial", "State", metric, "Estimator", "Hyperparameters"],
        [_row(trial) for trial in trials[:_MAX_ROWS]],
    )
    return page


def _progress(complete: Sequence[Trial]) -> Markup:
    """Each trial's value, and the best until then."""
    in_order = sorted(complete, key=lambda trial: trial.name)
    values = [trial.value or 0.0 for trial in in_order]
    better = min if lower_is_better(in_order[0].metric) else max
    best = [better(values[: i + 1]) for i in range(len(values))]
    positions = [float(i + 1) for i in range(len(values))]
    return lines([Series("trial", positions, values), Series("best so far", positions, best)])


def _row(trial: Trial) -> list[Cell]:
    value = trial.value if trial.value is not None else next(iter(trial.scores[-1:]), None)
    parameters = ", ".join(f"{k}={_plain(v)}" for k, v in trial.hyperparameters.items())
    return [
        trial.name,
        tag(trial.state, _TONES[trial.state]),
        value,
        trial.estimator,
        code(parameters + (f": {trial.why}" if trial.why else "")),
    ]


def _plain(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)
