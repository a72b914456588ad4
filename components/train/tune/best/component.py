"""The KFP interface of best_trial."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Artifact, Output


@dsl.component(base_image="kfp-suite-python-sklearn:0.1.0", install_kfp_package=False)
def best_trial(
    studies: list,
    study: Output[Artifact],
    trials_report: Output[HTML],
) -> NamedTuple("Best", [("estimator", str), ("hyperparameters", dict)]):
    """Choose the best trial of a study; train makes the model of it, on all training rows.

    Returns `estimator` and `hyperparameters`, as train takes them.

    Args:
        studies: What the shards' tune steps returned: the URI of their study.
        study: A folder with `study.json`: where the trials are, how many there are of each
            state, and the best.
        trials_report: The trials, best first, and how the best one was found.
    """
    from pathlib import Path
    from typing import NamedTuple

    from kfp_suite.components.train.tune.best.executor import best_trial as execute
    from kfp_suite.stores.step import step

    with step("best_trial", study):
        best = execute(studies, Path(study.path), Path(trials_report.path))

    class Best(NamedTuple):
        estimator: str
        hyperparameters: dict

    return Best(best.estimator, best.hyperparameters)
